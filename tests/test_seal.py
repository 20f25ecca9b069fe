from __future__ import annotations

import pytest

from tunegate import paths, seal


def test_the_key_is_the_users_own_and_stays_the_same():
    signature = seal.sign({"a": 1})
    assert (paths.state_dir() / "seal.key").stat().st_mode & 0o777 == 0o600
    seal._load_key.cache_clear()
    assert seal.verify({"a": 1}, signature)
    assert (
        not seal.verify({"a": 2}, signature)
        and not seal.verify({"a": 1}, None)
        and not seal.verify({"a": 1}, "hmac-sha256:")
    )


def test_another_key_does_not_verify(monkeypatch, tmp_path):
    signature = seal.sign({"a": 1})
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert not seal.verify({"a": 1}, signature)


def test_a_key_that_others_may_read_is_closed_to_them():
    seal.sign({})
    path = paths.state_dir() / "seal.key"
    path.chmod(0o644)
    seal._load_key.cache_clear()
    seal.sign({})
    assert path.stat().st_mode & 0o777 == 0o600


def test_secrets_are_redacted_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "wandb-secret-value")
    token = "hf_" + "A1" * 17
    assert seal.redacted({"a": [f"x {token} y", "wandb-secret-value"], token: 1}) == {
        "a": ["x <HF_TOKEN> y", "<WANDB_API_KEY>"],
        "<HF_TOKEN>": 1,
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "Looking in indexes: https://me:pa%40ss@index.example/simple",
            "Looking in indexes: https://<credentials>@index.example/simple",
        ),
        ("https_proxy=http://me@proxy:3128", "https_proxy=http://<credentials>@proxy:3128"),
        ("https://medium.com/@someone?x=a@b", "https://medium.com/@someone?x=a@b"),
        ("image nvcr.io/nvidia/pytorch:26.03-py3@sha256:55", "image nvcr.io/nvidia/pytorch:26.03-py3@sha256:55"),
        ('f"https://{user}:{password}@host"', 'f"https://{user}:{password}@host"'),
    ],
)
def test_credentials_in_a_url(text, shown):
    assert seal.redacted(text) == shown
    assert seal.redacted(shown) == shown
