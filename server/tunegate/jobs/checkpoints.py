"""A training over several jobs: what of its private folder the next one goes on from, and what lies in the run instead.

What earlier jobs of the same training (same values, same files) left in the private folder is theirs: nobody else writes
there. What lies in the run's own checkpoints/ is only shown: whatever was laid there since is set aside, never read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from tunegate import nofollow
from tunegate.errors import ToolFailure
from tunegate.rundir import Run, canonical, hash_files

FINAL, REPORT = "checkpoints/final", "reports/train.json"
STEPS, LOSSES = "logs/steps.jsonl", "logs/train.jsonl"
SHOWN_MEANWHILE = ("logs/*.jsonl", "logs/*/*", "logs/*/*/*")  # a monitor's files lie deeper
BEGINNING: dict[str, Any] = {"step": 0, "finished": False, "sessions": [], "set_aside": []}
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_KNOWN = ".training"  # in the private folder: of which training it is, and what was set aside for it


def identity(resting_on: dict[str, Any], files: dict[str, str]) -> str:
    """One training: the config values and the input files that it rests on."""
    return hashlib.sha256(canonical([resting_on, files])).hexdigest()


def begin(run: Run, training: str) -> dict[str, Any]:
    """What the next job of this training begins from; of another training nothing stays. The caller saw no job running.

    {step, finished, sessions, set_aside}: the newest checkpoint's step, whether the finished model is there, the sessions
    that logs/steps.jsonl has already, and sentences on what lay in the run's checkpoints/ and was set aside.
    """
    known = _known(run)
    continues = known.get("training") == training
    if not continues:
        nofollow.rmtree(run.work)
        known = {"training": training, "set_aside": []}
    known["set_aside"] += _set_aside(run, continues)
    text = json.dumps(known)
    nofollow.write(run.work / _KNOWN, text, nofollow.PRIVATE_FILE, folder_mode=nofollow.PRIVATE_FOLDER)
    return {
        "step": newest(run),
        "finished": run.at(FINAL).is_dir() and run.at(REPORT).is_file(),
        "sessions": sorted(_sessions(run)),
        "set_aside": known["set_aside"],
    }


def _known(run: Run) -> dict[str, Any]:
    try:
        return json.loads((run.work / _KNOWN).read_text())
    except (OSError, ValueError):
        return {}


def forget(run: Run) -> None:
    """The training has passed: of its private folder only the finished model is still of use, should its evidence be lost."""
    for path in run.at("checkpoints").glob("checkpoint-*"):
        nofollow.rmtree(path)


def newest(run: Run) -> int:
    """The step of the newest checkpoint that train.py would resume from; 0 where there is none."""
    return max((_step(path) for path in run.at("checkpoints").glob("checkpoint-*") if _complete(path)), default=0)


def undone(run: Run, training: dict[str, Any] | None, report: dict[str, Any]) -> int:
    """How many of the steps that the report claims were done by no job: neither before this one nor, by what train.py
    writes down at each step, in it."""
    began = training or BEGINNING
    claimed = report.get("global_step")
    if began["finished"]:
        return 0
    if not isinstance(claimed, int) or claimed < 1:
        return 1
    new = (row["step"] for row in _rows(run) if row["session"] not in began["sessions"])
    done = {step for step in new if began["step"] < step <= claimed}
    return max(0, claimed - began["step"] - len(done))


def _set_aside(run: Run, continues: bool) -> list[str]:
    """Move what lies in the run's checkpoints/ out of the way of what this training will show there.

    Said where it claims to be of this very training; the model of an earlier one is kept in silence.
    """
    folder = run.path / "checkpoints"
    if folder.is_symlink():
        raise ToolFailure("outside_root", f"{folder} is a symlink: remove it, then train again")
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if not there or continues and hash_files(run.path, (f"{FINAL}/*",)) == hash_files(run.work, (f"{FINAL}/*",)) != {}:
        return []
    if not continues and "final" not in there:
        nofollow.rmtree(folder)
        return []
    aside = free_name(run)
    nofollow.rename(folder, aside)
    return [
        f"checkpoints/{name} was not trained by this run: set aside as {aside.name}/{name}"
        for name in there
        if continues
    ]


def free_name(run: Run) -> Path:
    """checkpoints.old-N, the first that is free."""
    number = 1
    while os.path.lexists(aside := run.path / f"checkpoints.old-{number}"):
        number += 1
    return aside


def _step(folder: Path) -> int:
    found = _CHECKPOINT.fullmatch(folder.name)
    return int(found[1]) if found else 0


def _complete(folder: Path) -> bool:
    """trainer_state.json comes last."""
    try:
        return "global_step" in json.loads((folder / "trainer_state.json").read_text())
    except (OSError, ValueError, TypeError):
        return False


def _rows(run: Run) -> list[dict[str, Any]]:
    """{session, step} of each optimizer step that was written down; a row of another shape is none."""
    rows = []
    with contextlib.suppress(OSError):
        for line in run.at(STEPS).read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict) and isinstance(row.get("session"), str) and isinstance(row.get("step"), int):
                    rows.append(row)
    return rows


def _sessions(run: Run) -> set[str]:
    return {row["session"] for row in _rows(run)}
