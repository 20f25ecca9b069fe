"""Every test has its own home: state, cache, Hub client. Nothing of the user's is read or written. Which worker runs what, too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

from tunegate import stages
from tunegate.evidence import seal


class ByFile(LoadFileScheduling):
    """A file's tests share a project that was trained once, and tests/engine an engine: each of these stays with one worker."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "engine" if "engine" in Path(file).parts else file


def pytest_xdist_make_scheduler(config, log):
    return ByFile(config, log)


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("home")
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))
    for name in [*seal.SECRET_NAMES, "HF_ENDPOINT", "HF_TOKEN_PATH", "TUNEGATE_WEB_MAP", "TUNEGATE_VIEWER_ENDPOINT"]:
        monkeypatch.delenv(name, raising=False)
    seal._load_key.cache_clear()
    return home


@pytest.fixture
def own_code(monkeypatch):
    """Stages run the scripts that lie in the run, whatever measures: for tests that write their own."""
    from tests import sealed

    monkeypatch.setattr(stages, "code", sealed.own_code)


@pytest.fixture(scope="session")
def stage_python() -> str:
    """A Python with torch and transformers (`make test` makes one); without it the test is skipped, loudly."""
    python = os.environ.get("TUNEGATE_STAGE_PYTHON")
    if not python:
        pytest.skip("TUNEGATE_STAGE_PYTHON is not set: run `make test`, which prepares the stage environment")
    return python
