"""A build context: exactly the files that were named, checked in the very bytes that are sent."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from tunegate.errors import ToolFailure
from tunegate.rundir import disk_failure

Checker = Callable[[dict[str, str]], list[str]]
BINARY = (".whl",)  # sent, and not read as text; everything else must be UTF-8, so that it can be checked
EPOCH = 315532800  # 1980-01-01, the first date that zip knows: the same bytes make the same layer, whenever written


@contextlib.contextmanager
def packed(
    context_dir: Path, files: list[str], check: Checker, elsewhere: Mapping[str, Path] | None = None
) -> Iterator[IO[bytes]]:
    """An open tar of `files` (relative paths), sorted, all of one date and owner, with the modes that they have on disk.

    So the engine's cache takes it for what `docker build` by hand sends: it looks at paths, modes, owners and bytes.
    elsewhere: name in the context -> file outside of context_dir that the user gave, sent as if it lay there.
    Raises ToolFailure: invalid_input (a path outside, missing or no regular file), stage_failed (`check` found problems).
    """
    outside = elsewhere or {}
    with tempfile.TemporaryFile() as file, contextlib.ExitStack() as opened:
        try:
            sources = {
                name: opened.enter_context(
                    _regular(name, outside[name]) if name in outside else _open(context_dir, name)
                )
                for name in sorted({*files, *outside})
            }
            small = {name: source.read() for name, source in sources.items() if not name.endswith(BINARY)}
            _checked(small, check)
            with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
                for folder in sorted({str(p) for name in sources for p in PurePosixPath(name).parents} - {"."}):
                    tar.addfile(_folder(folder, context_dir / folder, outside))
                for name, source in sources.items():
                    data = small.get(name)
                    tar.addfile(_entry(name, source, data), source if data is None else io.BytesIO(data))
        except OSError as error:
            raise disk_failure(error, context_dir) from None
        file.seek(0)
        yield file


def _open(context_dir: Path, name: str) -> IO[bytes]:
    path = context_dir / name
    if not path.resolve().is_relative_to(context_dir.resolve()):
        raise _unusable(name, f"leaves {context_dir}")
    return _regular(name, path, os.O_NOFOLLOW)


def _regular(name: str, path: Path, flags: int = 0) -> IO[bytes]:
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags), "rb")
    except OSError as error:
        raise _unusable(name, error.strerror or str(error)) from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _unusable(name, "no regular file")
    return file


def _unusable(name: str, why: str) -> ToolFailure:
    return ToolFailure("invalid_input", f"{name!r} cannot be sent to the engine ({why}): call render_project again")


def _checked(small: dict[str, bytes], check: Checker) -> None:
    texts, problems = {}, []
    for name, data in small.items():
        try:
            texts[name] = data.decode()
        except UnicodeDecodeError:
            problems.append(f"{name} is not UTF-8 text")
    if problems := [*problems, *check(texts)]:
        raise ToolFailure(
            "stage_failed",
            "nothing was built: " + "; ".join(problems[:5]) + ". Fix it, or call render_project, then build again",
        )


def _entry(name: str, source: IO[bytes], data: bytes | None) -> tarfile.TarInfo:
    status = os.fstat(source.fileno())
    entry = tarfile.TarInfo(PurePosixPath(name).as_posix())
    entry.size = status.st_size if data is None else len(data)
    entry.mode = stat.S_IMODE(status.st_mode)
    entry.mtime = EPOCH
    return entry


def _folder(name: str, path: Path, outside: Mapping[str, Path]) -> tarfile.TarInfo:
    """A directory's own entry: without one, the engine makes it with a mode of its choice."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mtime = tarfile.DIRTYPE, EPOCH
    holds = next((source.parent for other, source in outside.items() if str(PurePosixPath(other).parent) == name), path)
    path = path if path.is_dir() else holds if holds.name == name else path
    entry.mode = stat.S_IMODE(path.stat().st_mode) if path.is_dir() else 0o755
    return entry
