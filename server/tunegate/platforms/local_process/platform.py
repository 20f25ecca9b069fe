"""local-process: every stage is a process in a virtual environment of this machine's CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tunegate import evidence, jobs
from tunegate.config import RunConfig
from tunegate.errors import NextCall, ToolFailure
from tunegate.hardware import gpu_handover
from tunegate.hardware.facts import HostFacts
from tunegate.hardware.gpus import Gpus
from tunegate.platforms.base import Environment, Launch, Platform
from tunegate.project import render
from tunegate.rundir import Run
from tunegate.stage_table import AS_RENDERED, STAGES

if TYPE_CHECKING:
    from tunegate.clients.web.page import Web

NO_CONTAINER = (
    "platform local-process: stages run in a virtual environment on this machine, without a container; "
    "there is no image digest to pin, so the package lock in meta/stages/build.json stands in for it"
)
NO_GPU = "platform local-process trains on the CPU: expect hours where a GPU takes minutes; fit for small models and for trying a run out"


class LocalProcess(Platform):
    name = "local-process"
    config_keys = ()
    requirements = render.REQUIREMENTS
    python = ("python",)

    def audit(self, facts: HostFacts, seen: Gpus, config: RunConfig, run_path: Path) -> None:
        facts.notes.append(NO_GPU)
        if seen.gpus:
            facts.warnings.append(f"{gpu_handover.describe_gpu(seen.gpus)} here, not used by local-process")

    def choose_environment(self, web: Web, audit: dict[str, Any], wanted: str | None) -> Environment:
        if wanted:
            raise ToolFailure(
                "invalid_input",
                f"image = {wanted!r}: platform local-process runs no container; leave image out, or call "
                " probe_model with platform: local-docker",
            )
        return Environment(None, None, [NO_CONTAINER])

    def versions(self, image: dict[str, Any]) -> dict[str, str | None]:
        return {}

    def preflight(self, config: RunConfig, image: dict[str, Any]) -> str:
        return "no container (local-process)" if image else ""

    def launch(
        self, run: Run, config: RunConfig, stage: str, inputs: str, roots: tuple[Path, ...], done: bool
    ) -> Launch:
        if stage == "build":
            requirements = [str(run.at(name)) for name in self.requirements]
            report = str(run.at("reports/build.json"))
            rendered = str(run.at(AS_RENDERED))
            return Launch([*jobs.PYTHON_M, "tunegate.platforms.local_process.envs", report, rendered, *requirements])
        return Launch([self.interpreter(run, STAGES[stage].measures), *STAGES[stage].words])

    def goes_on(self, run: Run, stage: str, handle: str) -> bool:
        return False

    def follower(self, run: Run, stage: str, handle: str, mode: Literal["follow", "stop"]) -> list[str]:
        raise AssertionError("a process has no handle: it ends with its job")

    def forget(self, run: Run, stage: str) -> None:
        pass

    def build_is_gone(self, built: dict[str, Any]) -> bool:
        return not all(Path(each.get("python") or "").is_file() for each in (built, built.get("measures", built)))

    def set_up(self, config: RunConfig) -> list[str]:
        venv = "python3 -m venv .venv && . .venv/bin/activate"
        return [venv, *(f"pip install -r {name}" for name in self.requirements)]

    def interpreter(self, run: Run, measures: bool = False) -> str:
        """The one that `build` recorded."""
        built = evidence.read(run, "stages/build")
        facts = built.facts if built else {}
        python = (facts.get("measures", facts) if measures else facts).get("python")
        if not python or not Path(python).exists():
            raise ToolFailure(
                "gate_closed",
                f"the stage environment {python or ''} is gone: build it again",
                gate=4,
                missing=["stages/build"],
                next=NextCall(tool="docker_run", arguments={"output_dir": str(run.path), "stage": "build"}),
            )
        return python
