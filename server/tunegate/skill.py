"""The agent skill: its text for the MCP prompt, and its installation as a directory of its own."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tunegate.errors import ToolFailure
from tunegate.paths import data_dir
from tunegate.rundir import disk_failure

SKILL_NAME = "tunegate"


def text() -> str:
    """SKILL.md without its front matter, which only a skill loader reads."""
    return re.sub(r"\A---\n.*?\n---\n+", "", _source().read_text(encoding="utf-8"), count=1, flags=re.S)


def install(to: Path) -> Path:
    """Copy SKILL.md and references/ to <to>/tunegate and return that directory; an older copy of ours is replaced whole.

    Raises ToolFailure(invalid_input) when something that is not ours lies there, or cannot be written; disk_full.
    """
    target = to.expanduser().absolute() / SKILL_NAME
    _refuse_foreign(target)
    fresh, old = (target.with_name(f".{SKILL_NAME}.{os.getpid()}.{end}") for end in ("new", "old"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for name, source in _files().items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, fresh / name)
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    except OSError as error:
        if old.exists() and not target.exists():
            old.rename(target)
        raise disk_failure(error, target) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return target


def _source() -> Path:
    return data_dir("skill") / "SKILL.md"


def _files() -> dict[str, Path]:
    """Path in the skill -> file: SKILL.md, and the pages one level below it."""
    return {
        "SKILL.md": _source(),
        **{f"references/{page.name}": page for page in sorted(data_dir("references").glob("*.md"))},
    }


def _refuse_foreign(target: Path) -> None:
    """Only a directory that an earlier install made, with nothing else in it, may be replaced."""
    if not (target.exists() or target.is_symlink()):
        return
    remedy = "move it away, or install to another directory"
    if target.is_symlink() or not target.is_dir():
        raise ToolFailure("invalid_input", f"{target} is {'a symlink' if target.is_symlink() else 'a file'}: {remedy}")
    skill = target / "SKILL.md"
    if not skill.is_file() or not re.search(
        rf"\A---\nname: {SKILL_NAME}\n", skill.read_text(encoding="utf-8", errors="replace")
    ):
        raise ToolFailure("invalid_input", f"{target} is not a tunegate skill, so it is not overwritten: {remedy}")
    added = sorted(
        path.relative_to(target).as_posix()
        for path in target.rglob("*")
        if not _ours(path.relative_to(target).as_posix(), path)
    )
    if added:
        raise ToolFailure("invalid_input", f"{target} holds {added[0]}, which tunegate did not put there: {remedy}")


def _ours(name: str, path: Path) -> bool:
    return (
        name == "references"
        and path.is_dir()
        or not path.is_symlink()
        and bool(re.fullmatch(r"SKILL\.md|references/[a-z0-9-]+\.md", name))
    )
