"""What a platform must answer. Each is a folder beside this file; registry.py lists them, and a class that leaves a question
open cannot be listed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tunegate.config import RunConfig
from tunegate.hardware.facts import HostFacts
from tunegate.hardware.gpus import Gpus
from tunegate.rundir import Run

if TYPE_CHECKING:
    from tunegate.clients.web.page import Web


@dataclass(frozen=True)
class Environment:
    """What the stages of a run will run in. image, digest: None where it is no container. facts: for the `image` evidence."""

    image: str | None
    digest: str | None
    notes: list[str]  # for the user; the first says what was chosen and why
    facts: dict[str, Any] = field(default_factory=dict)
    is_fallback: bool = False  # a better one could not be looked up: the first note is kept with the run


@dataclass(frozen=True)
class Launch:
    """How a stage is started. handle: the name by which what runs it is found again, where that outlives its follower.

    given: what it gets, decided now and sealed into the job's spec.
    """

    argv: list[str]
    handle: str | None = None
    given: dict[str, Any] | None = None


class Platform(ABC):
    """Where the stages of a run run."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The value of config.yaml's `platform`; a value of config.PlatformName."""

    @property
    @abstractmethod
    def config_keys(self) -> tuple[str, ...]:
        """The config keys that gate 2 wants filled, beside those of the GPUs."""

    @property
    @abstractmethod
    def requirements(self) -> tuple[str, ...]:
        """The project's requirement files whose pins `build` must have installed, in the order of installation."""

    @property
    @abstractmethod
    def python(self) -> tuple[str, ...]:
        """The words by which a person runs the project's Python."""

    # -- step 2

    @abstractmethod
    def audit(self, facts: HostFacts, seen: Gpus, config: RunConfig, run_path: Path) -> None:
        """Adds what this machine offers to stages that run here: `seen` are the GPUs that the machine itself sees."""

    @abstractmethod
    def choose_environment(self, web: Web, audit: dict[str, Any], wanted: str | None) -> Environment:
        """audit: facts of the `host` evidence. wanted: an image that the user named. Raises ToolFailure."""

    @abstractmethod
    def versions(self, image: dict[str, Any]) -> dict[str, str | None]:
        """{package: version} where the stages run on another than the project pins. image: facts of the `image` evidence."""

    @abstractmethod
    def preflight(self, config: RunConfig, image: dict[str, Any]) -> str:
        """What the stages run in, for a person to read before training; blank while nothing is chosen."""

    # -- the life of a stage

    @abstractmethod
    def launch(
        self, run: Run, config: RunConfig, stage: str, inputs: str, roots: tuple[Path, ...], done: bool
    ) -> Launch:
        """How to start the stage in run.work, with everything out of its way that an earlier start has left.

        inputs: a name for what it starts from: the same inputs are the same job. roots: the directories that local data may
        come from. done: the stage's last job has its result. Raises ToolFailure.
        """

    @abstractmethod
    def goes_on(self, run: Run, stage: str, handle: str) -> bool:
        """Whether what an earlier start of this handle began still works, or has ended by itself, so that no other begins."""

    @abstractmethod
    def follower(self, run: Run, stage: str, handle: str, mode: Literal["follow", "stop"]) -> list[str]:
        """argv that follows what runs the stage, and starts nothing; `stop`: it stops it first."""

    @abstractmethod
    def forget(self, run: Run, stage: str) -> None:
        """Remove what the ended stage has left outside the run: the server has its result."""

    @abstractmethod
    def build_is_gone(self, built: dict[str, Any]) -> bool:
        """Whether `build` must run again although it passed. built: facts of its evidence."""

    # -- by hand

    @abstractmethod
    def set_up(self, config: RunConfig) -> list[str]:
        """The shell lines that make the environment by hand, inside the project."""

    @abstractmethod
    def interpreter(self, run: Run, measures: bool = False) -> str:
        """What `python` at the beginning of such a command stands for on this machine. Raises ToolFailure(gate_closed).

        measures: of the environment as rendered, where the run's requirements were edited.
        """
