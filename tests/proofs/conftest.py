"""What every proof needs: the stage environment, and an environment for the server that leaves the user's own alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def server_env(stage_python, own_home, monkeypatch) -> dict[str, str]:
    """Variables for `tunegate serve`: the cache that holds the stage environment, a home of its own for the rest."""
    cache = Path(stage_python).parents[4] if "tunegate" in Path(stage_python).parts else Path.home() / ".cache"
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # a training takes what cores there are
    return {"XDG_CACHE_HOME": str(cache), **{name: os.environ[name] for name in ("XDG_STATE_HOME", "HF_HOME")}}
