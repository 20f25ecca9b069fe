"""meta/ledger.jsonl: what each call wrote, each line chained to the one before and sealed."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunegate import nofollow
from tunegate.errors import ToolFailure
from tunegate.evidence import anchor, seal
from tunegate.rundir import Run, canonical

START = "0" * 64  # `prev` of the first line


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def append(run: Run, tool: str, arguments: dict[str, Any], outcome: str, wrote: dict[str, str] | None = None) -> None:
    """Add one line. `outcome` is `ok` or an error code; `wrote` maps an evidence name to its digest."""
    lines = _lines(run)
    entry = {
        "seq": len(lines),
        "time": now(),
        "tool": tool,
        "arguments": seal.redacted(arguments),
        "outcome": outcome,
        "wrote": wrote or {},
        "prev": _digest(lines[-1]) if lines else START,
    }
    entry["seal"] = seal.sign({"run": str(run.path), **entry})
    _write(run.meta / "ledger.jsonl", lines, canonical(entry))
    anchor.write(run, [*lines, canonical(entry)])  # killed before it, the ledger is ahead: the next line catches up


def _write(path: Path, lines: list[bytes], last: bytes) -> None:
    """Append `last` to the file that holds `lines`, and perhaps half a line, whose call never answered."""
    nofollow.mkdir(path.parent, nofollow.PRIVATE_FOLDER)
    opened = nofollow.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, nofollow.PRIVATE_FILE)
    with os.fdopen(opened, "ab") as file:
        try:
            if os.fstat(opened).st_nlink == 1:
                file.truncate(sum(len(line) + 1 for line in lines))
                file.write(last + b"\n")
                file.flush()
                os.fsync(opened)
                return
        except OSError as error:
            raise nofollow.disk_failure(error, path) from None
    # The file has a second name (a hard link): the ledger gets a file of its own.
    nofollow.write(path, b"".join(line + b"\n" for line in [*lines, last]), nofollow.PRIVATE_FILE)


def entries(run: Run) -> list[dict[str, Any]]:
    """Every line, verified. Raises ToolFailure(gate_closed) at the first that is broken, foreign or out of order, and where the
    ledger is not the newest one of this run."""
    result, prev, lines = [], START, _lines(run)
    places = anchor.paths(run, lines)
    for number, line in enumerate(lines):
        try:
            entry = json.loads(line)
            signature = entry.pop("seal")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _broken(run, number, "is not a ledger entry") from None
        if entry.get("prev") != prev or entry.get("seq") != number:
            raise _broken(run, number, "does not follow the line before it: lines were removed, added or changed")
        if not any(seal.verify({"run": place, **entry}, signature) for place in places):
            raise _broken(run, number, "was not sealed here: the run was copied from elsewhere, or the line was edited")
        result.append(entry)
        prev = _digest(line)
    if wrong := anchor.problem(run, lines):
        raise _unusable(f"{run.meta / 'ledger.jsonl'} {wrong}")
    return result


def is_this_run(run: Run, path: object) -> bool:
    """Whether what was sealed for `path` was sealed for this run: there it lies, or from there it was moved."""
    return path == str(run.path) or path in anchor.paths(run, _lines(run))


def moved_from(run: Run) -> Path | None:
    """Where this run lay, until its next line is written here; None where it lies where it lay."""
    found = anchor.moved_from(run, _lines(run))
    return Path(found["path"]) if found else None


def latest(run: Run) -> dict[str, str]:
    """Evidence name -> digest of the newest version that a tool wrote (an older one put back does not count)."""
    newest: dict[str, str] = {}
    for entry in entries(run):
        newest.update(entry["wrote"])
    return newest


def start_over(run: Run) -> bool:
    """Set a ledger aside that was not written here (a copied run), or is not the newest, so that this machine can begin its own."""
    try:
        entries(run)
        return False
    except ToolFailure:
        anchor.forget(run)
        path = run.meta / "ledger.jsonl"
        if not path.exists():
            return True
        number = 1
        while (aside := path.with_name(f"ledger.foreign-{number}.jsonl")).exists():
            number += 1
        nofollow.rename(path, aside)
        return True


def _lines(run: Run) -> list[bytes]:
    """The complete lines. A reader holds no lock, so half a line at the end may be one that is just being written."""
    path = run.meta / "ledger.jsonl"
    data = path.read_bytes() if path.is_file() else b""
    return data.split(b"\n")[:-1]


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _broken(run: Run, number: int, why: str) -> ToolFailure:
    return _unusable(f"{run.meta / 'ledger.jsonl'} line {number + 1} {why}")


def _unusable(why: str) -> ToolFailure:
    return ToolFailure(
        "gate_closed",
        f"{why}. No evidence counts until the tools have verified it here: call them again from probe_model on",
    )
