"""Who may do what on the embedded Hub, and what a request is about."""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from tunegate.embedded.hub_store import Commit, HubRefusal, Repo, Store

MAX_JSON = 8 * 1024 * 1024  # of a request body that is read whole
BAD_TOKEN = "Invalid credentials in Authorization header"
NO_TOKEN = "Invalid username or password."


@dataclass(frozen=True)
class Account:
    user: str
    role: str

    def __post_init__(self):
        if self.role not in ("read", "write"):
            raise ValueError(f"a token's role is 'read' or 'write', not {self.role!r}")


@dataclass
class HubState:
    """What the routes share: in `request.app.state.hub`."""

    store: Store
    accounts: dict[str, Account]  # by token
    uploads: str = "regular"  # what `preupload` answers for large files: regular | lfs
    tickets: dict[str, str] = field(default_factory=dict)  # upload address -> SHA-256 that may be put there
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def sign(self, text: str) -> str:
        """What lets a client without a token fetch one address that it was told."""
        return hmac.new(self.key, text.encode(), "sha256").hexdigest()[:32]

    def signed(self, text: str, signature: str) -> bool:
        return hmac.compare_digest(self.sign(text).encode(), signature.encode("utf-8", "replace"))


def state(request: Request) -> HubState:
    return request.app.state.hub


def account(request: Request, *, role: str | None = None) -> Account | None:
    """Who asks; None without a token, unless a `role` is needed.

    Refused: 401 for an unknown token, or none where one is needed; 403 for a token with the lesser role.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not token.strip():
        found = None
    elif scheme.lower() != "bearer" or token.strip() not in state(request).accounts:
        raise HubRefusal(401, BAD_TOKEN)
    else:
        found = state(request).accounts[token.strip()]
    if role and found is None:
        raise HubRefusal(401, NO_TOKEN)
    if role == "write" and found.role != "write":
        raise HubRefusal(403, "Forbidden: this token has the role 'read', and 'write' is needed")
    return found


def open_repo(
    request: Request, *, repo_type: str | None = None, repo_id: str | None = None, write: bool = False
) -> Repo:
    """The repository that the path names, if the asker may see it (and `write` to it).

    Refused: 401 without a token, 404 with one, alike for missing and private; 403 for who may read but not write.
    """
    asker = account(request)
    repo_type = repo_type or repo_type_of(request)
    repo = state(request).store.get(repo_type, repo_id or "{ns}/{name}".format(**request.path_params))
    owns = bool(repo and asker and asker.user == repo.owner)
    if repo is None or (repo.private and not owns):
        raise (
            HubRefusal(404, "Repository not found", "RepoNotFound")
            if asker
            else HubRefusal(401, NO_TOKEN, "RepoNotFound")
        )
    if write:
        account(request, role="write")
        if not owns:
            raise HubRefusal(403, f"Forbidden: {asker.user} has no write access to {repo.id}")
    return repo


def repo_type_of(request: Request) -> str:
    """From the `models` or `datasets` of the path; a path without either is a model's."""
    kind = request.path_params.get("kind", "models")
    if kind not in ("models", "datasets"):
        raise HubRefusal(404, f"This Hub has no {kind[:40]!r}")
    return kind.removesuffix("s")


def check_gate(request: Request, repo: Repo) -> None:
    """The files of a gated repository are for its owner. Refused: 401 without a token, 403 with one."""
    asker = account(request)
    if repo.gated and (asker is None or asker.user != repo.owner):
        raise HubRefusal(
            403 if asker else 401,
            f"Access to {repo.type} {repo.id} is restricted and you are not in the authorized list. "
            f"Visit {page(request, repo)} to ask for access.",
            "GatedRepo",
        )


def page(request: Request, repo: Repo) -> str:
    return f"{request.base_url}{'' if repo.type == 'model' else 'datasets/'}{repo.id}"


def at_revision(request: Request, *, write: bool = False) -> tuple[Repo, Commit, str]:
    """(repository, commit, rest of the path) for a path that ends in `REVISION` or `REVISION/PATH`."""
    repo = open_repo(request, write=write)
    revision, rest = split_revision(repo, request.path_params.get("rest") or "main")
    return repo, commit_at(request, repo, revision), rest


def commit_at(request: Request, repo: Repo, revision: str) -> Commit:
    store = state(request).store
    sha = store.resolve(repo, revision)
    if sha is None:
        raise HubRefusal(404, f"Invalid rev id: {revision[:80]}", "RevisionNotFound")
    return store.read_commit(repo, sha)


def split_revision(repo: Repo, rest: str) -> tuple[str, str]:
    """`REVISION/PATH` -> (revision, path). Branch names hold slashes too, so the longest one that fits is taken."""
    for name in sorted([*repo.branches, *repo.tags], key=len, reverse=True):
        if rest == name or rest.startswith(f"{name}/"):
            return name, rest[len(name) + 1 :]
    revision, _, path = rest.partition("/")
    return revision, path


async def json_body(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Refused: 413 (too large), 400 (anything else)."""
    try:
        value = json.loads(await read_body(request) or b"{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise HubRefusal(400, "The body is not a JSON object")
    return value


async def read_body(request: Request, limit: int = MAX_JSON) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise HubRefusal(413, f"The body is larger than {limit} bytes")
        chunks.append(chunk)
    return b"".join(chunks)
