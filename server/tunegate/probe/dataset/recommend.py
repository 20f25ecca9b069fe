"""Datasets to recommend when none is named. references/dataset-recommendations.md is the page and the only place of the data."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tunegate import tasks
from tunegate.config import RepoId
from tunegate.knowledge.reference_pages import sections

PAGE = "dataset-recommendations.md"
MAX_SHOWN = 5


class Recommendation(BaseModel):
    """One dataset. `families`: model types (the start of `model_type`) that it suits best; empty: all."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: RepoId
    rows: Annotated[int, Field(ge=1)]
    size: Annotated[str, Field(pattern=r"^\d+(\.\d+)? (MB|GB)$", description="to download")]
    licence: str = Field(description="as its card states it")
    gated: bool = False
    config: str | None = None
    families: list[str] = []
    why: str


@cache
def load() -> dict[str, list[Recommendation]]:
    """Task (or task/method) -> datasets, in the page's order. Raises ValueError (a defect of the page)."""
    found: dict[str, list[Recommendation]] = {}
    for section in sections(PAGE):
        key = str(section.data.get("task"))
        if key not in tasks.VARIANTS or set(section.data) != {"task", "datasets"}:
            raise ValueError(f"{PAGE}, section {section.id!r}: task {key!r} is not known, or there are other keys")
        found[key] = [Recommendation.model_validate(row) for row in section.data["datasets"]]
    return found


def recommended(task: str, method: str | None, model_type: str | None) -> list[Recommendation]:
    """3 to 5 datasets; those made for the model's family come first."""
    known = load().get(tasks.variant(task, method)) or load()[task]
    kind = (model_type or "").lower()
    return sorted(known, key=lambda one: not any(kind.startswith(name) for name in one.families))[:MAX_SHOWN]


def message(task: str, method: str | None, model: Any) -> str:
    """What the user is shown and asked: the datasets, their own data last."""
    rows = recommended(task, method, getattr(model, "model_type", None))
    listed = "; ".join(_line(row) for row in rows)
    return (
        f"no dataset is given: show the user these for {tasks.variant(task, method)}, and pass the choice as dataset_id. {listed}; "
        f"or the user's own data, as local_dataset_path ({tasks.TASKS[task].local_layout})"
    )


def _line(row: Recommendation) -> str:
    config = f", dataset_config {row.config}" if row.config else ""
    gated = ", gated" if row.gated else ""
    return f"{row.id} ({row.rows:,} rows, {row.size}, license {row.licence}{gated}{config}): {row.why}"
