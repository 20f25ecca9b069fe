"""A platform that is nowhere: what a stage would do is a line of Python, and what it was asked is remembered."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from tunegate.config import RunConfig
from tunegate.hardware.facts import HostFacts
from tunegate.hardware.gpus import Gpus
from tunegate.platforms.base import Environment, Launch, Platform
from tunegate.rundir import Run


class InMemory(Platform):
    """It stands under the name of local-process, because config.yaml takes no other. scripts: stage -> Python."""

    name = "local-process"
    config_keys = ("ngc_image",)
    requirements = ()
    python = ("remote", "python")

    def __init__(self, scripts: dict[str, str] | None = None) -> None:
        self.scripts = scripts or {}
        self.asked: list[tuple[str, ...]] = []

    def audit(self, facts: HostFacts, seen: Gpus, config: RunConfig, run_path: Path) -> None:
        facts.notes.append("in memory")

    def choose_environment(self, web: Any, audit: dict[str, Any], wanted: str | None) -> Environment:
        return Environment(wanted or "a-place", None, ["in memory"], {"torch": "9.9"})

    def versions(self, image: dict[str, Any]) -> dict[str, str | None]:
        return {"torch": image.get("torch")}

    def preflight(self, config: RunConfig, image: dict[str, Any]) -> str:
        return "memory"

    def launch(
        self, run: Run, config: RunConfig, stage: str, inputs: str, roots: tuple[Path, ...], done: bool
    ) -> Launch:
        self.asked.append(("launch", stage, inputs))
        return Launch([sys.executable, "-c", self.scripts[stage]], inputs, {"roots": [str(root) for root in roots]})

    def goes_on(self, run: Run, stage: str, handle: str) -> bool:
        return False

    def follower(self, run: Run, stage: str, handle: str, mode: Literal["follow", "stop"]) -> list[str]:
        self.asked.append((mode, stage, handle))
        return [sys.executable, "-c", self.scripts[stage] if mode == "follow" else "raise SystemExit(75)"]

    def forget(self, run: Run, stage: str) -> None:
        self.asked.append(("forget", stage))

    def build_is_gone(self, built: dict[str, Any]) -> bool:
        return built.get("gone", False)

    def set_up(self, config: RunConfig) -> list[str]:
        return ["remote connect"]

    def interpreter(self, run: Run, measures: bool = False) -> str:
        return sys.executable
