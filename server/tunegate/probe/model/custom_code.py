"""A repository's own Python code: reported, never run. Code that only repeats what transformers has itself is not needed."""

from __future__ import annotations

from typing import Any

from tunegate.clients.hub import RepoInfo
from tunegate.errors import ToolFailure
from tunegate.tasks import architectures


def check(info: RepoInfo, config: dict[str, Any], warnings: list[str]) -> None:
    """Raises rejected when loading needs the repository's code.

    transformers takes its own class for a model_type that it knows, unless told to trust remote code. The two are the
    same model only if auto_map names the very classes that transformers has; then this is but a warning.
    """
    if "auto_map" not in config:
        return
    table = config["auto_map"]
    model_type = config["model_type"]
    needed = {key: value for key, value in table.items() if _is_model(key)} if isinstance(table, dict) else None
    if needed and all(isinstance(v, str) and architectures.own_class(v, k, model_type) for k, v in needed.items()):
        warnings.append(
            "the repository carries its own Python code (auto_map), which is not used: transformers "
            f"{architectures.version()} has the same classes itself"
        )
        return
    raise ToolFailure(
        "rejected",
        f"model_id = {info.id!r} needs its own Python code to load (auto_map in config.json), and this version "
        "runs no repository's code: choose a model that transformers itself knows",
    )


def _is_model(key: object) -> bool:
    return isinstance(key, str) and (key == "AutoConfig" or key.startswith("AutoModel"))
