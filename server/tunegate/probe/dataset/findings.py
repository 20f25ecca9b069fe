"""What a bounded sample of the rows shows, for each task: images, boxes, masks, depth, texts, duplicates."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tunegate.errors import ToolFailure
from tunegate.probe.dataset import duplicates
from tunegate.probe.dataset.boxes import BoxFacts, judge_boxes
from tunegate.probe.dataset.columns import at_path, dig
from tunegate.probe.dataset.duplicates import DuplicateFacts
from tunegate.probe.dataset.labels import class_name
from tunegate.probe.dataset.mapping import Mapping
from tunegate.probe.dataset.masks import DepthFacts, MaskFacts, judge_depth, judge_masks
from tunegate.probe.dataset.pictures import Picture, decoded, pillow
from tunegate.probe.dataset.table import Table
from tunegate.probe.dataset.texts import TextFacts, judge_texts
from tunegate.readers.tables import IMAGE_COLUMNS

N_MASKS = 60  # masks and depth maps looked into
N_DECODED = 100  # images of one split decoded
N_REMOTE = 16  # of those, at most so many that each cost a request
MAX_COMPARED = 50_000  # rows of one split that are compared for exact copies
COMPARE_S = 4.0  # for each split: the rows that this is enough for
DECODE_S = 6.0  # for decoding images: a call must answer in time


class ImageFacts(BaseModel):
    model_config = ConfigDict(extra="forbid")
    images: int = Field(description="looked at")
    decoded: int = Field(description="of those, decoded whole")
    broken: int
    examples: list[str] = Field(description="of broken ones")
    width: list[int] = Field(description="pixels: smallest, median, largest")
    height: list[int]
    sizes: int = Field(description="different sizes")


class Findings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    images: ImageFacts | None = None
    boxes: BoxFacts | None = None
    masks: MaskFacts | None = None
    depth: DepthFacts | None = None
    texts: TextFacts | None = None
    duplicates: DuplicateFacts | None = None


class Look:
    """One look at a table; warnings are collected on the way."""

    def __init__(
        self,
        table: Table,
        mapping: Mapping,
        task: str,
        train: str,
        evaluation: str | None,
        mask_codes: list[int] | None = None,
    ):
        self.mask_codes = mask_codes
        self.table, self.mapping, self.task = table, mapping, task
        self.train, self.evaluation = train, evaluation
        self.warnings: list[str] = []
        self._deadline = time.monotonic() + DECODE_S
        self._hashes: dict[str, list[int]] = {}

    def findings(self, names: list[str], box_format: str | None) -> Findings:
        """Raises ToolFailure: rejected, ambiguous (the box format)."""
        columns, rows = self.mapping.columns, self.table.rows(self.train).rows
        found = Findings()
        if "image" in columns:
            found.images = self._images(rows)
        if "bbox" in columns and rows:
            found.boxes = judge_boxes(rows, columns, box_format, self.table.facts.get("box_format"))
            self._about_boxes(found.boxes)
        if "mask" in columns:
            found.masks = self._masks(rows, names)
        if "depth_map" in columns:
            found.depth = self._depth(rows)
        if self.task in ("text-generation", "image-text-to-text"):
            found.texts = judge_texts(rows, self.mapping.form, columns, self.warnings)
            self._about_texts(found.texts)
        found.duplicates = self._duplicates()
        return found

    # --- images

    def _images(self, rows: list[dict[str, Any]]) -> ImageFacts | None:
        pictures = self._shown(rows)
        if not pictures:
            return None
        whole = 0 if pillow() is None else self._decode(self.train, pictures)
        if self.evaluation:
            self._decode(self.evaluation, self._shown(self.table.rows(self.evaluation).rows))
        broken = [p for p in pictures if p.problem]
        if len(broken) == len(pictures):
            raise ToolFailure(
                "rejected",
                f"column {self.mapping.columns['image']!r}: none of the {len(pictures)} images looked at is a readable image "
                f"({broken[0].name[:100]} {broken[0].problem})" + _remedy(broken[0].problem),
            )
        if broken:
            shown = "; ".join(f"{p.name[:80]} {p.problem}" for p in broken[:3])
            self.warnings.append(f"{len(broken)} of {len(pictures)} images looked at are damaged: {shown}")
        sizes = [p.size for p in pictures if p.size[0] and p.size[1]]
        return ImageFacts(
            images=len(pictures),
            decoded=whole,
            broken=len(broken),
            examples=[f"{p.name[:80]} {p.problem}" for p in broken[:3]],
            width=_range([w for w, _ in sizes]),
            height=_range([h for _, h in sizes]),
            sizes=len(set(sizes)),
        )

    def _shown(self, rows: list[dict[str, Any]]) -> list[Picture]:
        """The images of the rows; a row may have several, in one column or in more."""
        columns = [self.mapping.columns[role] for role in IMAGE_COLUMNS if role in self.mapping.columns]
        return [picture for row in rows for column in columns for picture in _pictures(dig(row, column))]

    def _decode(self, split: str, pictures: list[Picture]) -> int:
        """Decode a part of the pictures, for damage and for their hashes; those from an URL were not asked for."""
        done, hashes, films = 0, [], 0
        limit = N_REMOTE if any(p.remote for p in pictures) else N_DECODED
        for picture in _spread(pictures, limit):
            if picture.problem or time.monotonic() > self._deadline:
                continue
            data = picture.data()
            if data is None:
                continue
            try:
                opened = decoded(data)
                size, films = opened.size, films + getattr(opened, "is_animated", False)
            except ValueError as error:
                picture.problem = str(error)
                continue
            picture.size = picture.size if picture.shrunk else size
            done += 1
            if (found := duplicates.difference_hash(data)) is not None:
                hashes.append(found)
        self._hashes[split] = hashes
        if films:
            self.warnings.append(
                f"{films} of {done} images of split {split!r} that were decoded have several frames or pages: the first is used"
            )
        return done

    # --- boxes, masks, depth

    def _about_boxes(self, boxes: BoxFacts) -> None:
        if boxes.degenerate:
            self.warnings.append(
                f"{boxes.degenerate} boxes have no area or are not four finite numbers: prepare drops them"
            )
        if boxes.mismatched:
            self.warnings.append(
                f"{boxes.mismatched} of {boxes.rows} rows have another number of categories than of boxes"
            )
        if boxes.outside > boxes.boxes * 0.01:
            self.warnings.append(f"{boxes.outside} of {boxes.boxes} boxes reach past their image")

    def _masks(self, rows: list[dict[str, Any]], names: list[str]) -> MaskFacts | None:
        column, image = self.mapping.columns["mask"], self.mapping.columns["image"]
        pairs: list[tuple[Picture | None, Picture]] = []
        if self.table.exact:
            pairs = [(None, picture) for picture in self.table.exact(self.train, column)[:N_MASKS]]
        for row in _spread(rows, N_MASKS) if not self.table.exact else []:
            if isinstance(mask := dig(row, column), Picture):
                pairs.append((dig(row, image) if isinstance(dig(row, image), Picture) else None, mask))
        if not pairs and rows:
            self.warnings.append("no mask was looked into: their values are not known, and prepare must check them")
        named = sorted(self.table.names)
        names = names or [self.table.names[key] for key in named]
        codes = self.mask_codes
        if (
            codes is None and named and named != list(range(len(named)))
        ):  # a file beside the data says which value is what
            codes = named
        coded = (
            "segments"
            if self.mapping.form == "segments"
            else "instances"
            if self.task == "instance-segmentation"
            else None
        )
        return judge_masks(
            pairs,
            names,
            coded=coded,
            column=column,
            warnings=self.warnings,
            codes=codes,
            prescribed=self.table.format == "voc",
        )

    def _depth(self, rows: list[dict[str, Any]]) -> DepthFacts | None:
        column = self.mapping.columns["depth_map"]
        at = at_path(self.table.features, column)
        if self.table.exact and at.kind == "image":
            cells: list[Any] = list(self.table.exact(self.train, column)[:N_MASKS])
        else:
            cells = [dig(row, column) for row in _spread(rows, N_MASKS)]
        found = judge_depth([cell for cell in cells if cell is not None], column, self.warnings)
        if found and found.scale is None:
            self.warnings.append(
                f"depth is not known to be in meters ({found.evidence}): ask the user before metrics in meters are used"
            )
        return found

    # --- texts

    def _about_texts(self, texts: TextFacts | None) -> None:
        if texts and texts.empty:
            self.warnings.append(f"{texts.empty} of {texts.rows} rows read have an empty text")
        if texts and texts.without_answer:
            self.warnings.append(
                f"{texts.without_answer} of {texts.rows} conversations do not end with the assistant's turn"
            )
        if texts and self.table.rows(self.train).rows and texts.characters[2] > 20 * max(texts.characters[0], 200):
            self.warnings.append(
                f"the longest row has {texts.characters[2]:,} characters, the median {texts.characters[0]:,}: memory follows the longest"
            )

    # --- duplicates

    def _duplicates(self) -> DuplicateFacts | None:
        keyed = {split: self._keys(split) for split in (self.train, self.evaluation) if split}
        hashes = (self._hashes.get(self.train, []), self._hashes.get(self.evaluation or "", []))
        train, evaluation = keyed[self.train], keyed.get(self.evaluation, [])
        if not train and not hashes[0]:
            return None
        found = duplicates.compare(train, evaluation, hashes if hashes[0] else None)
        if found.exact:
            label = f", {found.conflicting} with another label" if found.conflicting else ""
            self.warnings.append(
                f"{found.exact} of {found.train_rows} training rows compared repeat another one{label}"
            )
        if found.exact_overlap:
            self.warnings.append(
                f"{found.exact_overlap} of {found.eval_rows} evaluation rows compared are in the training split too: "
                "the metric would be measured on what was trained on"
            )
        elif found.near_overlap:
            self.warnings.append(
                f"{found.near_overlap} of {len(hashes[1])} evaluation images compared look like a training image"
            )
        return found

    def _keys(self, split: str) -> list[tuple[str, Any]]:
        """For pictures and texts that are at hand. What is compared is what the model sees: labels are not part of it."""
        columns = self.mapping.columns
        inputs = [columns[role] for role in columns if role in _INPUTS] or list(columns.values())
        label = columns.get("label")
        kind = self.table.features.get(label) if label else None
        needed = [*inputs, label] if label else inputs
        rows = self.table.every(split, needed) if self.table.every else iter(self.table.rows(split).rows)
        found, deadline = [], time.monotonic() + COMPARE_S
        for row in islice(rows, MAX_COMPARED):
            if time.monotonic() > deadline:
                break
            key = duplicates.row_key(row, inputs, dig)
            if key is not None:
                found.append((key, class_name(row.get(label), kind) if kind else None))
        return found


_INPUTS = (*IMAGE_COLUMNS, "messages", "question", "prompt", "instruction", "input", "text")


def describe(found: Findings, form: str, reshape: str | None) -> list[str]:
    """The findings in a few lines, for the tool's answer."""
    lines = [f"layout {form}" + (f", reshaped by {reshape}" if reshape else ", read as it is")]
    if one := found.images:
        size = f"{_span(one.width)} x {_span(one.height)} px" if one.width else "sizes not known"
        lines.append(f"images: {one.images} looked at, {one.decoded} decoded, {one.broken} broken; {size}")
    if one := found.boxes:
        scale = "normalized" if one.normalized else "pixels"
        crowds = f", {one.crowds} crowds" if one.crowds else ""
        lines.append(
            f"boxes: {one.format}, {scale}; {one.boxes} in {one.rows} rows ({one.without} without, most {one.most}{crowds}); {one.evidence}"
        )
    if one := found.masks:
        ignore = f", ignore_index {one.ignore_index}" if one.ignore_index is not None else ""
        lines.append(f"masks: {one.coding}{ignore}, {one.n_values} values in {one.masks} masks; {one.evidence}")
    if one := found.depth:
        lines.append(
            f"depth: {one.unit}, {one.minimum:g} to {one.maximum:g}, {one.missing:.1%} missing; {one.evidence}"
        )
    if one := found.texts:
        turns = f", up to {one.turns} turns" if one.turns else ""
        median, high, longest = one.characters
        lines.append(
            f"texts: {one.rows} rows, characters {median}/{high}/{longest} (median/95 %/longest){turns}, {one.empty} empty"
        )
    if one := found.duplicates:
        near = "" if one.near is None else f"; alike {one.near}, {one.near_overlap} across"
        lines.append(
            f"duplicates among {one.train_rows} + {one.eval_rows} rows: {one.exact} exact, {one.exact_overlap} across splits{near}"
        )
    return lines


def _remedy(problem: str) -> str:
    """What to do where no image of a column is readable, after the reason."""
    if "does not exist" in problem:
        return ": paths are relative to the file that names them"
    if "no bytes" in problem:
        return ": write the table with the images in it, or as .jsonl or .csv beside them, with paths relative to it"
    return ""


def _pictures(value: Any) -> list[Picture]:
    if isinstance(value, Picture):
        return [value]
    return [item for item in value if isinstance(item, Picture)] if isinstance(value, list) else []


def _spread(rows: list[Any], number: int) -> list[Any]:
    return rows[:: max(1, len(rows) // number)][:number]


def _range(values: list[int]) -> list[int]:
    ordered = sorted(values)
    return [ordered[0], ordered[len(ordered) // 2], ordered[-1]] if ordered else []


def _span(three: list[int]) -> str:
    return str(three[0]) if three[0] == three[2] else f"{three[0]}-{three[2]}"
