"""Which image a run is built on, by what the engine has: the real SDK against a fake engine."""

from __future__ import annotations

import pytest

from tests.fake_engine import FakeEngine
from tunegate import engine, ngc
from tunegate.errors import ToolFailure

NAME = "nvcr.io/nvidia/pytorch"
SHA = "sha256:" + "5" * 64


@pytest.fixture
def fake(tmp_path, monkeypatch):
    with FakeEngine(tmp_path / "docker.sock") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        yield server


def have(fake: FakeEngine, *images: tuple[str, list[str]], **labels: str) -> None:
    """The engine has these: (name:tag, its digests)."""
    fake.on("GET", "^/images/json$", body=[{"Id": tag, "RepoTags": [tag]} for tag, _ in images])
    for tag, digests in images:
        fake.images[tag] = {"Id": SHA, "RepoDigests": digests, "Config": {"Labels": labels}}


def refusal() -> str:
    with pytest.raises(ToolFailure) as caught:
        ngc.pick(engine.connect())
    assert caught.value.code == "not_found"
    return str(caught.value)


def test_the_newest_with_a_digest(fake):
    digests = {release: f"{NAME}@sha256:{number}" for number, release in enumerate(("25.12", "26.03", "26.01"))}
    have(fake, *((f"{NAME}:{release}-py3", [digest]) for release, digest in digests.items()))
    choice = ngc.pick(engine.connect())
    assert (choice.image, choice.digest) == (f"{NAME}:26.03-py3", "sha256:1")
    assert len(choice.notes) == 1 and "newest" in choice.notes[0]


def test_an_undigested_image_is_passed_over(fake):
    have(fake, (f"{NAME}:26.03-py3", []), (f"{NAME}:26.01-py3", [f"{NAME}@{SHA}"]))
    choice = ngc.pick(engine.connect())
    assert (choice.image, choice.digest) == (f"{NAME}:26.01-py3", SHA)
    assert "26.03-py3 was never pulled" in choice.notes[0]


def test_the_digest_of_another_repository_is_not_this_ones(fake):
    have(fake, (f"{NAME}:26.03-py3", [f"mirror.example/nvidia/pytorch@{SHA}"]))
    assert "no digest" in refusal()


def test_a_mirrors_image_and_a_stand_in_count_and_the_stand_in_is_named(fake):
    have(fake, ("127.0.0.1:5055/nvidia/pytorch:26.03-py3", [f"127.0.0.1:5055/nvidia/pytorch@{SHA}"]))
    assert ngc.pick(engine.connect()).image.startswith("127.0.0.1")
    have(fake, (f"{NAME}:26.03-py3", [f"{NAME}@{SHA}"]), **{"org.tunegate.standin": "yes"})
    assert "stand-in" in ngc.pick(engine.connect()).notes[-1]


@pytest.mark.parametrize(
    "tag", ["", "python:3.12-slim", f"{NAME}:latest", f"{NAME}:26.03-py3-igpu", "x/pytorch:26.03-py3"]
)
def test_without_one_it_says_what_to_pull(fake, tag):
    have(fake, *([(tag, [f"x@{SHA}"])] if tag else []))
    assert f"docker pull {NAME}:" in refusal() and "pick_ngc_image again" in refusal()


def test_one_that_was_never_pulled_cannot_be_pinned(fake):
    have(fake, (f"{NAME}:26.03-py3", []))
    assert f"{NAME}:26.03-py3 has no digest" in refusal() and "docker pull" in refusal()


def test_an_untagged_image_is_none(fake):
    fake.on("GET", "^/images/json$", body=[{"Id": SHA, "RepoTags": None}])
    assert "no NGC PyTorch image" in refusal()


def test_an_engine_that_fails_is_unavailable(fake):
    fake.refuse("GET", "^/images/json$", 500, "layer does not exist")
    with pytest.raises(ToolFailure) as caught:
        ngc.pick(engine.connect())
    assert caught.value.code == "unavailable"
