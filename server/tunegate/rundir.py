"""A run's directory: containment under the server's root, atomic writes, and one writer at a time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tunegate import config as config_module
from tunegate import nofollow
from tunegate.config import RunConfig
from tunegate.errors import NextCall, ToolFailure
from tunegate.nofollow import disk_failure as disk_failure
from tunegate.nofollow import write as atomic_write

LOCK_WAIT_S = 3.0


@dataclass(frozen=True)
class Run:
    """One run. Holds only its path: everything else is read from disk, so a killed server loses nothing.

    work: the private folder of the stage that is spoken of (jobs/snapshot.py), where there is one.
    """

    path: Path
    work: Path | None = None

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    @property
    def meta(self) -> Path:
        return self.path / "meta"

    def at(self, name: str) -> Path:
        """A file of the project as the stage sees it: in its private folder, else in the run."""
        return (self.work or self.path) / name

    def config(self) -> RunConfig:
        return config_module.load(self.config_path)

    def save_config(self, config: RunConfig) -> None:
        atomic_write(self.config_path, config_module.dump(config))


def locate(root: Path, output_dir: str) -> Run:
    """`output_dir` (relative to the root, or absolute inside it) -> Run. Raises ToolFailure(outside_root)."""
    if "\0" in output_dir or len(output_dir) > 1024 or not output_dir.strip():
        raise ToolFailure(
            "invalid_input",
            f"output_dir = {output_dir[:80]!r} is not a usable path: name a directory such as ./output/my-model",
        )
    root = root.resolve()
    path = Path(os.path.normpath(root / output_dir))
    if path == root or not path.is_relative_to(root):
        raise ToolFailure(
            "outside_root",
            f"output_dir = {output_dir!r} is not a directory below the server's root {root}: "
            "choose one there, or restart the server with --root",
        )
    for part in [*reversed(path.relative_to(root).parents), path.relative_to(root)]:
        if (root / part).is_symlink():
            raise ToolFailure(
                "outside_root",
                f"output_dir = {output_dir!r} passes through the symlink {root / part}: name the real directory",
            )
    if any(len(part.encode()) > 255 for part in path.parts):
        raise ToolFailure(
            "invalid_input", f"output_dir = {output_dir[:80]!r} has a name longer than 255 bytes: choose a shorter one"
        )
    in_the_way = next((part for part in (path, *path.parents) if part.exists() and not part.is_dir()), None)
    if in_the_way:
        raise ToolFailure("invalid_input", f"output_dir = {output_dir!r}: {in_the_way} is a file: name a directory")
    return Run(path)


def existing(root: Path, output_dir: str) -> Run:
    """Like `locate`, for tools that continue a run. Raises ToolFailure(not_found) when there is no config.yaml."""
    run = locate(root, output_dir)
    if not run.config_path.is_file():
        raise ToolFailure(
            "not_found",
            f"output_dir = {output_dir!r} holds no run (no config.yaml in {run.path}): start one with probe_model",
            next=NextCall(tool="probe_model", arguments={"output_dir": output_dir}, why="a run begins with its model"),
        )
    return run


def contained(run: Run, path: Path) -> Path:
    """`path`, if it really lies in the run. Raises ToolFailure(outside_root) when a symlink leads elsewhere."""
    if not path.resolve().is_relative_to(run.path):
        raise ToolFailure(
            "outside_root", f"{path} leads out of the run through a symlink: replace the symlink by what it points to"
        )
    return path


def canonical(value: Any) -> bytes:
    """The one JSON form that is hashed and sealed: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


ALWAYS_HASHED = 1 << 20  # bytes: results, reports, code, config
_hashes: dict[tuple, str] = {}


def file_sha256(path: Path) -> str | None:
    """SHA-256 of a file's bytes, None when it is missing or not a regular file.

    Of a large one it is remembered by (inode, size, mtime, ctime): a program can set a file's mtime back, but not its ctime;
    a write through a memory map may show in neither for a while. What is run, measured or pushed is copied and hashed anew.
    """
    try:
        status = path.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    if status.st_size <= ALWAYS_HASHED:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if key not in _hashes:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time_ns() - status.st_ctime_ns < 1_000_000_000:
            return digest  # too fresh: a second write within the clock's tick would not change the key
        _hashes[key] = digest
    return _hashes[key]


def hash_files(root: Path, patterns: tuple[str, ...]) -> dict[str, str]:
    """Glob patterns relative to `root` -> {relative path: sha256} of the regular files they match, sorted."""
    found = {path for pattern in patterns for path in root.glob(pattern)}
    hashes = {path.relative_to(root).as_posix(): file_sha256(path) for path in sorted(found)}
    return {name: digest for name, digest in hashes.items() if digest}


@contextlib.contextmanager
def lock(run: Run, tool: str) -> Iterator[None]:
    """Hold the run for one call. The kernel drops the lock when the process dies, however it dies.

    Raises ToolFailure(run_locked) when another call keeps it for LOCK_WAIT_S; disk_full.
    """
    path = run.meta / ".lock"
    nofollow.mkdir(run.path)
    deadline = time.monotonic() + LOCK_WAIT_S
    while (file := _locked(path)) is None:
        if time.monotonic() > deadline:
            raise ToolFailure(
                "run_locked",
                f"{_holder(path)} is working on {run.path}: wait for it to answer, then make this call again",
            )
        time.sleep(0.05)
    with file:
        _sign(file, f"{tool} (process {os.getpid()})\n", path)
        yield


def _locked(path: Path) -> IO | None:
    """The open file that holds the lock, or None while another call does."""
    nofollow.mkdir(path.parent, nofollow.PRIVATE_FOLDER)
    file = os.fdopen(nofollow.open_file(path, os.O_RDWR | os.O_CREAT, nofollow.PRIVATE_FILE), "r+b", buffering=0)
    try:
        # No name (st_nlink 0): a refused call took its new run away, and this file with it.
        if nofollow.lock(file) and os.fstat(file.fileno()).st_nlink:
            return file
    except OSError as error:
        file.close()
        raise disk_failure(error, path) from None
    file.close()
    return None


def _sign(file: IO, text: str, path: Path) -> None:
    """Say in the lock file who holds it. One with a second name (a hard link) is somebody's file, and is left as it is."""
    try:
        if os.fstat(file.fileno()).st_nlink == 1:
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), text.encode())
    except OSError as error:
        raise disk_failure(error, path) from None


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace").strip()[:200] or "another call"
    return "another call"
