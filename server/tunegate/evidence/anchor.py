"""Of each run, outside of it: where it lies, how many lines its ledger has, and the digest of the last one.

    <state>/runs/<key of the path>.json   sealed: {id, path, former, count, head}; over: a new ledger is about to begin

So a run's folder that was rolled back, or whose ledger was cut or deleted, is known for what it is; and a run that was moved
is known for the same one. `id` is the digest of the ledger's first line.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tunegate import nofollow
from tunegate.evidence import seal
from tunegate.paths import state_dir
from tunegate.rundir import Run


def read(run: Run) -> dict[str, Any] | None:
    """What is anchored of the run at this path; None where nothing is, or it is not sealed by us."""
    return _sealed(_file(run.path))


def write(run: Run, lines: list[bytes]) -> None:
    """Anchor the ledger as it is now: its lines, at least one. What was anchored of another place of the same run is removed."""
    known = read(run)
    moved = moved_from(run, lines)
    former = (
        [moved["path"], *moved["former"]] if moved else known["former"] if known and known["id"] == _id(lines) else []
    )
    made = {
        "id": _id(lines),
        "path": str(run.path),
        "former": former,
        "count": len(lines),
        "head": hashlib.sha256(lines[-1]).hexdigest(),
    }
    place = _file(run.path)
    if known and known["id"] != made["id"]:  # a run that was moved away may still come to light
        nofollow.rename(place, place.with_name(f"{known['id'][:16]}.json"))
    nofollow.write(place, seal.line_of(made), nofollow.PRIVATE_FILE, folder_mode=nofollow.PRIVATE_FOLDER)
    if moved:
        for path in (_file(Path(moved["path"])), place.with_name(f"{made['id'][:16]}.json")):
            if (found := _sealed(path)) and found["id"] == made["id"]:
                nofollow.unlink(path)


def forget(run: Run) -> None:
    """The next line begins a ledger anew. Until then the old one stays anchored: it may not be put back."""
    if known := read(run):
        made = {**known, "over": True}
        nofollow.write(_file(run.path), seal.line_of(made), nofollow.PRIVATE_FILE, folder_mode=nofollow.PRIVATE_FOLDER)


def problem(run: Run, lines: list[bytes]) -> str:
    """Why these are not the run's ledger: older, cut, or another one. "" where they are, or go on from it."""
    known = moved_from(run, lines) or read(run)
    if known is None or not lines and known.get("over"):
        return ""
    if not lines:
        return f"is gone: it had {known['count']} lines"
    if known["id"] != _id(lines):
        return "is that of another run, or of an earlier one in this folder"
    if len(lines) < known["count"] or hashlib.sha256(lines[known["count"] - 1]).hexdigest() != known["head"]:
        return f"is an older one: it had {known['count']} lines and has {len(lines)}"
    return ""


def paths(run: Run, lines: list[bytes]) -> list[str]:
    """Every path under which this run's records were sealed: its own, and those that it was moved from."""
    known = read(run)
    if lines and (moved := moved_from(run, lines)):
        return [str(run.path), moved["path"], *moved["former"]]
    return [str(run.path), *(known["former"] if known else [])]


def moved_from(run: Run, lines: list[bytes]) -> dict[str, Any] | None:
    """What is anchored of this very run at a path where it no longer lies. A copy is none: the run still lies there."""
    if not lines or (known := read(run)) and known["id"] == _id(lines):
        return None
    for path in sorted((state_dir() / "runs").glob("*.json")) if (state_dir() / "runs").is_dir() else ():
        found = _sealed(path)
        if found and found["id"] == _id(lines) and not _lies_at(Path(found["path"]), found["id"]):
            return found
    return None


def _lies_at(path: Path, run_id: str) -> bool:
    """Whether the run itself, and not a later one, lies there."""
    try:
        with (path / "meta/ledger.jsonl").open("rb") as file:
            return hashlib.sha256(file.readline().rstrip(b"\n")).hexdigest() == run_id
    except OSError:
        return False


def _file(path: Path) -> Path:
    return state_dir().resolve() / "runs" / f"{hashlib.sha256(str(path).encode()).hexdigest()[:16]}.json"


def _id(lines: list[bytes]) -> str:
    return hashlib.sha256(lines[0]).hexdigest()


def _sealed(path: Path) -> dict[str, Any] | None:
    try:
        return seal.record_of(path.read_bytes())
    except OSError:
        return None
