"""local-docker: every stage is a container of an image built on an NGC PyTorch image, on this machine's Docker engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tunegate import jobs
from tunegate.clients.docker import engine as engines
from tunegate.config import RunConfig
from tunegate.hardware import docker_audit, ngc
from tunegate.hardware.facts import HostFacts
from tunegate.hardware.gpus import Gpus
from tunegate.knowledge.workarounds import TORCH
from tunegate.platforms.base import Environment, Launch, Platform
from tunegate.platforms.local_docker import docker_stage
from tunegate.rundir import Run

if TYPE_CHECKING:
    from tunegate.clients.web.page import Web


class LocalDocker(Platform):
    name = "local-docker"
    config_keys = ("ngc_image", "ngc_image_digest")
    requirements = ("requirements.txt",)  # torch is the image's own
    python = ("bash", "in_image.sh", "python")

    def audit(self, facts: HostFacts, seen: Gpus, config: RunConfig, run_path: Path) -> None:
        docker_audit.inspect(facts, seen, config, run_path)
        if facts.hard_failures:
            facts.without["platform"] = "local-process"

    def choose_environment(self, web: Web, audit: dict[str, Any], wanted: str | None) -> Environment:
        choice = ngc.pick(engines.connect(), web, audit, wanted)
        fallback = choice.facts.get("from") == ngc.FALLBACK_TABLE
        return Environment(choice.image, choice.digest, choice.notes, choice.facts, fallback)

    def versions(self, image: dict[str, Any]) -> dict[str, str | None]:
        """The image's own torch runs, whatever requirements-local.txt says."""
        return dict.fromkeys(TORCH) | {"torch": image.get("torch")}

    def preflight(self, config: RunConfig, image: dict[str, Any]) -> str:
        return f"{config.ngc_image}@{config.ngc_image_digest}" if config.ngc_image_digest else ""

    def launch(
        self, run: Run, config: RunConfig, stage: str, inputs: str, roots: tuple[Path, ...], done: bool
    ) -> Launch:
        given = docker_stage.given(run, config, stage, roots)
        argv = self._argv(run, stage, inputs)
        if stage == "build":
            return Launch(argv, given=given)
        docker_stage.end_others(run, stage, inputs, done=done)
        return Launch(argv, inputs, given)

    def goes_on(self, run: Run, stage: str, handle: str) -> bool:
        return docker_stage.goes_on(run, stage, handle)

    def follower(self, run: Run, stage: str, handle: str, mode: Literal["follow", "stop"]) -> list[str]:
        return self._argv(run, stage, handle, mode)

    def forget(self, run: Run, stage: str) -> None:
        docker_stage.forget(run, stage)

    def build_is_gone(self, built: dict[str, Any]) -> bool:
        """Somebody removed the image from the engine."""
        made = (built, built.get("measures", built))
        return any(engines.image(engines.connect(), each["image_id"]) is None for each in made)

    def set_up(self, config: RunConfig) -> list[str]:
        return [f"docker build -t run-{config.short_name} ."]

    def interpreter(self, run: Run, measures: bool = False) -> str:
        return "python"  # the commands themselves say in which image

    def _argv(self, run: Run, stage: str, *arguments: str) -> list[str]:
        return [*jobs.PYTHON_M, "tunegate.platforms.local_docker.docker_stage", str(run.path), stage, *arguments]
