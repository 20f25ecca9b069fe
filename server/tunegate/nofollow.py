"""Writing, renaming and deleting inside a run, where links may have been planted: none of them is ever followed.

A run's directory belongs to the agent and to the stages. Everything that the server itself changes there goes through this
module. A path is walked from `/` down, one directory descriptor after the other, and a symbolic link on the way is refused
(`outside_root`). A file that is written is always a new one, under a random name, that then takes the old one's place: a
link that lay there, symbolic or hard, is replaced, and what it led to keeps its bytes.

Modes are explicit, so that a umask of 0 opens nothing: it can only take rights away from them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from tunegate.errors import ToolFailure

FILE_MODE, FOLDER_MODE = 0o644, 0o755
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700  # what lies in meta/
# O_PATH needs no right to list a directory, only to pass through it. Opened so, a link is no directory (ENOTDIR).
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: a planted pipe is not waited for


@contextlib.contextmanager
def folder(path: Path, make: int | None = None) -> Iterator[int]:
    """A descriptor of the directory `path`. make: the mode in which the missing part of the path is made.

    Raises ToolFailure(outside_root) at a symbolic link, OSError.
    """
    path = Path(os.path.abspath(path))
    here = os.open("/", _FOLDER)
    try:
        for depth, part in enumerate(path.parts[1:], 2):
            try:
                below = _enter(here, part, make)
            except OSError as error:
                if error.errno in (errno.ENOTDIR, errno.ELOOP) and _is_link(here, part):
                    raise _refused(Path(*path.parts[:depth])) from None
                raise
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


def _enter(here: int, part: str, make: int | None) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=here)
    except FileNotFoundError:
        if make is None:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(part, make, dir_fd=here)
    return os.open(part, _FOLDER, dir_fd=here)


def _is_link(here: int, name: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return stat.S_ISLNK(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode)
    return False


def _refused(link: Path) -> ToolFailure:
    return ToolFailure(
        "outside_root",
        f"{link} is a symlink, and none is followed here: replace it by what it points to, or remove it",
    )


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refused(path) if error.errno == errno.ELOOP else disk_failure(error, path) from None


def disk_failure(error: OSError, path: Path) -> ToolFailure:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ToolFailure(
            "disk_full",
            f"no space left to write {path}: free disk space, then make the same call again (nothing was half-written)",
            diagnosis="disk-full",
        )
    return ToolFailure(
        "invalid_input", f"{path} cannot be written ({error.strerror}): check the directory's owner and permissions"
    )


def check(path: Path) -> None:
    """Raises ToolFailure(outside_root) when `path`, or a directory above it, is a symbolic link. It need not exist."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), folder(path):
        pass


def mkdir(path: Path, mode: int = FOLDER_MODE) -> None:
    """Make the directory and what is missing above it. Raises ToolFailure."""
    with _named(path), folder(path, mode):
        pass


def create(path: Path, mode: int = FILE_MODE, ready: Callable[[IO[bytes]], None] | None = None) -> IO[bytes]:
    """A new, empty, open file in the place of whatever file or link lay there. ready: done before it takes that place."""
    name = f".{path.name[:100]}.{secrets.token_hex(8)}.tmp"
    with _named(path), folder(path.parent) as at:
        file = os.fdopen(os.open(name, _FILE | os.O_RDWR | os.O_CREAT | os.O_EXCL, mode, dir_fd=at), "w+b", buffering=0)
        try:
            if ready:
                ready(file)
            os.replace(name, path.name, src_dir_fd=at, dst_dir_fd=at)
        except BaseException:
            file.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=at)
            raise
    return file


def write(path: Path, data: str | bytes, mode: int = FILE_MODE, folder_mode: int = FOLDER_MODE) -> None:
    """Write-then-rename: a reader sees the old file or the new one. Missing directories are made. Raises ToolFailure(disk_full)."""

    def fill(file: IO[bytes]) -> None:
        rest = memoryview(data.encode() if isinstance(data, str) else data)
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())

    mkdir(path.parent, folder_mode)
    create(path, mode, fill).close()


def open_file(path: Path, flags: int, mode: int = FILE_MODE) -> int:
    """A descriptor of the regular file `path` itself, never of what a link leads to. Raises ToolFailure."""
    with _named(path), folder(path.parent) as at:
        opened = os.open(path.name, _FILE | flags, mode, dir_fd=at)
    if stat.S_ISREG(os.fstat(opened).st_mode):
        return opened
    os.close(opened)
    raise ToolFailure("invalid_input", f"{path} is not a regular file: remove it")


def lock(file: IO, *, wait: bool = False) -> bool:
    """Lock an open file for as long as it is open, here or in a process that inherits it; False while another one holds it.

    The kernel drops the lock with the last process that has the file open, however that ends. Raises OSError.
    """
    from filelock import lock_descriptor  # on first use: the server starts without it

    return lock_descriptor(file.fileno(), blocking=wait)


def unlink(path: Path) -> None:
    """Remove a file, or a link itself. Content when there is none. Raises ToolFailure."""
    with _named(path), contextlib.suppress(FileNotFoundError), folder(path.parent) as at:
        os.unlink(path.name, dir_fd=at)


def rename(old: Path, new: Path) -> None:
    """Give a file, a directory or a link another name; a file or a link of that name is replaced. Raises ToolFailure."""
    with _named(new), folder(old.parent) as source, folder(new.parent) as target:
        os.rename(old.name, new.name, src_dir_fd=source, dst_dir_fd=target)


def rmtree(path: Path) -> None:
    """Delete a directory and all below it, without following any link; of a link, the link. What cannot be deleted stays.

    Raises ToolFailure(outside_root) when a directory above `path` is a link.
    """
    with contextlib.suppress(OSError), folder(path.parent) as at:
        if _is_link(at, path.name):
            os.unlink(path.name, dir_fd=at)
        else:
            shutil.rmtree(path.name, ignore_errors=True, dir_fd=at)
