"""What an example is: a dataset on the disk and the truth about it, for a seed, a layout and a choice of oddities."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = (
    "cat", "Cat", "None", "NA", "0101", "-1", "no", "yes", "nan", "null", "test tubes", "training shoe", "Käse", "two words", "a.b", "1e3",
    "007", "~", "x" * 60, "true", "n.a.", "#5", "o'clock", "a,b",
)  # fmt: skip
SPLIT_WORDS = {
    "train": ("train", "Train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


@dataclass
class Row:
    """One row of the truth. problem: what a reason for leaving it out must contain, None where it has to arrive.

    key: the number that its picture shows. value: what belongs to it (label, objects, turns; see judge.py). gone: objects
    that have to be left out, reason -> how many. either: it may arrive or be left out. stored: the name of its file.
    """

    key: int
    split: str = "train"
    value: Any = None
    problem: str | None = None
    gone: dict[str, int] = field(default_factory=dict)
    either: bool = False


@dataclass
class Example:
    """truth: a folder with the pictures as they have to be seen. refusals: codes by which the probe may refuse it."""

    seed: int
    layout: str
    oddities: tuple[str, ...]
    folder: Path
    rng: random.Random = field(repr=False, default_factory=random.Random)
    path: Path | None = None
    rows: list[Row] = field(default_factory=list)
    refusals: set[str] = field(default_factory=set)
    said: list[int] = field(default_factory=list)  # counts that a warning has to name
    request: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    names: dict[int, str] | None = None  # value of a mask -> class, where the dataset names them

    def odd(self, *names: str) -> bool:
        return any(name in self.oddities for name in names)

    @property
    def data(self) -> Path:
        found = self.folder / "data"
        found.mkdir(parents=True, exist_ok=True)
        return found

    @property
    def truth(self) -> Path:
        found = self.folder / "truth"
        found.mkdir(parents=True, exist_ok=True)
        return found

    @property
    def task(self) -> str:
        return LAYOUTS[self.layout].task

    @property
    def method(self) -> str | None:
        return LAYOUTS[self.layout].method


@dataclass(frozen=True)
class Layout:
    task: str
    make: Callable[[Example], None]
    oddities: tuple[str, ...]
    method: str | None = None


LAYOUTS: dict[str, Layout] = {}
IMPLIED = {
    "drawn as stored": "turned",
    "calls as text": "tool calls",
    "prompt too": "as conversations",
    "roboflow": "splits",
    "same names": "splits",
}


def layout(name: str, task: str, *oddities: str, method: str | None = None) -> Callable:
    """Registers a function that writes an example of a layout, and the oddities that it knows."""

    def register(make: Callable[[Example], None]) -> Callable[[Example], None]:
        LAYOUTS[name] = Layout(task, make, oddities, method)
        return make

    return register


def plan(seed: int, only: str | None = None) -> tuple[str, tuple[str, ...]]:
    """(layout, oddities) of a seed: up to five at once; one example in twelve has none. Pictures come three times as often."""
    rng = random.Random(seed)
    names = sorted(name for name in LAYOUTS if only is None or name.startswith(only))
    names += 2 * [name for name in names if LAYOUTS[name].task != "text-generation"]
    name = names[seed % len(names)]
    known = LAYOUTS[name].oddities
    drawn = rng.sample(known, min(len(known), rng.choice((0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5))))
    return name, tuple(sorted({*drawn, *(IMPLIED[one] for one in drawn if IMPLIED.get(one) in known)}))


def build(seed: int, folder: Path, name: str, oddities: tuple[str, ...]) -> Example:
    """Writes the example below folder."""
    example = Example(seed, name, oddities, folder, random.Random(seed))
    LAYOUTS[name].make(example)
    return example


def one_of(oddities: tuple[str, ...], exclusive: tuple[str, ...]) -> tuple[str, ...]:
    """The oddities with only the first of those that exclude each other."""
    without = [name for name in exclusive if name in oddities][1:]
    return tuple(name for name in oddities if name not in without)


def split_of_rows(example: Example, count: int) -> list[str]:
    """A split for each of so many rows: all train, or some validation, some test."""
    if not example.odd("splits", "splits and test"):
        return ["train"] * count
    last = ["test"] * (count // 5) if example.odd("splits and test") else []
    return ["train"] * (count - count // 4 - len(last)) + ["validation"] * (count // 4) + last


def leftovers(example: Example, folder: Path) -> None:
    """What other programs leave: nothing of it may be seen."""
    if not example.odd("leftovers"):
        return
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf")
    for name in ("__MACOSX", ".ipynb_checkpoints"):
        (folder / name).mkdir(exist_ok=True)
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."):
        if example.rng.random() < 0.3:
            (folder / "__MACOSX" / f"._{path.name}").write_bytes(b"\0\5\26\7")
            (path.parent / f"._{path.name}").write_bytes(b"\0\5\26\7")
            copy = folder / ".ipynb_checkpoints" / f"{path.stem}-checkpoint{path.suffix}"
            copy.write_bytes(path.read_bytes())
