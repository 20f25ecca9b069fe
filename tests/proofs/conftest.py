"""What every proof needs: the stage environment, and an environment for the server that leaves the user's own alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def server_env(stage_python, own_home) -> dict[str, str]:
    """Variables for `tunegate serve`: the cache that holds the stage environment, a home of its own for the rest.

    One thread unless OMP_NUM_THREADS says more: models this small lose by several where others want the cores too.
    """
    cache = Path(stage_python).parents[4] if "tunegate" in Path(stage_python).parts else Path.home() / ".cache"
    own = {name: os.environ[name] for name in ("XDG_STATE_HOME", "HF_HOME")}
    return {"XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), **own}
