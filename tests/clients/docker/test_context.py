"""Which engine is asked: DOCKER_HOST, else the docker context that is chosen, else the usual socket."""

from __future__ import annotations

import hashlib
import json

import pytest

from tunegate.clients.docker import engine
from tunegate.errors import ToolFailure


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".docker"
    for name in ("colima", "desktop-linux"):
        meta = folder / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"
        meta.parent.mkdir(parents=True)
        meta.write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": f"unix:///{name}.sock"}}}))
    (folder / "config.json").write_text(json.dumps({"currentContext": "desktop-linux", "auths": {}}))
    return folder


def test_the_engine_of_the_chosen_context_is_asked(home, monkeypatch):
    assert engine.address() == "unix:///desktop-linux.sock"
    with pytest.raises(ToolFailure, match="context 'desktop-linux'.*nothing answers there"):
        engine.connect()
    monkeypatch.setenv("DOCKER_CONTEXT", "colima")
    assert engine.address() == "unix:///colima.sock"
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    assert engine.address() == f"unix://{engine.SOCKET}"
    monkeypatch.setenv("DOCKER_CONTEXT", "colima")
    monkeypatch.setenv("DOCKER_HOST", "unix:///given.sock")
    assert engine.address() == "unix:///given.sock", "the docker command takes DOCKER_HOST first, too"


def test_a_context_that_is_not_there_is_named(home, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_CONTEXT", "colmia")
    with pytest.raises(ToolFailure, match="docker context 'colmia' is chosen.*docker context ls") as refused:
        engine.address()
    assert refused.value.code == "unavailable"
    monkeypatch.delenv("DOCKER_CONTEXT")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "empty"))
    assert engine.address() == f"unix://{engine.SOCKET}", "without a configuration there is no context"
