"""What probe_dataset is asked, as one value that is handed on. Cheap to import: the tools do it at start-up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunegate.errors import NextCall
from tunegate.tasks.columns import CAPTION_PROMPT

if TYPE_CHECKING:
    from tunegate.probe.model import ModelFacts


@dataclass(frozen=True)
class ProbeContainer:
    """The run whose .probe/ a container may work in, and the call that follows one which is still at work."""

    run_dir: Path
    again: NextCall


@dataclass(frozen=True)
class DatasetRequest:
    """A dataset on the Hub or on this machine (exactly one of the two), for a task and a training method.

    local_eval_path: a second dataset on this machine, which is measured on; None: a split of the one, or held-out rows.
    caption_prompt: what the user says in a row of an image and its caption.
    config, train_split, eval_split, column_map, box_format, mask_codes: what the user decided; None where the probe finds it.
    container: where what neither the viewer nor a range request can read may be streamed; None: nowhere.
    """

    task: str
    method: str | None = None  # dpo and grpo read other columns
    model_facts: ModelFacts | None = None
    dataset_id: str | None = None
    local_path: str | None = None
    local_eval_path: str | None = None
    local_format: str = "auto"
    config: str | None = None
    train_split: str | None = None
    eval_split: str | None = None
    column_map: dict[str, str] | None = None
    caption_prompt: str = CAPTION_PROMPT
    box_format: str | None = None
    mask_codes: list[int] | None = None
    container: ProbeContainer | None = None
