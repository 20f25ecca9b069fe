"""A repository of the Hub: how its id looks, and what the Hub says of it at one commit."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from tunegate.errors import ToolFailure
from tunegate.evidence.seal import redacted

RepoType = Literal["model", "dataset"]
_REPO_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")


@dataclass(frozen=True)
class RepoInfo:
    """One repository at one commit. `files` is path -> bytes (None where the Hub does not say)."""

    id: str
    sha: str
    private: bool
    gated: str | None
    tags: list[str]
    card: dict[str, Any]
    files: dict[str, int | None]
    pipeline_tag: str | None = None
    library: str | None = None
    hashes: dict[str, str] = field(default_factory=dict)  # path -> sha256 of a large file, git's blob id of another


def check_revision(revision: str) -> None:
    """Raises ToolFailure(invalid_input) for what can be no branch, tag or commit."""
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise ToolFailure(
            "invalid_input",
            redacted(f"revision = {redacted(revision)[:80]!r} is no branch, tag or commit: e.g. 'main'"),
        )


def check_repo_id(value: object, field: str) -> str:
    """The id, or ToolFailure(invalid_input) that says how one looks."""
    text = value if isinstance(value, str) else repr(value)
    ok = isinstance(value, str) and _REPO_ID.fullmatch(value) and len(value) <= 96
    if ok and not ("--" in value or ".." in value or value.endswith((".git", "-", "."))):
        return value
    hint = ""
    if found := re.search(r"://[^/]+/(?:datasets/)?([^/\s]+/[^/\s?#]+)", text):
        hint = f"; from that address it would be {found[1]!r}"
    raise ToolFailure(
        "invalid_input",
        redacted(
            f"{field} = {redacted(text)[:100]!r} is no Hub id: give 'name' or 'namespace/name' of letters, digits, '.', '_' and '-', "
            f"at most 96 characters, e.g. 'facebook/convnext-tiny-224'{hint}"
        ),
    )


def repo_info(repo_id: str, raw: dict[str, Any], url: str) -> RepoInfo:
    """The Hub's JSON -> RepoInfo; whatever has an unexpected type is left out."""
    sha = raw.get("sha")
    if not isinstance(sha, str) or not re.fullmatch(r"[0-9a-f]{40,64}", sha):
        raise ToolFailure("unavailable", f"{url} answered without a commit: try again later")
    files = {
        entry["rfilename"]: entry.get("size") if isinstance(entry.get("size"), int) else None
        for entry in raw.get("siblings") or []
        if isinstance(entry, dict) and isinstance(entry.get("rfilename"), str)
    }
    card = raw.get("cardData") if isinstance(raw.get("cardData"), dict) else {}
    text = {key: value if isinstance(value := raw.get(key), str) else None for key in ("pipeline_tag", "library_name")}
    return RepoInfo(
        id=repo_id,
        sha=sha,
        private=raw.get("private") is True,
        gated=str(raw["gated"]) if raw.get("gated") else None,
        tags=[tag[:80] for tag in raw.get("tags") or [] if isinstance(tag, str)][:50],
        card=card,
        files=files,
        pipeline_tag=text["pipeline_tag"],
        library=text["library_name"],
        hashes={
            entry["rfilename"]: digest
            for entry in raw.get("siblings") or []
            if isinstance(entry, dict) and entry.get("rfilename") in files and (digest := _hash(entry))
        },
    )


def _hash(entry: dict[str, Any]) -> str | None:
    lfs = entry.get("lfs")
    found = lfs.get("sha256") if isinstance(lfs, dict) else entry.get("blobId")
    return found if isinstance(found, str) and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", found) else None
