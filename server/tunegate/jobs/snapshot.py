"""Where a stage runs: a private folder outside of every run, laid out as the project is, and what of it is shown in the run.

    <work>/<key of the run>/run       the run's path
    <work>/<key of the run>/hub       the Hub client's cache of its stages
    <work>/<key of the run>/<stage>   the project as this stage is told to see it, and what it makes

A run's folder belongs to the agent, at any moment. So nothing that runs reads from there: every file is copied first, and a
copy counts only with the digest that the evidence names. What the stage made is hashed here, then copied into the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from tunegate import nofollow
from tunegate.errors import ToolFailure
from tunegate.paths import work_dir
from tunegate.rundir import Run

FOLDERS = ("data", "checkpoints", "logs", "reports", ".cache")  # what stages write into
# What a stage finds again when it runs again: its checkpoints, while the training is the same; what it has downloaded.
LASTING = {"train": ("checkpoints", "logs", "reports", ".training"), "prepare": (".cache",)}
HUB_CACHE = ".cache/huggingface"  # the client's cache, where a container sees it
FORGOTTEN_S = 24 * 3600  # a run's private folder is removed when the run has been gone for so long


def home(run: Run) -> Path:
    """All that is private to this run."""
    return work_dir() / hashlib.sha256(str(run.path).encode()).hexdigest()[:16]


def of(run: Run, stage: str) -> Run:
    """The run, with the private folder of this stage."""
    return Run(run.path, home(run) / stage)


def hub(run: Run) -> Path:
    """The Hub client's cache of a stage. The one that chooses the rows has its own, which no edited code ever writes to."""
    return run.at(HUB_CACHE) if run.work.name == "prepare" else home(run) / "hub"


def move(run: Run, former: Path) -> None:
    """What was private to the run at its former place is private to it at its new one."""
    old, new = home(Run(former)), home(run)
    if old.is_dir() and not new.exists():
        nofollow.rename(old, new)
        nofollow.write(new / "run", str(run.path), nofollow.PRIVATE_FILE)


def lay(run: Run, texts: dict[str, str], inputs: dict[str, str]) -> None:
    """Fill run.work: `texts` as they are, and of the run's own files those of `inputs`, path -> sha256.

    Raises ToolFailure: run_locked (a file was changed while it was copied), outside_root (a link), disk_full.
    """
    where = run.work
    clear(run)
    _forget_gone()
    nofollow.mkdir(where, nofollow.PRIVATE_FOLDER)  # below it modes are as in the run: a build's cache looks at them
    for path in (hub(run), where / HUB_CACHE, *(where / name for name in FOLDERS)):
        nofollow.mkdir(path)
    nofollow.write(home(run) / "run", str(run.path), nofollow.PRIVATE_FILE)
    for name, text in texts.items():
        nofollow.mkdir((where / name).parent)
        nofollow.create(where / name, ready=lambda file, text=text: file.write(text.encode())).close()
    for name, digest in inputs.items():
        if name not in texts and _copied(run.path / name, where / name) != digest:
            raise ToolFailure(
                "run_locked",
                f"{name} in {run.path} was changed while it was read: make the same call again when nobody else writes there",
            )


def publish(run: Run, patterns: Iterable[str]) -> dict[str, str]:
    """Copy what the stage made (glob patterns) from run.work into the run; {path: sha256} of all of it.

    What lies in the run under these patterns and was not made is removed. Raises ToolFailure: outside_root, disk_full.
    """
    made = {name: _copied(run.work / name, run.path / name) for name in matching(run.work, patterns)}
    for name in matching(run.path, patterns):
        if name not in made:
            nofollow.unlink(run.path / name)
    return made


def show(run: Run, patterns: Iterable[str], seen: dict[str, tuple[int, int]]) -> None:
    """Copy logs that have grown since the last call into the run, for whoever follows them. seen: path -> (size, mtime)."""
    for name in matching(run.work, patterns):
        with contextlib.suppress(OSError, ToolFailure):  # only shown: what counts is published at the end
            status = (run.work / name).stat()
            if seen.get(name) != (stamp := (status.st_size, status.st_mtime_ns)):
                _copied(run.work / name, run.path / name)
                seen[name] = stamp


def matching(root: Path, patterns: Iterable[str]) -> list[str]:
    """The regular files below root that match, as paths relative to it; none through a link."""
    found = {path for pattern in patterns for path in root.glob(pattern)}
    own = (path for path in found if not path.is_symlink() and path.is_file())
    return sorted(path.relative_to(root).as_posix() for path in own)


def clear(run: Run) -> None:
    """Empty the stage's private folder, but for what lasts."""
    kept = LASTING.get(run.work.name, ())
    for path in run.work.iterdir() if run.work.is_dir() else ():
        if path.name in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            nofollow.rmtree(path)
        else:
            nofollow.unlink(path)


def _copied(source: Path, target: Path) -> str:
    """Copy a regular file; the sha256 of the copy. Where the file system can share the blocks of the two, it does.

    Raises ToolFailure: outside_root (a link on the way), disk_full, invalid_input.
    """
    nofollow.mkdir(target.parent)
    with os.fdopen(nofollow.open_file(source, os.O_RDONLY), "rb") as old:
        found: list[str] = []

        def fill(new) -> None:
            _bytes(old, new)
            new.seek(0)
            found.append(hashlib.file_digest(new, "sha256").hexdigest())

        nofollow.create(target, ready=fill).close()
    return found[0]


def _bytes(old, new) -> None:
    try:
        while os.copy_file_range(old.fileno(), new.fileno(), 2**30):
            pass
    except OSError:  # two file systems that cannot do it between them, or no room: said by the plain way
        old.seek(0)
        new.seek(0)
        new.truncate()
        shutil.copyfileobj(old, new, 2**20)


def _forget_gone() -> None:
    """Remove what is private to runs that have been deleted, unless something was written there of late: it may still train."""
    with contextlib.suppress(OSError):
        for found in work_dir().iterdir():
            with contextlib.suppress(OSError):
                gone = not (Path((found / "run").read_text()) / "config.yaml").exists()
                written = [found / "run", *found.glob("*/*"), *found.glob("*/logs/*")]
                if gone and time.time() - max(path.stat().st_mtime for path in written) > FORGOTTEN_S:
                    nofollow.rmtree(found)
