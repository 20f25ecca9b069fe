"""What the jobs of a training left on disk, sealed while they ran, and what of it counts when the training goes on.

    meta/jobs/train/made.jsonl   one sealed line for each checkpoint (and for the finished model) with its files' hashes,
                                 and how far the logs were; written by the runner, which lives beside the training

Between two jobs anybody may lay files into checkpoints/. `vet` keeps what a sealed line of this very training (same values,
same files) names with the same bytes, and sets the rest aside. A runner that was killed has sealed each checkpoint at most
WATCH_S, and the time to hash it, after it was complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import threading
import time
from pathlib import Path
from typing import Any

from tunegate import jobs, nofollow
from tunegate.errors import ToolFailure
from tunegate.evidence import seal
from tunegate.readers import content
from tunegate.rundir import Run, canonical

WATCH_S = 1.0
SETTLES_S = 30.0  # after its first sealing a checkpoint is sealed again only so long
FINAL, REPORT = "checkpoints/final", "reports/train.json"
STEPS, LOSSES = "logs/steps.jsonl", "logs/train.jsonl"
BEGINNING: dict[str, Any] = {"step": 0, "finished": False, "sessions": [], "set_aside": []}
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def identity(resting_on: dict[str, Any], files: dict[str, str]) -> str:
    """One training: the config values and the input files that it rests on."""
    return hashlib.sha256(canonical([resting_on, files])).hexdigest()


# -- sealing, by the runner


class Watch:
    """Seals each checkpoint of a training soon after it is complete, and at the end of the job what is left.

    Only what the job itself can have made: a checkpoint after the one it began from, of a step that train.py wrote down as
    done. The time that hashing takes (1 to 4 s of one core for each GiB) is spent beside the training, at a lower priority.
    """

    def __init__(self, run: Run, spec: dict[str, Any]):
        self.run, self.spec = run, spec
        self._seen: dict[tuple, tuple[float, tuple]] = {}  # a checkpoint -> when it was first sealed, its files then
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="checkpoint-watch")

    def begin(self) -> None:
        self._thread.start()

    def end(self, exit_code: int | None) -> None:
        """The finished model is sealed only where the job ended well, and did the steps that its report names."""
        self._over.set()
        self._thread.join()
        self._seal_new(ended=True)
        if (self.spec.get("training") or {}).get("finished"):  # its model is sealed; this job had nothing to do
            return
        final, report = self.run.path / FINAL, _report(self.run)
        if exit_code == 0 and final.is_dir() and not undone(self.run, self.spec.get("training"), report):
            self._seal(FINAL, {**hashes(self.run.path, final), REPORT: digest(self.run.path / REPORT)})
        self._seal("", {})

    def _watch(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # Linux: of this thread alone
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while not self._over.wait(WATCH_S):
            self._seal_new()

    def _seal_new(self, ended: bool = False) -> None:
        """ended: what was cut off is sealed as well, since nobody will write it any more; train.py drops it itself."""
        for folder in _folders(self.run):
            inode, files = _listed(folder)
            first, before = self._seen.get((folder.name, inode), (time.monotonic(), None))
            if files == before or time.monotonic() - first > SETTLES_S or not self._is_own(folder, ended):
                continue
            found = hashes(self.run.path, folder)
            if _listed(folder) == (inode, files):  # else it was just being written, or deleted
                self._seen[folder.name, inode] = first, files
                self._seal(folder.relative_to(self.run.path).as_posix(), found)

    def _is_own(self, folder: Path, ended: bool) -> bool:
        if not _complete(folder):
            return ended
        step, began = _step(folder), self.spec.get("training") or BEGINNING
        return not began["finished"] and step > began["step"] and not undone(self.run, began, {"global_step": step})

    def _seal(self, name: str, files: dict[str, str]) -> None:
        record = {
            "run": str(self.run.path),
            "training": identity(self.spec["resting_on"], self.spec["files"]),
            "job": self.spec["id"],
            "name": name,
            "files": files,
            "losses": _prefix(self.run.path / LOSSES),
        }
        with contextlib.suppress(
            OSError, ToolFailure
        ):  # no space left: the training goes on, and is resumed from an earlier one
            with os.fdopen(_append(_records_path(self.run)), "ab") as file:
                file.write(seal.line_of(record))
                file.flush()
                os.fsync(file.fileno())


def _append(path: Path) -> int:
    return nofollow.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, nofollow.PRIVATE_FILE)


def _folders(run: Run) -> list[Path]:
    found = (path for path in (run.path / "checkpoints").glob("checkpoint-*") if _CHECKPOINT.fullmatch(path.name))
    return [path for path in found if path.is_dir() and not path.is_symlink()]


def _step(folder: Path) -> int:
    return int(_CHECKPOINT.fullmatch(folder.name)[1])


def _complete(folder: Path) -> bool:
    """trainer_state.json comes last; of several processes, the others may still write their random state."""
    try:
        return "global_step" in json.loads((folder / "trainer_state.json").read_text())
    except (OSError, ValueError, TypeError):
        return False


def _listed(folder: Path) -> tuple[int, tuple]:
    """(the folder's inode, its files with what tells that one was written again)"""
    rows, inode = [], 0
    with contextlib.suppress(OSError):
        inode = folder.stat().st_ino
        for path in sorted(folder.iterdir()):
            status = path.lstat()
            rows.append((path.name, status.st_ino, status.st_size, status.st_mtime_ns))
    return inode, tuple(rows)


def hashes(root: Path, folder: Path) -> dict[str, str]:
    """{path relative to root: digest} of everything below the folder; a link or a pipe has no digest that can be met again."""
    paths = (Path(where) / name for where, folders, names in os.walk(folder) for name in [*names, *folders])
    found = {
        path.relative_to(root).as_posix(): digest(path) for path in paths if path.is_symlink() or not path.is_dir()
    }
    return dict(sorted(found.items()))


def digest(path: Path) -> str:
    """SHA-256 of the bytes, or of a large file's size and sample; "" for what is not a regular file or is gone."""
    try:
        if not stat.S_ISREG((status := path.lstat()).st_mode):
            return ""
        with path.open("rb") as file:
            return content.sha256_of(file, status.st_size)
    except OSError:
        return ""


def _prefix(path: Path) -> list[Any]:
    """[bytes, sha256] of a log as it is now, up to its last whole line."""
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    data = data[: data.rfind(b"\n") + 1]
    return [len(data), hashlib.sha256(data).hexdigest()]


# -- what counts, by the server


def vet(run: Run, resting_on: dict[str, Any], files: dict[str, str], before: dict[str, Any] | None) -> dict[str, Any]:
    """What the next job of this training begins from; the rest is moved to checkpoints.old-N. The caller saw no job running.

    {step, finished, sessions, set_aside}: the newest checkpoint's step, whether the finished model is there, the sessions
    that logs/steps.jsonl has already, and sentences on what was set aside, now or by `before` (the last job's).
    """
    folder = run.path / "checkpoints"
    refuse_symlink(folder)
    known = _records(run, identity(resting_on, files))
    finished = _is_sealed(run, FINAL, known)
    foreign = [path for path in folder.glob("checkpoint-*") if not _is_sealed(run, f"checkpoints/{path.name}", known)]
    foreign += [] if finished or not os.path.lexists(run.path / FINAL) else [run.path / FINAL, run.path / REPORT]
    said = list((before or {}).get("set_aside", []))
    if foreign := [path for path in sorted(foreign) if os.path.lexists(path)]:
        aside = free_name(run)
        for path in foreign:
            nofollow.mkdir(aside)
            nofollow.rename(path, aside / path.name)
            name = path.relative_to(run.path).as_posix()
            said.append(f"{name} was not trained by this run: set aside as {aside.name}/{path.name}")
    _cut_losses(run, known)
    steps = [_step(path) for path in _folders(run) if _complete(path)]
    return {"step": max(steps, default=0), "finished": finished, "sessions": sorted(_sessions(run)), "set_aside": said}


def is_finished(run: Run, spec: dict[str, Any]) -> bool:
    """Whether the finished model and its report have the bytes that an earlier job of this training sealed."""
    return _is_sealed(run, FINAL, _records(run, identity(spec["resting_on"], spec["files"])))


def undone(run: Run, training: dict[str, Any] | None, report: dict[str, Any]) -> int:
    """How many of the steps that the report claims were done by no sealed job: neither before this one nor, by what train.py
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


def free_name(run: Run) -> Path:
    """checkpoints.old-N, the first that is free."""
    number = 1
    while os.path.lexists(aside := run.path / f"checkpoints.old-{number}"):
        number += 1
    return aside


def set_all_aside(run: Run) -> None:
    """Checkpoints that are not this training's are kept under another name if they hold a finished model, else removed."""
    folder = run.path / "checkpoints"
    refuse_symlink(folder)
    if (folder / "final").exists():
        nofollow.rename(folder, free_name(run))
    else:
        nofollow.rmtree(folder)


def refuse_symlink(folder: Path) -> None:
    if folder.is_symlink():
        raise ToolFailure("outside_root", f"{folder} is a symlink: remove it, then train again")


def _records_path(run: Run) -> Path:
    return jobs.directory(run, "train") / "made.jsonl"


def _records(run: Run, training: str) -> list[dict[str, Any]]:
    """The sealed lines of this training. One that is missing, cut off or edited only loses what it named."""
    try:
        lines = _records_path(run).read_bytes().splitlines()
    except OSError:
        return []
    found = [record for line in lines if (record := seal.record_of(line)) is not None]
    return [record for record in found if record.get("run") == str(run.path) and record.get("training") == training]


def _is_sealed(run: Run, name: str, known: list[dict[str, Any]]) -> bool:
    """Whether what lies there under this name has the bytes of a sealed line."""
    there, sealed = run.path / name, [record["files"] for record in known if record["name"] == name]
    if not sealed or there.is_symlink() or not there.is_dir():
        return False
    found = hashes(run.path, there) | ({REPORT: digest(run.path / REPORT)} if name == FINAL else {})
    return "" not in found.values() and found in sealed


def _cut_losses(run: Run, known: list[dict[str, Any]]) -> None:
    """Cut logs/train.jsonl to what a sealed line vouches for: train.py keeps the rows up to its checkpoint, whoever wrote them."""
    path = run.path / LOSSES
    try:
        data = path.read_bytes()
    except OSError:
        return
    if path.is_symlink():
        nofollow.unlink(path)
        return
    vouched = [size for size, sha in (r["losses"] for r in known) if hashlib.sha256(data[:size]).hexdigest() == sha]
    if (size := max(vouched, default=0)) < len(data):
        with os.fdopen(nofollow.open_file(path, os.O_WRONLY), "wb") as file:
            file.truncate(size)


def _report(run: Run) -> dict[str, Any]:
    try:
        found = json.loads((run.path / REPORT).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _rows(run: Run) -> list[dict[str, Any]]:
    """{session, step} of each optimizer step that was written down; a row of another shape is none."""
    rows = []
    with contextlib.suppress(OSError):
        for line in (run.path / STEPS).read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict) and isinstance(row.get("session"), str) and isinstance(row.get("step"), int):
                    rows.append(row)
    return rows


def _sessions(run: Run) -> set[str]:
    return {row["session"] for row in _rows(run)}
