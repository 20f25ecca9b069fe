from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunegate import paths
from tunegate.evidence import seal


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


# -- streams, whose pieces may divide a secret

KNOWN = "k1k2-known-secret-value-1234567890"
STRANGERS = "hf_" + "Zz9" * 12  # shaped like a token, of nobody that is known here
LOGIN = "user:pa%40ssword"
PLANTED = {KNOWN: "<WANDB_API_KEY>", STRANGERS: "<HF_TOKEN>", f"https://{LOGIN}@host": "https://<credentials>@host"}


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KNOWN)


def streamed(pieces: list[bytes], longest_line: int) -> str:
    redactor = seal.Redactor(longest_line)
    return b"".join([*(redactor.feed(piece) for piece in pieces), redactor.close()]).decode()


@pytest.mark.parametrize(("secret", "shown"), PLANTED.items())
def test_a_secret_anywhere_around_the_place_where_a_long_line_is_cut(known, monkeypatch, secret, shown):
    monkeypatch.setattr(seal, "LONGEST", 64)
    for at in range(200 - 64 - len(secret) - 2, 200 + 2):
        line = "." * at + " " + secret + " " + "." * 300
        pieces = [line[i : i + 100].encode() for i in range(0, len(line), 100)]
        assert streamed(pieces, 100) == "." * at + " " + shown + " " + "." * 300


@pytest.mark.parametrize(("secret", "shown"), PLANTED.items())
def test_a_secret_written_in_two_parts_is_not_shown_between_them(known, secret, shown):
    for at in range(1, len(secret)):
        redactor = seal.Redactor()
        before = redactor.feed(b"first\n" + secret[:at].encode())
        assert before == b"first\n"
        assert redactor.feed(secret[at:].encode() + b"\n") == shown.encode() + b"\n"


@given(
    st.lists(st.one_of(st.sampled_from([*PLANTED, "\n", "\r", " ", "é", "hf_", "://", "@"]), st.text("ab. ", max_size=40)), max_size=30),
    st.lists(st.integers(1, 90), min_size=1, max_size=8),
    st.integers(0, 200),
)  # fmt: skip
def test_no_way_to_cut_a_stream_shows_a_secret(words, sizes, longest_line):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_API_KEY", KNOWN)
        patch.setattr(seal, "LONGEST", 64)
        data, pieces, number = "".join(words).encode(), [], 0
        while data:
            size = sizes[number % len(sizes)]
            pieces, data, number = [*pieces, data[:size]], data[size:], number + 1
        shown = streamed(pieces, longest_line)
        assert KNOWN[:12] not in shown and STRANGERS not in shown and LOGIN not in shown
        assert "hf_Zz9Zz9Zz9Zz9Zz9Z" not in shown


def test_a_known_secret_of_which_only_the_beginning_is_left(known):
    assert seal.redacted(f"model_id = {('x' * 70 + KNOWN)[:90]!r}") == f"model_id = '{'x' * 70}<WANDB_API_KEY>'"


def test_a_token_glued_to_the_word_before_it():
    assert seal.redacted("a" * 10 + STRANGERS + "_x") == "a" * 10 + "<HF_TOKEN>_x"


def test_a_line_whose_rest_is_lost_ends_before_its_last_word(known):
    redactor = seal.Redactor()
    redactor.feed(b"a long line with " + KNOWN[:9].encode())
    assert redactor.broken_off() == b"a long line with [the rest of this line was lost]\n"
    assert redactor.broken_off() == b"" and redactor.feed(b"next\n") == b"next\n"
