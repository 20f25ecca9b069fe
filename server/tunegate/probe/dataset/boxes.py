"""Boxes: in which format their four numbers are, decided from the values, and what is wrong with them.

    format     numbers                                    what breaks it
    ---------  -----------------------------------------  ---------------------------------------------
    xyxy       left, top, right, bottom                   right <= left, bottom <= top, past the image
    xywh       left, top, width, height                   width or height <= 0, left + width past the image
    cxcywh     center x, center y, width, height          half a width left of the center is outside the image

Each format is tried on every box of the sample; the one that almost no box breaks, while others are broken, is it.
Values of which none exceeds 1 are shares of the image (normalized), where any exceeds it they are pixels.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.columns import dig
from tunegate.readers.numbers import four

BOX_FORMATS = ("xywh", "xyxy", "cxcywh")
MAX_BROKEN = 0.02  # boxes that may break the right format: annotators do reach past the edge
MIN_LEAD = 0.02  # how much more a wrong format must be broken
BOX_SLACK = 0.01  # of the image's side: rounding, and boxes one pixel past the edge
MIN_BOXES = 10  # fewer do not decide between formats that all fit


class BoxFacts(BaseModel):
    """`format` says what the four numbers are; `evidence` the boxes of the sample that break each format."""

    model_config = ConfigDict(extra="forbid")
    format: str
    normalized: bool = Field(description="shares of the image's sides, not pixels")
    evidence: str
    rows: int = Field(description="rows looked at")
    boxes: int
    without: int = Field(description="rows without a box")
    most: int = Field(description="boxes in one row")
    degenerate: int = Field(description="without area, or not four finite numbers")
    outside: int = Field(description="reaching past the image by more than 1 %")
    crowds: int = Field(description="with iscrowd = 1")
    mismatched: int = Field(description="rows with another number of categories than boxes")
    small: float = Field(description="share of boxes below 32 x 32 pixels, as COCO counts small ones")


Box = tuple[float, float, float, float]
Sized = tuple[Box, float | None, float | None]


def judge_boxes(rows: list[dict[str, Any]], columns: dict[str, str], asked: str | None, known: str | None) -> BoxFacts:
    """Facts of the boxes in the rows. `known`: what the file format (COCO, VOC) prescribes; `asked`: the user's word.

    Raises rejected where there are no usable boxes or rows do not pair them with categories, ambiguous where the
    values fit several formats or none.
    """
    found, counts = _collect(rows, columns)
    if not found:
        raise ToolFailure(
            "rejected",
            f"none of the {len(rows)} rows read has a box in {columns['bbox']!r}: choose another split, column_map or dataset",
        )
    if counts["mismatched"] > len(rows) / 2:
        raise ToolFailure(
            "rejected",
            f"{counts['mismatched']} of {len(rows)} rows have another number of {columns['category']!r} than of "
            f"{columns['bbox']!r}: they do not belong together; pass another column_map",
        )
    normalized = max(max(map(abs, box)) for box, _, _ in found) <= 1.0 + BOX_SLACK
    broken = {name: sum(_breaks(name, item, normalized) for item in found) for name in BOX_FORMATS}
    chosen, why = _decide(broken, len(found), normalized, any(w for _, w, _ in found), asked, known)
    outside = sum(_outside(chosen, item, normalized) for item in found)
    small = [area for item in found if (area := _area(chosen, item, normalized)) is not None]
    return BoxFacts(
        format=chosen,
        normalized=normalized,
        evidence=why,
        rows=len(rows),
        boxes=len(found),
        outside=outside,
        small=round(sum(area < 32 * 32 for area in small) / len(small), 3) if small else 0.0,
        **counts,
    )


def _collect(rows: list[dict[str, Any]], columns: dict[str, str]) -> tuple[list[Sized], dict[str, int]]:
    found: list[Sized] = []
    counts = dict.fromkeys(("without", "most", "degenerate", "crowds", "mismatched"), 0)
    for row in rows:
        boxes = dig(row, columns["bbox"]) or []
        boxes = boxes if isinstance(boxes, list) else []
        categories = dig(row, columns["category"]) or []
        crowds = dig(row, columns["iscrowd"]) if "iscrowd" in columns else None
        width, height = _image_size(row, columns["image"])
        counts["without"] += not boxes
        counts["most"] = max(counts["most"], len(boxes))
        counts["mismatched"] += len(boxes) != (len(categories) if isinstance(categories, list) else 0)
        counts["crowds"] += sum(map(bool, crowds)) if isinstance(crowds, list) else 0
        for box in boxes:
            if (numbers := four(box)) is None or not any(numbers):
                counts["degenerate"] += 1
            else:
                found.append((numbers, width, height))
    return found, counts


def _image_size(row: dict[str, Any], column: str) -> tuple[float | None, float | None]:
    width, height = getattr(dig(row, column), "size", (None, None))
    if width and height:
        return width, height
    width, height = row.get("width"), row.get("height")
    return (width, height) if type(width) is int and type(height) is int and width and height else (None, None)


def corners(name: str, box: Box) -> Box:
    """(left, top, right, bottom)"""
    a, b, c, d = box
    return {"xyxy": box, "xywh": (a, b, a + c, b + d), "cxcywh": (a - c / 2, b - d / 2, a + c / 2, b + d / 2)}[name]


def _breaks(name: str, item: Sized, normalized: bool) -> bool:
    left, top, right, bottom = corners(name, item[0])
    return right <= left or bottom <= top or _outside(name, item, normalized)


def _outside(name: str, item: Sized, normalized: bool) -> bool:
    """Past the edge, with a slack of one pixel: the last pixel's index and the width are both in use."""
    left, top, right, bottom = corners(name, item[0])
    box, width, height = item
    if normalized:
        width = height = 1.0
    reach = max(box)
    slack_x, slack_y = ((side or reach) * BOX_SLACK + (0 if normalized else 1) for side in (width, height))
    return (
        left < -slack_x
        or top < -slack_y
        or (width is not None and right > width + slack_x)
        or (height is not None and bottom > height + slack_y)
    )


def _area(name: str, item: Sized, normalized: bool) -> float | None:
    left, top, right, bottom = corners(name, item[0])
    _, width, height = item
    if normalized and not (width and height):
        return None
    return (right - left) * (bottom - top) * (width * height if normalized else 1)


def _decide(
    broken: dict[str, int], boxes: int, normalized: bool, sized: bool, asked: str | None, known: str | None
) -> tuple[str, str]:
    """(format, evidence)"""
    scale = "shares of the image (none exceeds 1)" if normalized else "pixels"
    shown = ", ".join(f"{name} by {count}" for name, count in broken.items())
    evidence = f"{boxes} boxes in {scale}, broken as {shown}" + ("" if sized else "; image sizes are not known")
    share = {name: count / boxes for name, count in broken.items()}
    best = min(share, key=share.get)
    if asked or known:
        chosen = asked or known
        if share[chosen] > 0.2 and share[best] <= MAX_BROKEN:
            raise ToolFailure(
                "ambiguous",
                f"the boxes should be {chosen} ({'box_format' if asked else 'the file format says so'}), but {evidence}: "
                f"look at some, and pass box_format={best!r} if that is what they are",
            )
        return chosen, f"{'the user says so' if asked else 'the file format prescribes it'}; {evidence}"
    fitting = [name for name in BOX_FORMATS if share[name] <= max(MAX_BROKEN, share[best])]
    if share[best] > 0.2:
        raise ToolFailure(
            "ambiguous",
            f"the boxes fit no known format: {evidence}. Perhaps they belong to images of another size, or are on a scale of "
            "0 to 1000: ask the user; box_format says what they are if most are right",
        )
    if (
        len(fitting) == 1
        and boxes >= MIN_BOXES
        and min(v for n, v in share.items() if n != best) >= share[best] + MIN_LEAD
    ):
        return best, evidence
    if len(fitting) == 1 and boxes < MIN_BOXES and sized:
        return best, evidence
    options = fitting if len(fitting) > 1 else BOX_FORMATS
    raise ToolFailure(
        "ambiguous",
        f"the boxes could be {' or '.join(options)}: {evidence}. Ask the user (the dataset's card says it), then pass "
        f"e.g. box_format={options[0]!r}",
    )
