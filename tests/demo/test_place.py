"""Where the demo runs, by what engine and image there are: the real SDK against a fake engine."""

from __future__ import annotations

import pytest

from tests.fake_engine import FakeEngine
from tests.hardware.ngc.test_ngc import NAME, SHA, have
from tunegate.demo import place as demo_place
from tunegate.errors import ToolFailure


@pytest.fixture
def fake(tmp_path, monkeypatch):
    with FakeEngine(tmp_path / "docker.sock") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        yield server


@pytest.fixture
def standin(tmp_path, monkeypatch):
    """A checkout whose standin/build.sh is what the test writes."""
    monkeypatch.setattr(demo_place, "checkout", lambda: tmp_path)

    def write(text: str):
        (tmp_path / "standin").mkdir()
        script = tmp_path / "standin/build.sh"
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)

    return write


def test_containers_where_an_engine_has_an_image(fake):
    have(fake, (f"{NAME}:26.03-py3", [f"{NAME}@{SHA}"]))
    place = demo_place.choose(None)
    assert place.platform == "local-docker" and "26.03-py3" in place.why
    assert place.env["DOCKER_HOST"] == fake.host  # also where it was the default socket that answered


def test_no_engine_is_a_virtual_environment_and_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    place = demo_place.choose(None)
    assert place.platform == "local-process" and f"{tmp_path}/none.sock" in place.why
    with pytest.raises(ToolFailure) as caught:
        demo_place.choose("local-docker")
    assert caught.value.code == "unavailable"


def test_a_virtual_environment_is_had_for_the_asking(fake):
    assert demo_place.choose("local-process").platform == "local-process" and not fake.requests


def test_an_installed_package_has_no_stand_in_to_build(fake, monkeypatch, tmp_path):
    have(fake)
    monkeypatch.setattr(demo_place, "checkout", lambda: tmp_path)
    place = demo_place.choose(None)
    assert place.platform == "local-process" and "docker pull" in place.why


def test_a_stand_in_that_cannot_be_built_says_what_is_missing(fake, standin):
    have(fake)
    standin("echo 'build: mmdebstrap is not installed' >&2; exit 1")
    place = demo_place.choose(None)
    assert place.platform == "local-process" and "mmdebstrap is not installed" in place.why


def test_a_stand_in_that_was_built_must_be_there(fake, standin):
    have(fake)
    standin("true")  # says that it built, and did not
    assert demo_place.choose(None).platform == "local-process"
    with pytest.raises(ToolFailure) as caught:
        demo_place.choose("local-docker")
    assert caught.value.code == "not_found"
