"""A run's directory: containment under the server's root, atomic writes, and one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunegate import config as config_module
from tunegate.config import RunConfig
from tunegate.errors import NextCall, ToolFailure

LOCK_WAIT_S = 3.0


@dataclass(frozen=True)
class Run:
    """One run. Holds only its path: everything else is read from disk, so a killed server loses nothing."""

    path: Path

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    @property
    def meta(self) -> Path:
        return self.path / "meta"

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
    path = Path(os.path.normpath(root / Path(output_dir).expanduser()))
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
    if path.exists() and not path.is_dir():
        raise ToolFailure("invalid_input", f"output_dir = {output_dir!r} is a file: name a directory")
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


def atomic_write(path: Path, data: str | bytes, mode: int = 0o644) -> None:
    """Write-then-rename: a reader sees the old file or the new one. Raises ToolFailure(disk_full)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise disk_failure(error, path) from None


def disk_failure(error: OSError, path: Path) -> ToolFailure:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ToolFailure(
            "disk_full",
            f"no space left to write {path}: free disk space, then make the same call again (nothing was half-written)",
        )
    return ToolFailure(
        "invalid_input", f"{path} cannot be written ({error.strerror}): check the directory's owner and permissions"
    )


def canonical(value: Any) -> bytes:
    """The one JSON form that is hashed and sealed: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


_hashes: dict[tuple, str] = {}


def file_sha256(path: Path) -> str | None:
    """SHA-256 of a file's bytes, None when it is missing or not a regular file.

    Remembered by (inode, size, mtime, ctime): a program can set a file's mtime back, but not its ctime.
    """
    try:
        status = path.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
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


@contextmanager
def lock(run: Run, tool: str) -> Iterator[None]:
    """Hold the run for one call. The kernel drops the lock when the process dies, however it dies."""
    run.meta.mkdir(parents=True, exist_ok=True)
    path = run.meta / ".lock"
    with path.open("a+") as file:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ToolFailure(
                        "run_locked",
                        f"{path.read_text().strip() or 'another call'} is working on {run.path}: "
                        "wait for it to answer, then make this call again",
                    ) from None
                time.sleep(0.05)
        path.write_text(f"{tool} (process {os.getpid()})\n")
        yield
