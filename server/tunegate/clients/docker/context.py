"""The engine that `docker context use`, or DOCKER_CONTEXT, chose: where the docker command itself would look."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from tunegate.errors import ToolFailure

DEFAULT = "default"  # the name of no context: DOCKER_HOST, or the engine's usual socket


def chosen() -> tuple[str, str] | None:
    """(name, host) of the chosen context; None for the default one. Raises ToolFailure(unavailable) for one that is not there."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    name = os.environ.get("DOCKER_CONTEXT") or _json(folder / "config.json").get("currentContext") or DEFAULT
    if name == DEFAULT:
        return None
    meta = folder / "contexts/meta" / hashlib.sha256(str(name).encode()).hexdigest() / "meta.json"
    try:
        return str(name), str(_json(meta)["Endpoints"]["docker"]["Host"])
    except (KeyError, TypeError):
        raise ToolFailure(
            "unavailable",
            f"docker context {str(name)[:100]!r} is chosen (`docker context use`, or DOCKER_CONTEXT), and {folder} has no engine "
            "of that name: see `docker context ls`, choose another one, or set DOCKER_HOST",
        ) from None


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
