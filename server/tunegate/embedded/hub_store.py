"""What the embedded Hub holds, on disk below one directory. Everything is read from there at every request.

    blobs/<sha256>                                   contents, by their own hash
    repos/<type>s/<namespace>/<name>/repo.json       owner, private, gated, branches, tags
    repos/<type>s/<namespace>/<name>/commits/<sha>.json   parent, message, author, date, files
    tmp/                                             uploads in progress

Blob, tree and commit ids are git's own, so a repository rebuilt with git has the same ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from tunegate.rundir import atomic_write, canonical

REPO_TYPES = ("model", "dataset")
RESERVED = ("api", "assets", "datasets", "lfs", "spaces")  # first segments of the Hub's own routes
LFS_SUFFIXES = (
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".h5",
    ".onnx",
    ".msgpack",
    ".parquet",
    ".arrow",
    ".npy",
    ".npz",
    ".zip",
    ".gz",
    ".tar",
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".pdf",
)
LFS_SIZE = 10 * 1024 * 1024  # the Hub's own limit for a regular git file
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}(/[A-Za-z0-9][A-Za-z0-9._-]{0,79}){0,3}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class HubRefusal(Exception):
    """An answer other than success: HTTP status, message, and the Hub's error code where it has one."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers or {}


@dataclass(frozen=True)
class Entry:
    """One file of a commit. `blob_id` is git's id of what git holds: the content, or for LFS the pointer to it."""

    size: int
    sha256: str
    git_sha1: str
    lfs: bool

    @property
    def pointer(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @property
    def blob_id(self) -> str:
        return git_id("blob", self.pointer) if self.lfs else self.git_sha1

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.git_sha1


@dataclass
class Repo:
    type: str
    id: str
    owner: str
    private: bool = False
    gated: str | bool = False
    created: str = ""
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Commit:
    sha: str
    parent: str | None
    title: str
    description: str
    author: str
    date: str
    files: dict[str, Entry]


# A path and its new content. None deletes it, and a whole folder where the path ends with "/".
TreeChange = tuple[str, Entry | None]


def git_id(kind: str, body: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(body)}\0".encode() + body, usedforsecurity=False).hexdigest()


def tree_id(files: dict[str, str]) -> str:
    """Git's id of a directory that holds `files`: path below it -> blob id."""
    folders: dict[str, dict[str, str]] = {}
    rows = []
    for path, blob_id in files.items():
        name, _, rest = path.partition("/")
        if rest:
            folders.setdefault(name, {})[rest] = blob_id
        else:
            rows.append((name, "100644", blob_id))
    rows += [(name, "40000", tree_id(below)) for name, below in folders.items()]
    # git sorts folders as if their names ended with /
    rows.sort(key=lambda row: (f"{row[0]}/" if row[1] == "40000" else row[0]).encode())
    return git_id("tree", b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(oid) for name, mode, oid in rows))


def is_lfs(path: str, size: int) -> bool:
    return size > 0 and (size > LFS_SIZE or path.lower().endswith(LFS_SUFFIXES))


def check_repo_id(repo_type: str, repo_id: str) -> None:
    parts = repo_id.split("/")
    fine = len(parts) == 2 and len(repo_id) <= 96 and all(_NAME.fullmatch(part) for part in parts)
    if (
        repo_type not in REPO_TYPES
        or not fine
        or parts[0] in RESERVED
        or "--" in repo_id
        or ".." in repo_id
        or repo_id.endswith((".git", "-", "."))
    ):
        raise HubRefusal(400, f"Invalid repo type or name: {repo_type} {repo_id[:100]!r}")


def check_path(path: object) -> str:
    """A file's path inside a repository; Refused(400) for what could leave it, or what git refuses."""
    parts = path.split("/") if isinstance(path, str) and len(path) <= 1024 else [""]
    if any(
        part in ("", ".", "..") or part.lower() == ".git" or not part.isprintable() or "\\" in part for part in parts
    ):
        raise HubRefusal(400, f"Invalid path in repo: {str(path)[:100]!r}")
    return path


class Store:
    """The repositories below `root`. Writes are serialized; a reader sees a commit whole or not at all."""

    def __init__(self, root: Path):
        self.root = Path(root).resolve()
        self._lock = threading.RLock()
        for folder in ("blobs", "repos", "tmp"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)

    # --- contents

    def blob(self, sha256: str) -> Path:
        """Where the content with this hash is, or would be. Refused(400) for what is no SHA-256."""
        if not _SHA256.fullmatch(sha256):
            raise HubRefusal(400, f"Invalid object id {sha256[:80]!r}: not a SHA-256")
        return self.root / "blobs" / sha256

    @contextmanager
    def spool(self) -> Iterator[IO[bytes]]:
        """A temporary file beside the blobs, deleted afterwards unless it was `adopt`ed."""
        with NamedTemporaryFile(dir=self.root / "tmp", delete=False) as file:
            try:
                yield file
            finally:
                Path(file.name).unlink(missing_ok=True)

    def adopt(self, file: IO[bytes], expected: str | None = None) -> str:
        """A spooled file becomes a blob. Returns its SHA-256; Refused(422) when another one was announced."""
        file.flush()
        digest = _digest(Path(file.name), hashlib.sha256())
        if expected and digest != expected:
            raise HubRefusal(422, f"The content's SHA-256 is {digest}, not {expected}")
        os.replace(file.name, self.blob(digest))
        return digest

    def add(self, path: str, content: bytes | Path) -> Entry:
        """Keep a file's content. Returns the entry for a commit."""
        with self.spool() as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                with content.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)
            return self.entry(path, self.adopt(file))

    def entry(self, path: str, sha256: str, *, lfs: bool | None = None) -> Entry:
        """The entry of a content that is already here; Refused(400) when it is not."""
        blob = self.blob(sha256)
        if not blob.exists():
            raise HubRefusal(400, f"LFS object {sha256} of {path!r} has not been uploaded")
        size = blob.stat().st_size
        sha1 = _digest(blob, hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False))
        return Entry(size, sha256, sha1, is_lfs(path, size) if lfs is None else lfs)

    # --- repositories

    def get(self, repo_type: str, repo_id: str) -> Repo | None:
        try:
            check_repo_id(repo_type, repo_id)
            return Repo(**json.loads((self._folder(repo_type, repo_id) / "repo.json").read_bytes()))
        except (HubRefusal, FileNotFoundError):
            return None

    def all(self, repo_type: str) -> list[Repo]:
        found = sorted((self.root / "repos" / f"{repo_type}s").glob("*/*/repo.json"))
        return [Repo(**json.loads(path.read_bytes())) for path in found]

    def create(self, repo: Repo) -> None:
        """Raises Refused: 400 (name), 409 (exists)."""
        check_repo_id(repo.type, repo.id)
        with self._lock:
            if self.get(repo.type, repo.id):
                raise HubRefusal(409, f"You already created this {repo.type} repo: {repo.id}")
            repo.created = _now()
            self.save(repo)

    def save(self, repo: Repo) -> None:
        atomic_write(self._folder(repo.type, repo.id) / "repo.json", canonical(asdict(repo)))

    @contextmanager
    def change(self, repo: Repo) -> Iterator[Repo]:
        """The repository as it is now, to be changed by nobody else meanwhile; saved at the end."""
        with self._lock:
            current = self.get(repo.type, repo.id)
            if current is None:
                raise HubRefusal(404, "Repository not found", "RepoNotFound")
            yield current
            self.save(current)

    def delete(self, repo: Repo) -> None:
        with self._lock:
            shutil.rmtree(self._folder(repo.type, repo.id))

    def _folder(self, repo_type: str, repo_id: str) -> Path:
        return self.root / "repos" / f"{repo_type}s" / repo_id

    # --- commits

    def resolve(self, repo: Repo, revision: str) -> str | None:
        """A branch, a tag or a whole commit id -> commit id."""
        known = repo.branches.get(revision) or repo.tags.get(revision)
        if not known and re.fullmatch(r"[0-9a-f]{40}", revision) and self._commit_file(repo, revision).exists():
            return revision
        return known

    def read_commit(self, repo: Repo, sha: str) -> Commit:
        raw = json.loads(self._commit_file(repo, sha).read_bytes())
        return Commit(**{**raw, "files": {path: Entry(**entry) for path, entry in raw["files"].items()}})

    def history(self, repo: Repo, sha: str) -> list[Commit]:
        """From `sha` back to the first commit."""
        found = [self.read_commit(repo, sha)]
        while found[-1].parent:
            found.append(self.read_commit(repo, found[-1].parent))
        return found

    def commit(
        self,
        repo: Repo,
        branch: str,
        changes: Iterable[TreeChange],
        *,
        author: str,
        title: str,
        description: str = "",
        parent: str | None = None,
    ) -> Commit:
        """One commit on a branch (which the first commit makes).

        Raises Refused: 404 (no such branch, or path to delete), 412 (`parent` is not the branch's tip), 400 (path).
        """
        with self.change(repo) as current:
            tip = current.branches.get(branch)
            if tip is None and (current.branches or not _BRANCH.fullmatch(branch)):
                raise HubRefusal(404, f"Invalid rev id: {branch[:80]}", "RevisionNotFound")
            if parent and parent != tip:
                raise HubRefusal(412, "A commit has happened since. Please refresh and try again.")
            files = _changed(self.read_commit(current, tip).files if tip else {}, changes)
            made = _seal(Commit("", tip, title, description, author, _now(), files))
            atomic_write(self._commit_file(current, made.sha), canonical(asdict(made)))
            current.branches[branch] = made.sha
        return made

    def _commit_file(self, repo: Repo, sha: str) -> Path:
        return self._folder(repo.type, repo.id) / "commits" / f"{sha}.json"


def _changed(before: dict[str, Entry], changes: Iterable[TreeChange]) -> dict[str, Entry]:
    files = dict(before)
    for path, entry in changes:
        check_path(path.removesuffix("/") if entry is None else path)
        if entry is not None:
            files[path] = entry
            continue
        gone = [name for name in files if name == path or (path.endswith("/") and name.startswith(path))]
        if not gone:
            raise HubRefusal(404, f"{path!r} does not exist and cannot be deleted", "EntryNotFound")
        for name in gone:
            del files[name]
    folders = {name[:at] for name in files for at, char in enumerate(name) if char == "/"}
    if clash := folders & files.keys():
        raise HubRefusal(400, f"{sorted(clash)[0]!r} would be a file and a folder")
    return dict(sorted(files.items()))


def _seal(commit: Commit) -> Commit:
    """The commit under its git id."""
    second = int(datetime.fromisoformat(commit.date).timestamp())
    who = f"{commit.author} <{commit.author}@embedded.invalid> {second} +0000"
    message = f"{commit.title}\n\n{commit.description}" if commit.description else commit.title
    tree = tree_id({path: entry.blob_id for path, entry in commit.files.items()})
    parent = f"parent {commit.parent}\n" if commit.parent else ""
    sha = git_id("commit", f"tree {tree}\n{parent}author {who}\ncommitter {who}\n\n{message}\n".encode())
    return Commit(sha, commit.parent, commit.title, commit.description, commit.author, commit.date, commit.files)


def _digest(path: Path, digest) -> str:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
