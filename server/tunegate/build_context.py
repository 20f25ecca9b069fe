"""A build context: exactly the files that were named, checked in the very bytes that are sent."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from tunegate.errors import ToolFailure
from tunegate.rundir import disk_failure

Checker = Callable[[dict[str, str]], list[str]]
MAX_TEXT = 1_000_000  # larger files are wheels and the like: sent, and not read as text
EPOCH = 315532800  # 1980-01-01, the first date that zip knows: the same bytes make the same layer, whenever written


@contextlib.contextmanager
def packed(context_dir: Path, files: list[str], check: Checker) -> Iterator[IO[bytes]]:
    """An open tar of `files` (relative paths), sorted, all of one date and owner.

    Raises ToolFailure: invalid_input (a path outside, missing or no regular file), stage_failed (`check` found problems).
    """
    with tempfile.TemporaryFile() as file, contextlib.ExitStack() as opened:
        try:
            sources = {name: opened.enter_context(_open(context_dir, name)) for name in sorted(set(files))}
            small = {name: source.read() for name, source in sources.items() if _is_text(name, source)}
            _checked(small, check)
            with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
                for name, source in sources.items():
                    data = small.get(name)
                    tar.addfile(_entry(name, source, data), source if data is None else io.BytesIO(data))
        except OSError as error:
            raise disk_failure(error, context_dir) from None
        file.seek(0)
        yield file


def _open(context_dir: Path, name: str) -> IO[bytes]:
    path = context_dir / name
    try:
        if not path.resolve().is_relative_to(context_dir.resolve()):
            raise OSError(f"leaves {context_dir}")
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    except OSError as error:
        raise _unusable(name, error.strerror or str(error)) from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _unusable(name, "no regular file")
    return file


def _unusable(name: str, why: str) -> ToolFailure:
    return ToolFailure("invalid_input", f"{name!r} cannot be sent to the engine ({why}): call render_project again")


def _is_text(name: str, source: IO[bytes]) -> bool:
    return name.endswith(".py") or os.fstat(source.fileno()).st_size <= MAX_TEXT


def _checked(small: dict[str, bytes], check: Checker) -> None:
    texts, problems = {}, []
    for name, data in small.items():
        try:
            texts[name] = data.decode()
        except UnicodeDecodeError:
            problems += [f"{name} is not UTF-8 text"] if name.endswith(".py") else []
    if problems := [*problems, *check(texts)]:
        raise ToolFailure(
            "stage_failed",
            "nothing was built: " + "; ".join(problems[:5]) + ". Mend it, or call render_project, then build again",
        )


def _entry(name: str, source: IO[bytes], data: bytes | None) -> tarfile.TarInfo:
    status = os.fstat(source.fileno())
    entry = tarfile.TarInfo(Path(name).as_posix())
    entry.size = status.st_size if data is None else len(data)
    entry.mode = 0o755 if status.st_mode & 0o100 else 0o644
    entry.mtime = EPOCH
    return entry
