"""Masks and depth maps: what their pixel values are. Only a sample is decoded, with Pillow, never scaled or converted."""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tunegate.errors import ToolFailure
from tunegate.probe.dataset import npy
from tunegate.probe.dataset.mask_codes import Coding, coding_of
from tunegate.probe.dataset.pictures import Picture, decoded

MAX_VALUES = 4096  # different values that are distinguished in one mask
MAX_SHOWN = 40
SMEARED = 0.5  # share of a JPEG mask's possible gray values from which compression, not classes, made them
NEAR = 8  # grays this close to black or to white: where JPEG compressed a flat area
MAX_BETWEEN = 0.3  # share of gray pixels up to which a black and white mask has merely soft edges
MAX_FLAT = 0.1  # share of these that lie in an even area: edges have almost none, regions of a class mostly are
FEWEST_GRAYS = 3  # steps of a smoothed edge; with one or two, gray may as well be a class of its own
LARGEST_FILTERED = 2000  # pixels a side that are filtered: the middle of larger masks
NO_PILLOW = "masks and depth maps were not looked into: that needs Pillow, which tunegate depends on: install it again (`pip install pillow`)"


class MaskFacts(BaseModel):
    """Pixel values of the masks looked at, and what follows for training."""

    model_config = ConfigDict(extra="forbid")
    masks: int = Field(description="looked at")
    coding: Literal["class ids", "codes", "binary 0/255", "segment ids in RGB", "class in R, instance in G"]
    codes: list[int] = Field(
        default_factory=list, description="the values of the classes, in order of their ids; else []"
    )
    values: list[int] = Field(description="the first 40 that occur")
    n_values: int
    ignore_index: int | None = Field(description="the value of pixels without a class")
    reduce_labels: bool = Field(description="0 is no class and ids begin at 1, as in ADE20K")
    background: float = Field(description="share of pixels of value 0")
    wrong_size: int = Field(description="masks of another size than their image")
    evidence: str


class DepthFacts(BaseModel):
    model_config = ConfigDict(extra="forbid")
    maps: int = Field(description="looked at")
    stored: str = Field(description="16-bit integers, 8-bit integers, floats")
    minimum: float = Field(description="of the values that are not missing")
    maximum: float
    missing: float = Field(description="share of pixels that are 0, negative or not finite")
    unit: Literal["meters", "millimeters", "relative", "unknown"]
    scale: float | None = Field(
        description="meters for one unit of the stored values; null: not in meters, or not known"
    )
    evidence: str


class _Values(BaseModel):
    counts: dict[Any, int] = {}
    many: int = 0
    wrong_size: int = 0
    looked: int = 0
    jpegs: int = 0
    colored: int = 0
    between: int = 0  # pixels that are neither near black nor near white
    flat: int = 0  # of these, the ones whose neighbors all have their value
    problems: list[str] = []


def judge_masks(
    pairs: list[tuple[Picture | None, Picture]],
    names: list[str],
    *,
    coded: str | None,
    column: str,
    warnings: list[str],
    codes: list[int] | None = None,
    prescribed: bool = False,
) -> MaskFacts | None:
    """Facts of (image, mask) pairs. `coded`: what RGB masks hold, where they are no mistake: `segments` or `instances`.

    codes: what the user said of the values. prescribed: the file format says that they are ids.

    Raises rejected for masks that are colors, smeared by JPEG, constant, or out of
    the class names' range, and ambiguous for values that do not count classes.
    """
    found = _read(pairs)
    if not found.looked:
        _none_read("masks", column, found.problems, warnings)
        return None
    if found.problems:
        warnings.append(
            f"column {column!r}: {len(found.problems)} of {len(pairs)} masks cannot be read: {found.problems[0]}"
        )
    if found.wrong_size:
        warnings.append(f"{found.wrong_size} of {found.looked} masks have another size than their image")
    if coded == "segments":
        return _facts(found, "segment ids in RGB", None, False, "RGB values are R + 256 G + 65536 B")
    if coded == "instances" and found.colored and max(found.counts) < 65536:
        found.counts = _red(found.counts)
        why = (
            "R holds the class and G the number of the object, B is 0, as transformers' instance segmentation reads it"
        )
        return _facts(found, "class in R, instance in G", 255 if 255 in found.counts else None, False, why)
    if coded is None and codes is None and len(names) in (0, 2) and _soft_edged(found):
        why = "black and white with soft edges: above 127 is the one class beside the background, id 1"
        return _facts(found, "binary 0/255", None, False, why)
    _refuse(found, column)
    meant = coding_of(found.counts, len(names), codes, column, prescribed=prescribed)
    if names and not meant.codes:
        _refuse_past_names(found.counts, len(names), meant, column)
    return _facts(found, meant.name, meant.ignore, meant.reduce, meant.why, meant.codes)


def _refuse_past_names(counts: dict[int, int], names: int, meant: Coding, column: str) -> None:
    top = max((value for value in counts if value != meant.ignore), default=0)
    if meant.name == "class ids" and top >= names + meant.reduce:
        raise ToolFailure(
            "rejected",
            f"column {column!r}: a mask has the value {top}, and there are {names} class names (0 to {names - 1}): "
            "fix the names or the masks",
        )


def _facts(
    found: _Values, coding: str, ignore: int | None, reduce: bool, why: str, codes: tuple[int, ...] = ()
) -> MaskFacts:
    pixels = sum(found.counts.values()) or 1
    values = sorted(found.counts)
    return MaskFacts(
        masks=found.looked,
        coding=coding,
        codes=list(codes),
        values=values[:MAX_SHOWN],
        n_values=len(values),
        ignore_index=ignore,
        reduce_labels=reduce,
        background=round(found.counts.get(0, 0) / pixels, 4),
        wrong_size=found.wrong_size,
        evidence=why,
    )


def _read(pairs: list[tuple[Picture | None, Picture]]) -> _Values:
    found = _Values()
    counts: Counter[int] = Counter()
    for image, mask in pairs:
        try:
            opened = decoded(mask.data())
            colors = _colors(opened)
        except ValueError as error:
            found.problems.append(
                NO_PILLOW
                if "decoded here" in str(error) and not mask.problem
                else f"{mask.name[:80]} {mask.problem or error}"
            )
            continue
        found.looked += 1
        found.jpegs += opened.format == "JPEG"
        found.wrong_size += bool(image and image.size[0] and image.size != (mask.size if mask.shrunk else opened.size))
        if colors is None:
            found.many += 1
            continue
        if any(isinstance(value, tuple) for value in colors):
            found.colored += any(len(set(value)) > 1 for value in colors)
            colors = _ids(colors)
        counts.update(colors)
        if any(NEAR < value < 255 - NEAR for value in colors):
            between, flat = _grays(opened)
            found.between, found.flat = found.between + between, found.flat + flat
    found.counts = dict(counts)
    return found


def _grays(opened: Any) -> tuple[int, int]:
    """(pixels neither near black nor near white, how many of these lie in an even area) of one mask.

    Values that are no shades (a palette's indices, 16 bits) count as even areas: no edge was smoothed there.
    """
    from PIL import ImageChops, ImageFilter  # `opened` is here, so Pillow is

    if opened.mode not in ("L", "LA", "RGB", "RGBA"):
        return 1, 1
    left, top = (max(0, (side - LARGEST_FILTERED) // 2) for side in opened.size)
    band = opened.getchannel(0).crop((left, top, opened.width - left, opened.height - top))
    spread = ImageChops.difference(band.filter(ImageFilter.MaxFilter(3)), band.filter(ImageFilter.MinFilter(3)))
    gray = band.point([255 * (NEAR < value < 255 - NEAR) for value in range(256)])
    even = ImageChops.darker(gray, spread.point([255] + [0] * 255))
    return gray.histogram()[255], even.histogram()[255]


def _soft_edged(found: _Values) -> bool:
    """Whether the masks are black and white, and gray only at the edges, from smoothing or from JPEG."""
    values = sorted(found.counts)
    if found.colored or found.many or values[0] > NEAR or not 255 - NEAR <= values[-1] <= 255:
        return False
    grays = [value for value in values if NEAR < value < 255 - NEAR]
    if not grays:  # else 0 to 8 and 255 are a few classes and an ignore index
        return found.jpegs == found.looked and values != [0, 255]
    pixels = sum(found.counts[value] for value in grays)
    smoothed = len(grays) >= FEWEST_GRAYS and any(64 <= value < 192 for value in grays)
    rare = pixels <= MAX_BETWEEN * sum(found.counts.values()) and found.flat <= MAX_FLAT * found.between
    return rare and (smoothed or found.jpegs == found.looked)


def _colors(opened: Any) -> dict[Any, int] | None:
    """Value -> pixels; None for more than MAX_VALUES. A palette image's values are its indices: those are the classes."""
    if opened.mode in ("RGBA", "LA", "PA"):
        opened = opened.convert("RGB" if opened.mode == "RGBA" else "L") if opened.mode != "PA" else opened.convert("P")
    if opened.mode == "1" or opened.mode.startswith("I;16"):  # of 16 bits, Pillow counts no values
        opened = opened.convert("L" if opened.mode == "1" else "I")
    found = opened.getcolors(MAX_VALUES)
    if found is not None and opened.mode == "F":
        if fraction := next((value for _, value in found if value % 1), None):
            raise ValueError(f"holds fractions ({fraction:g}), which are no class ids")
        found = [(count, int(value)) for count, value in found]
    return None if found is None else {value: count for count, value in found}


def _ids(colors: dict[tuple, int]) -> dict[int, int]:
    """RGB -> one number: the gray value where the three are one, else R + 256 G + 65536 B."""
    gray = all(len(set(value)) == 1 for value in colors)
    found: Counter[int] = Counter()
    for value, count in colors.items():
        found[value[0] if gray else value[0] + 256 * value[1] + 65536 * value[2]] += count
    return found


def _red(counts: dict[int, int]) -> dict[int, int]:
    found: Counter[int] = Counter()
    for value, count in counts.items():
        found[value % 256] += count
    return dict(found)


def _refuse(found: _Values, column: str) -> None:
    values = sorted(found.counts)
    if found.colored:
        raise ToolFailure(
            "rejected",
            f"column {column!r}: {found.colored} of {found.looked} masks are colored (RGB), so their values are colors, "
            "not class ids: turn each color into its class id, and save them as single-channel PNG",
        )
    if found.many:
        raise ToolFailure(
            "rejected",
            f"column {column!r}: {found.many} of {found.looked} masks have more than {MAX_VALUES} different values: these are no masks",
        )
    if found.jpegs and len(values) > 256 * SMEARED:
        raise ToolFailure(
            "rejected",
            f"column {column!r}: the masks are JPEG files with {len(values)} gray values: the compression has changed the class "
            "ids at every edge; use the original PNG masks",
        )
    if len(values) < 2:
        raise ToolFailure(
            "rejected",
            f"column {column!r}: all pixels of the {found.looked} masks looked at are {values[0]}: there is nothing to tell apart",
        )


def _none_read(what: str, column: str, problems: list[str], warnings: list[str]) -> None:
    """Without Pillow that is a warning; files that are all damaged or missing are `rejected`."""
    if any("decoded here" in problem or problem == NO_PILLOW for problem in problems):
        warnings.append(NO_PILLOW)
    elif problems:
        raise ToolFailure(
            "rejected",
            f"column {column!r}: none of the {len(problems)} {what} looked at can be read ({problems[0]}): check their paths",
        )


# --- depth


def judge_depth(cells: list[Any], column: str, warnings: list[str]) -> DepthFacts | None:
    """Range and unit of depth maps: Pictures, or nested lists of numbers. Raises rejected for RGB or constant maps."""
    stored, low, high, missing, pixels, problems, looked = set(), [], [], 0, 0, [], 0
    for cell in cells:
        try:
            kind, smallest, largest, absent, size = _range(cell, column)
        except ValueError as error:
            problems.append(str(error))
            continue
        looked += 1
        stored.add(kind)
        missing, pixels = missing + absent, pixels + size
        if largest is not None:
            low.append(smallest)
            high.append(largest)
    if not looked:
        _none_read("depth maps", column, problems, warnings)
        return None
    if not high or min(low) == max(high):
        raise ToolFailure(
            "rejected",
            f"column {column!r}: the {looked} depth maps looked at hold one value or none: choose other data",
        )
    kind = " and ".join(sorted(stored))
    unit, scale, why = _unit(kind, max(high))
    return DepthFacts(
        maps=looked,
        stored=kind,
        minimum=round(min(low), 4),
        maximum=round(max(high), 4),
        missing=round(missing / max(pixels, 1), 4),
        unit=unit,
        scale=scale,
        evidence=why,
    )


def _range(cell: Any, column: str) -> tuple[str, float | None, float | None, int, int]:
    """(stored as, smallest, largest, missing pixels, pixels) of one map; the missing ones do not count for the range."""
    if isinstance(cell, list):
        values = [v for row in cell for v in (row if isinstance(row, list) else [row]) if type(v) in (int, float)]
        return _spanned(values, "floats")
    if not isinstance(cell, Picture):
        raise ValueError("is no depth map")
    if npy.is_npy(data := cell.data()):
        return _spanned(*npy.values(data))
    opened = decoded(data)
    if len(opened.getbands()) > 1:
        bands = opened.convert("RGB").split()
        if any(band.tobytes() != bands[0].tobytes() for band in bands[1:]):
            raise ToolFailure(
                "rejected",
                f"column {column!r}: the depth maps are colored pictures of depth, not depth: use the maps before coloring",
            )
        opened = bands[0]
    return _spanned(*_numbers(opened))


def _spanned(values: Any, kind: str) -> tuple[str, float | None, float | None, int, int]:
    good = [v for v in values if 0 < v < float("inf")]
    return kind, min(good, default=None), max(good, default=None), len(values) - len(good), len(values)


def _numbers(opened: Any) -> tuple[tuple, str]:
    """At most about 40,000 of the pixels, on a grid, as stored."""
    step = max(1, int((opened.width * opened.height / 40_000) ** 0.5))
    small = opened.resize((max(1, opened.width // step), max(1, opened.height // step)), 0)  # 0: nearest, no new values
    data, mode = small.tobytes(), small.mode
    if mode == "F":
        return struct.unpack(f"={len(data) // 4}f", data), "floats"
    if mode == "I":
        return struct.unpack(f"={len(data) // 4}i", data), "32-bit integers"
    if mode.startswith("I;16"):
        return struct.unpack(f"{'>' if mode.endswith('B') else '<'}{len(data) // 2}H", data), "16-bit integers"
    return tuple(small.convert("L").tobytes()), "8-bit integers"


def _unit(kind: str, largest: float) -> tuple[str, float | None, str]:
    """By how depth is usually stored; where two ways are usual, unknown."""
    seen = f"{kind} up to {largest:g}"
    if kind == "floats":
        if largest <= 1.0:
            return "relative", None, f"{seen}: shares, not meters"
        if largest <= 250:
            return "meters", 1.0, f"{seen}: the range of meters"
        return (
            ("millimeters", 0.001, f"{seen}: the range of millimeters")
            if largest <= 100_000
            else ("unknown", None, seen)
        )
    if kind == "8-bit integers":
        return "relative", None, f"{seen}: 8 bits hold a scaled depth; which meters they stand for is not stored"
    if 1_000 <= largest <= 15_000:
        return "millimeters", 0.001, f"{seen}: the range of a depth camera in millimeters"
    return "unknown", None, f"{seen}: millimeters, or meters x 256 as in KITTI; the dataset's card says which"
