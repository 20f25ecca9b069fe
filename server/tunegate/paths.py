"""Where tunegate keeps things outside a run."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_dir(name: str) -> Path:
    """`scaffolds`, `references` or `skill`: inside the installed wheel, else at the top of a checkout."""
    packaged = _PACKAGE / "_data" / name
    return packaged if packaged.is_dir() else checkout() / name


def checkout() -> Path:
    """The top of the repository, where this package is installed from one."""
    return _PACKAGE.parents[1]


def state_dir() -> Path:
    """The user's own state (the seal key). Never inside a run."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "tunegate"


def work_dir() -> Path:
    """Where stages run (jobs/snapshot.py): TUNEGATE_WORK_DIR, for whoever has his space elsewhere than at home."""
    return Path(os.environ.get("TUNEGATE_WORK_DIR") or state_dir() / "work").resolve()


def cache_dir() -> Path:
    """What can be made again: stage environments, fetched pages."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tunegate"
