"""What the engine has and finds out: the real SDK against a fake engine."""

from __future__ import annotations

import pytest

from tests.fake_engine import FakeEngine
from tests.hardware.ngc.test_ngc import NAME, SHA, have
from tunegate.clients.docker import engine
from tunegate.errors import ToolFailure
from tunegate.hardware.ngc import local as ngc_local


@pytest.fixture
def fake(tmp_path, monkeypatch):
    with FakeEngine(tmp_path / "docker.sock") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        yield server


def found() -> list[ngc_local.Local]:
    return ngc_local.images(engine.connect())


def test_newest_first_with_the_digest_of_its_own_repository(fake):
    digests = {release: [f"{NAME}@sha256:{number}"] for number, release in enumerate(("25.12", "26.03", "26.01"))}
    have(fake, *((f"{NAME}:{release}-py3", digest) for release, digest in digests.items()))
    assert [(one.facts.release, one.digest) for one in found()] == [
        ("26.03", "sha256:1"),
        ("26.01", "sha256:2"),
        ("25.12", "sha256:0"),
    ]


@pytest.mark.parametrize("digests", [[], [f"mirror.example/nvidia/pytorch@{SHA}"]])
def test_without_a_digest_of_its_own(fake, digests):
    have(fake, (f"{NAME}:26.03-py3", digests))
    assert found()[0].digest is None


def test_a_mirrors_image_counts_and_nvidias_comes_before_a_stand_in(fake):
    mirror = "127.0.0.1:5055/nvidia/pytorch"
    have(fake, (f"{mirror}:26.03-py3", [f"{mirror}@{SHA}"]), (f"{NAME}:26.03-py3", [f"{NAME}@{SHA}"]))
    fake.images[f"{mirror}:26.03-py3"]["Config"] = {"Labels": {"org.tunegate.standin": "yes"}}
    assert [(one.image, one.standin) for one in found()] == [
        (f"{NAME}:26.03-py3", False),
        (f"{mirror}:26.03-py3", True),
    ]


@pytest.mark.parametrize("tag", ["python:3.12-slim", f"{NAME}:latest", f"{NAME}:26.03-py3-igpu", "x/pytorch:26.03-py3"])
def test_what_is_no_ngc_pytorch_image(fake, tag):
    have(fake, (tag, [f"x@{SHA}"]))
    assert found() == []


def test_an_untagged_image_is_none(fake):
    fake.on("GET", "^/images/json$", body=[{"Id": SHA, "RepoTags": None}])
    assert found() == []


def test_an_image_that_goes_away_meanwhile(fake):
    have(fake, (f"{NAME}:26.03-py3", []))
    fake.images.clear()
    assert found() == []


def test_an_engine_that_fails_is_unavailable(fake):
    fake.refuse("GET", "^/images/json$", 500, "layer does not exist")
    with pytest.raises(ToolFailure) as caught:
        found()
    assert caught.value.code == "unavailable"


def test_architecture(fake):
    assert ngc_local.architecture(engine.connect()) in ("amd64", "arm64")


@pytest.mark.parametrize(
    ("body", "digest"),
    [
        ({"Descriptor": {"digest": "sha256:" + "a" * 64}}, "sha256:" + "a" * 64),
        ({"Descriptor": {"digest": "latest"}}, None),
        ({"Descriptor": None}, None),
        ({}, None),
    ],
)
def test_the_engines_own_view_of_a_registry(fake, body, digest):
    fake.on("GET", "^/distribution/.+/json$", body=body)
    connected = engine.connect()
    usual = connected.api.timeout
    assert ngc_local.registry_digest(connected, f"{NAME}:26.03-py3") == digest
    assert connected.api.timeout == usual


def test_an_engine_that_cannot_ask_the_registry(fake, monkeypatch):
    connected = engine.connect()
    assert ngc_local.registry_digest(connected, f"{NAME}:26.03-py3") is None  # an engine without this call
    fake.refuse("GET", "^/distribution/.+/json$", 500, "dial tcp: lookup nvcr.io: no such host")
    assert ngc_local.registry_digest(connected, f"{NAME}:26.03-py3") is None
    monkeypatch.setattr(ngc_local, "ASK_REGISTRY_S", 0.05)
    fake.on("GET", "^/distribution/.+/json$", stall_s=1)
    assert ngc_local.registry_digest(connected, f"{NAME}:26.03-py3") is None
