"""The Hub client's cache of a run, compared with what the Hub published, before a stage that measures reads from it.

Stages that run edited code write into the same cache: it saves downloading a model twice. So nothing in it is believed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from tunegate import nofollow


def drop_changed(cache: Path, model_id: str, revision: str, hashes: dict[str, str]) -> list[str]:
    """Remove the model from the cache where a file of this commit is not the published one; it is then downloaded again.

    hashes: path -> sha256 of a large file, git's blob id of another (probe/model). Returns the paths that differ.
    """
    model, there = _files(cache, model_id, revision)
    wrong = [name for name, path in there.items() if not _is_published(path, hashes.get(name), model)]
    if wrong:
        nofollow.rmtree(model)
    return wrong


def published(cache: Path, model_id: str, revision: str, hashes: dict[str, str], suffix: str) -> dict[str, Path]:
    """Path in the repository -> file, of those with this ending that are what the Hub published; nothing is removed."""
    model, there = _files(cache, model_id, revision)
    wanted = {name: path for name, path in there.items() if name.endswith(suffix)}
    return {name: path for name, path in wanted.items() if _is_published(path, hashes.get(name), model)}


def _files(cache: Path, model_id: str, revision: str) -> tuple[Path, dict[str, Path]]:
    """(the model's folder in the cache, path in the repository -> file of this commit)"""
    model = cache / "hub" / f"models--{model_id.replace('/', '--')}"
    commit = model / "snapshots" / revision
    there = [path for path in sorted(commit.rglob("*")) if not path.is_dir() or path.is_symlink()]
    return model, {path.relative_to(commit).as_posix(): path for path in there}


def _is_published(path: Path, digest: str | None, model: Path) -> bool:
    """Whether what the client will read there has this digest, and lies in the model's own folder."""
    real = path.resolve()
    if digest is None or not real.is_file() or not real.is_relative_to(model.resolve()):
        return False
    with real.open("rb") as file:
        if len(digest) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
        git = hashlib.sha1(b"blob %d\0" % real.stat().st_size)
        git.update(file.read())
        return git.hexdigest() == digest
