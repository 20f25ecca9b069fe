"""The facts of a dataset: what probe_dataset finds, as evidence keeps it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tunegate.config import Reshape
from tunegate.evidence import Source
from tunegate.probe.dataset import findings
from tunegate.probe.dataset.findings import Findings

CODINGS = {
    "class ids": "ids",
    "codes": "codes",
    "binary 0/255": "binary_255",
    "segment ids in RGB": "segment_ids",
    "class in R, instance in G": "class_and_instance",
}  # masks.coding -> mask_values of config.yaml


class ClassCounts(BaseModel):
    """How often each class occurs: among all rows of a split, or among the rows that were read."""

    model_config = ConfigDict(extra="forbid")
    counts: dict[str, int] = Field(description="class -> rows (objects), the most frequent ones")
    complete: bool = Field(description="whether these are of all rows of the split")
    whole_list: bool = Field(False, description="whether every class is listed")


class DatasetFacts(Findings):
    """Everything that later steps may ask about the dataset. `verdict` is what gate 1 reads."""

    model_config = ConfigDict(extra="forbid")
    source: Literal["hub", "local"]
    read_through: Literal["viewer", "files", "streamed in a container"]
    dataset_id: str | None = None
    local_path: str | None = None
    local_eval_path: str | None = Field(None, description="a second dataset, whose rows are those to evaluate on")
    local_format: str | None = None
    revision: str | None = Field(None, description="commit SHA")
    gated: str | None = None
    private: bool = False
    task: str
    verdict: Literal["accept", "reject"]
    reasons: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    configs: list[str] = Field(default_factory=list, description="the first 50")
    config: str | None = None
    config_reason: str = ""
    splits: dict[str, int | None] = Field(description="rows; null: unknown")
    train_split: str
    eval_split: str | None = Field(description="null: held out of train_split")
    split_reason: str
    columns: dict[str, str] = Field(description="name -> type")
    form: str = Field(description="which of the task's layouts the columns have: tasks/columns.py")
    column_map: dict[str, str] = Field(description="task column -> dataset column, or column.field")
    column_reshape: Reshape | None = Field(
        description="how these columns become the task's; null: by their names alone"
    )
    class_names: list[str] = Field(description="in order of the label ids; empty: not declared, known after prepare")
    label_histogram: dict[str, int] = Field(description="class -> rows (boxes, for detection) among the rows read")
    label_rows: int = Field(description="rows (boxes) counted for the histogram")
    label_complete: bool = Field(description="whether these are all of the train split")
    class_counts: dict[str, ClassCounts] = Field(
        default_factory=dict, description="split -> classes counted, which prepare's rows are compared with"
    )
    rows_partial: bool = Field(False, description="`splits` counts only a part of the rows that there are")
    unused_columns: list[str] = Field(default_factory=list, description="columns that nothing reads, the first 50")
    rows_read: dict[str, int] = Field(description="split -> rows of the sample that the other facts are of")
    sample_spread: bool = Field(description="the sample is from all over the split, not only from its beginning")
    sample_rows: list[dict[str, Any]]
    manifest: str = Field("", exclude=True, description="what prepare reads, as JSON: a file of its own")
    manifest_sha256: str = ""
    sources: list[Source]
    bytes_fetched: int

    def for_config(self) -> dict[str, Any]:
        """What config.yaml says about the annotations, so that a rendered project needs no evidence to read them."""
        masks = self.masks
        return {
            "box_format": self.boxes.format if self.boxes else None,
            "boxes_normalised": self.boxes.normalized if self.boxes else None,
            "ignore_index": masks.ignore_index if masks else None,
            "mask_values": ("ids_from_1" if masks.reduce_labels else CODINGS[masks.coding]) if masks else None,
            "mask_codes": masks.codes if masks else [],
            "depth_scale": self.depth.scale if self.depth else None,
        }

    def described(self) -> list[str]:
        """The findings in a few lines."""
        sample = " + ".join(f"{rows} of {self.splits.get(name) or '?'} {name}" for name, rows in self.rows_read.items())
        lines = findings.describe(self, self.form, self.column_reshape)
        chosen = [f"evaluation: {self.split_reason}"]
        if len(self.configs) > 1:
            chosen.insert(0, f"configuration {self.config}: {self.config_reason}")
        unused = [f"columns not read: {', '.join(self.unused_columns[:10])}"] if self.unused_columns else []
        return [*chosen, f"sample: {sample} rows" + ("" if self.sample_spread else ", the first ones"), *lines, *unused]
