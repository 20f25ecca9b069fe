"""What the values of masks stand for: class ids, black and white, or codes that only the user can explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunegate.errors import ToolFailure

IGNORE = 255  # what is usual for pixels without a class
MAX_CODES = 255  # masks are kept as bytes
MAX_SHOWN = 12


@dataclass(frozen=True)
class Coding:
    """codes: the stored value of each class, in order of their ids; empty: the values are the ids."""

    name: str
    ignore: int | None
    reduce: bool
    why: str
    codes: tuple[int, ...] = ()


def coding_of(
    counts: dict[int, int], names: int, asked: Sequence[int] | None, column: str, *, prescribed: bool = False
) -> Coding:
    """How the values (value -> pixels) are to be read. names: how many classes have one. asked: the user's mask_codes.

    prescribed: the file format (VOC) says that values are ids, and 255 no class, whichever of them occur.

    Raises ToolFailure: ambiguous where values are neither ids nor black and white; invalid_input for an `asked` that
    does not fit.
    """
    values = sorted(value for value in counts if value >= 0)  # below 0: no class
    if asked is not None:
        return _agreed(counts, values, names, asked, column)
    shown = f"values {values[0]} to {values[-1]}, {len(values)} different"
    if values == [0, IGNORE] and names in (0, 2) and not prescribed:
        return Coding(
            "binary 0/255", None, False, "only 0 and 255 occur: 255 is the one class beside the background, id 1"
        )
    ids = [value for value in values if value != IGNORE]
    top = max(ids, default=0)
    ignored = IGNORE in values and (names <= IGNORE if names else top < IGNORE - 1)
    one_class = prescribed and values == [0, IGNORE]  # black and white in VOC's folders: 255 is rather a class
    if not names and (one_class or not prescribed and not _are_ids(ids, ignored)):
        raise _unclear(counts, values, column)
    reduce = bool(names) and top == names
    why = shown + (", 255 far above them: pixels without a class" if ignored else "")
    why += f"; {names} names and ids up to {top}: 0 is no class" if reduce else ""
    return Coding("class ids", IGNORE if ignored else None, reduce, why)


def _are_ids(ids: list[int], ignored: bool) -> bool:
    """Whether values count classes: beside 255 all from 0 or 1 on, else more than half of those up to the largest."""
    if ignored:
        return len(ids) > 1 and ids[0] in (0, 1) and ids[-1] - ids[0] == len(ids) - 1
    return ids[0] in (0, 1) and 2 * len(ids) > ids[-1] + 1


def _agreed(counts: dict[int, int], values: list[int], names: int, asked: Sequence[int], column: str) -> Coding:
    codes, others = tuple(asked), [value for value in values if value not in asked]
    wrong = (
        "each value is listed once, at least two and at most 255 of them"
        if len(set(codes)) != len(codes) or not 2 <= len(codes) <= MAX_CODES
        else f"{len(codes)} codes for {names} class names"
        if names and len(codes) != names
        else f"one value at most may be left out, for pixels without a class, and the masks hold {_listed(others)} too"
        if len(others) > 1
        else None
    )
    if wrong:
        raise ToolFailure(
            "invalid_input", f"mask_codes = {list(codes)[:20]}: {wrong}; column {column!r}: {histogram(counts)}"
        )
    why = f"as the user says, {', '.join(f'{code} is class {i}' for i, code in enumerate(codes[:MAX_SHOWN]))}"
    return Coding("codes", others[0] if others else None, False, why, codes)


def _unclear(counts: dict[int, int], values: list[int], column: str) -> ToolFailure:
    shown = f"{', '.join(map(str, values[:MAX_SHOWN]))}{', ...' if len(values) > MAX_SHOWN else ''}"
    codes = [value for value in values if value != IGNORE]
    if len(values) > MAX_CODES:
        remedy = "ask the user what they stand for, and save the masks with 0, 1, 2, ... (255: no class)"
    else:
        proposed = f"{codes[:MAX_SHOWN]}" if len(codes) <= MAX_SHOWN else f"[{', '.join(map(str, codes[:3]))}, ...]"
        remedy = (
            "ask the user what each stands for, then pass mask_codes with the values in order of their classes, without the "
            f"one for pixels without a class: {proposed if len(codes) > 1 else values}, if 255 is that"
            if IGNORE in values
            else f"ask the user what each stands for, then pass mask_codes={proposed}: the values in order of their classes"
        )
    return ToolFailure(
        "ambiguous",
        f"column {column!r}: the masks hold only the values {shown}, which do not count classes from 0 ({histogram(counts)}): "
        + remedy,
    )


def histogram(counts: dict[int, int]) -> str:
    """The shares of the most frequent values, by value."""
    pixels = sum(counts.values()) or 1
    most = sorted(sorted(counts, key=counts.get, reverse=True)[:MAX_SHOWN])
    rest = f", {len(counts) - len(most)} more values" if len(counts) > len(most) else ""
    return "pixels: " + ", ".join(f"{value}: {counts[value] / pixels:.1%}" for value in most) + rest


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values[:MAX_SHOWN])) + (", ..." if len(values) > MAX_SHOWN else "")
