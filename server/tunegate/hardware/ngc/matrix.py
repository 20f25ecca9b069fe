"""What NVIDIA's documentation says of its PyTorch images: the frameworks support matrix, else a release's own notes.

Both are pages for people, so they are read loosely and believed little: only what looks like a version is taken, and an
image's own configuration outranks it. Releases are the columns of the matrix today; a page turned over is read too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tunegate.hardware.ngc.rules import Facts, version

if TYPE_CHECKING:
    from bs4 import Tag

MATRIX = "https://docs.nvidia.com/deeplearning/frameworks/support-matrix/index.html"
MAX_TABLES, MAX_ROWS, MAX_COLUMNS = 60, 200, 80
MAX_CELL = 2000  # characters: a driver cell is a paragraph
MAX_PAGE = 1_500_000  # characters: the newest releases come first
_RELEASE = re.compile(r"(?:(?:container )?release |container image )?(\d\d\.(?:0[1-9]|1[0-2]))(?:-py3)?", re.I)
_HEADER = re.compile(r"container|release|image|version|^$", re.I)  # what a row of releases is called
_A_CUDA = r"(1[0-9]\.\d(?:\.\d{1,4})*)"
_A_TORCH = r"(\d\.\d{1,2}\.\d{1,2}(?:(?:a|b|rc)\d{1,2})?(?:\+[0-9A-Za-z]{1,40}(?:\.[0-9A-Za-z]{1,20}){0,3})?)"
_CUDA, _TORCH = re.compile(rf"\b{_A_CUDA}\b"), re.compile(rf"\b{_A_TORCH}")
# "requires NVIDIA Driver release 580 or later", "580.95 or newer", "driver version 580+": the first is the general one, those
# for data-center GPUs follow it
_DRIVER = re.compile(r"\b([3-9]\d\d)(?:\.\d+)*(?:\.xx)?\s*(?:\+|or (?:later|newer|higher|above))", re.I)
_MARK = "[®™]?"  # of a trademark, which NVIDIA puts behind some names
_ATTRIBUTES = (  # which rows count: label -> field, value
    ("driver", re.compile(r"\bdriver", re.I), _DRIVER),
    ("cuda", re.compile(rf"^(?:nvidia{_MARK} )?cuda{_MARK}(?: toolkit| version)?{_MARK}$", re.I), _CUDA),
    ("torch", re.compile(rf"^(?:nvidia{_MARK} )?pytorch{_MARK}(?: version)?$", re.I), _TORCH),
)
Grid = list[list[str]]


def notes_url(release: str) -> str:
    return f"https://docs.nvidia.com/deeplearning/frameworks/pytorch-release-notes/rel-{release.replace('.', '-')}.html"


def parse(html: str) -> dict[str, Facts]:
    """The support matrix -> {release: what it says}. {} when there is nothing to read in it. Raises nothing."""
    found: dict[str, dict[str, str]] = {}
    for table in _soup(html, "table").find_all("table", limit=MAX_TABLES):
        grid = _grid(table)
        turned = [list(column) for column in zip(*grid, strict=True)]
        for release, values in max((_read(grid), _read(turned)), key=lambda read: sum(map(len, read.values()))).items():
            found[release] = {**values, **found.get(release, {})}
    return {release: _facts(release, values) for release, values in found.items() if values}


def parse_notes(html: str, release: str) -> Facts | None:
    """A release's page -> what it says; None when it speaks of another release or of nothing."""
    text = _text(_soup(html), limit=400_000)
    number = re.escape(release)
    based = re.search(rf"Release {number} is based on (?:NVIDIA )?CUDA {_A_CUDA}(.{{0,200}})", text)
    torch = re.search(rf"image version {number} is based on (?:PyTorch )?{_A_TORCH}", text)
    if not based and not torch:
        return None
    driver = _DRIVER.search(based[2]) if based else None
    values = {
        "cuda": based[1] if based else "",
        "torch": torch[1] if torch else "",
        "driver": driver[1] if driver else "",
    }
    return _facts(release, {name: value for name, value in values.items() if value})


def _soup(html: str, only: str | None = None):
    from bs4 import BeautifulSoup, SoupStrainer

    return BeautifulSoup(html[:MAX_PAGE], "html.parser", parse_only=SoupStrainer(only) if only else None)


def _facts(release: str, values: dict[str, str]) -> Facts:
    torch = values.get("torch")
    driver = values.get("driver")
    return Facts(
        release,
        torch if torch and version(torch) else None,
        values.get("cuda"),
        int(driver) if driver else None,
    )


def _read(grid: Grid) -> dict[str, dict[str, str]]:
    """A grid whose columns are releases -> {release: {field: value}}. The row of releases may come again further down."""
    found: dict[str, dict[str, str]] = {}
    releases: dict[int, str] = {}
    for row in grid:
        named = {at: match[1] for at, cell in enumerate(row) if at and (match := _RELEASE.fullmatch(cell))}
        if named and _HEADER.search(row[0]):
            releases = named
            for release in named.values():
                found.setdefault(release, {})
            continue
        for field, label, value in _ATTRIBUTES:
            if not label.search(row[0]):
                continue
            for at, release in releases.items():
                if match := value.search(row[at]):
                    found[release].setdefault(field, match[1])
            break
    return found


def _grid(table: Tag) -> Grid:
    """The cells of a table as a rectangle of texts, spans filled in. Bounded, whatever the spans say."""
    rows: list[dict[int, str]] = []
    below: dict[int, tuple[int, str]] = {}  # column -> (rows still to fill, text), from a rowspan above
    for tr in table.find_all("tr", limit=MAX_ROWS):
        if tr.parent is not table and tr.parent.parent is not table:  # of a table within a cell
            continue
        row = {at: text for at, (_, text) in below.items()}
        below = {at: (left - 1, text) for at, (left, text) in below.items() if left > 1}
        at = 0
        for cell in tr.find_all(("td", "th"), recursive=False, limit=MAX_COLUMNS):
            while at in row:
                at += 1
            wide, high, text = _span(cell, "colspan"), _span(cell, "rowspan"), _text(cell)
            for column in range(at, min(at + wide, MAX_COLUMNS)):
                row[column] = text
                if high > 1:
                    below[column] = (high - 1, text)
        rows.append(row)
    width = max((max(row, default=-1) + 1 for row in rows), default=0)
    return [[row.get(at, "") for at in range(width)] for row in rows] if width else []


def _span(cell: Tag, name: str) -> int:
    text = str(cell.get(name, "1"))
    return max(1, min(int(text), MAX_ROWS)) if re.fullmatch(r"\d{1,4}", text) else 1


def _text(tag: Tag, limit: int = MAX_CELL) -> str:
    """At most `limit` characters, and no more work than that: in broken HTML each cell holds all that follow it."""
    found: list[str] = []
    for part in tag.strings:
        found += part[:limit].split()
        limit -= len(part)
        if limit <= 0:
            break
    return " ".join(found)
