"""The Hub's HTTP API, as far as huggingface_hub and datasets use it for models and datasets."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from tunegate.embedded import hub_commit, hub_info
from tunegate.embedded.hub_access import (
    account,
    at_revision,
    check_gate,
    commit_at,
    json_body,
    open_repo,
    page,
    read_body,
    repo_type_of,
    split_revision,
    state,
)
from tunegate.embedded.hub_store import HubRefusal, Repo, check_path

GITATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.bin filter=lfs diff=lfs merge=lfs -text\n"
OCTET_STREAM = "application/octet-stream"
GATED_VALUES = (False, "auto", "manual")


# --- accounts and repositories


def whoami(request: Request) -> Response:
    asker = account(request, role="read")
    token = {"displayName": "embedded", "role": asker.role, "createdAt": "2026-01-01T00:00:00.000Z"}
    return JSONResponse(
        {
            "type": "user",
            "id": asker.user,
            "name": asker.user,
            "fullname": asker.user,
            "isPro": False,
            "canPay": False,
            "orgs": [],
            "email": f"{asker.user}@embedded.invalid",
            "emailVerified": True,
            "periodEnd": None,
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


async def create_repo(request: Request) -> Response:
    asker = account(request, role="write")
    body = await json_body(request)
    repo_type, repo_id = _named(body, asker.user)
    if repo_id.split("/")[0] != asker.user:
        namespace = repo_id.split("/")[0]
        raise HubRefusal(403, f"You don't have the rights to create a {repo_type} under the namespace {namespace!r}")
    private = body.get("visibility") == "private" or body.get("private") is True
    repo = Repo(repo_type, repo_id, asker.user, private=private)
    store = state(request).store
    try:
        store.create(repo)
    except HubRefusal as refused:
        if refused.status != 409:
            raise
        body = {"error": refused.message, "url": page(request, repo)}  # the client reads the address here
        return JSONResponse(body, 409, headers={"X-Error-Message": refused.message})
    entry = store.add(".gitattributes", GITATTRIBUTES)
    store.commit(repo, "main", [(".gitattributes", entry)], author=asker.user, title="initial commit")
    return JSONResponse({"url": page(request, repo), "name": repo_id, "id": repo_id, "type": repo_type})


async def delete_repo(request: Request) -> Response:
    asker = account(request, role="write")
    repo_type, repo_id = _named(await json_body(request), asker.user)
    repo = open_repo(request, repo_type=repo_type, repo_id=repo_id, write=True)
    state(request).store.delete(repo)
    return JSONResponse({})


def _named(body: dict[str, Any], user: str) -> tuple[str, str]:
    return str(body.get("type") or "model"), f"{body.get('organization') or user}/{body.get('name')}"


async def settings(request: Request) -> Response:
    repo, body = open_repo(request, write=True), await json_body(request)
    if body.get("gated", False) not in GATED_VALUES or body.get("visibility", "public") not in ("public", "private"):
        raise HubRefusal(400, f"Invalid settings: gated is one of {GATED_VALUES}, visibility public or private")
    with state(request).store.change(repo) as current:
        current.gated = body.get("gated", current.gated)
        current.private = body.get("visibility") == "private" if "visibility" in body else current.private
    visibility = "private" if current.private else "public"
    return JSONResponse({"private": current.private, "gated": current.gated, "visibility": visibility})


def list_repos(request: Request) -> Response:
    """Those that the asker may see, filtered by search, author, pipeline_tag and filter (tags)."""
    query, store, asker = request.query_params, state(request).store, account(request)
    rows = []
    for repo in store.all(repo_type_of(request)):
        hidden = not repo.branches or (repo.private and not (asker and asker.user == repo.owner))
        searched = query.get("search", "").lower() in repo.id.lower()
        if hidden or not searched or query.get("author") not in (None, repo.id.split("/")[0]):
            continue
        row = hub_info.repo_info(store, repo, commit_at(request, repo, "main"))
        if {*query.getlist("filter"), *query.getlist("pipeline_tag")} <= {*row["tags"]}:
            rows.append(row)
    limit = query.get("limit", "")[:9]
    return JSONResponse(rows[: int(limit)] if limit.isdecimal() else rows)


# --- reading one repository


def info(request: Request) -> Response:
    repo, commit, _ = at_revision(request)
    query = request.query_params
    store, expand = state(request).store, query.getlist("expand")
    return JSONResponse(hub_info.repo_info(store, repo, commit, blobs="blobs" in query, expand=expand))


def tree(request: Request) -> Response:
    _, commit, folder = at_revision(request)
    rows = hub_info.tree(commit, folder.rstrip("/"), request.query_params.get("recursive", "").lower() in ("true", "1"))
    if not rows and folder:
        raise HubRefusal(404, f"{folder[:100]} does not exist on {commit.sha}", "EntryNotFound")
    return JSONResponse(rows)


async def paths_info(request: Request) -> Response:
    _, commit, _ = at_revision(request)
    if "json" in request.headers.get("content-type", ""):
        paths = (await json_body(request)).get("paths", [])
    else:
        paths = parse_qs((await read_body(request)).decode("utf-8", "replace")).get("paths", [])
    rows = []
    for path in map(str, [paths] if isinstance(paths, str) else paths):
        if path in commit.files:
            rows.append(hub_info.file_row(path, commit.files[path]))
        elif any(name.startswith(f"{path.rstrip('/')}/") for name in commit.files):
            rows.append(hub_info.folder_row(commit, path.rstrip("/")))
    return JSONResponse(rows)


def refs(request: Request) -> Response:
    repo = open_repo(request)
    rows = {
        kind: [{"name": name, "ref": f"refs/{path}/{name}", "targetCommit": sha} for name, sha in found.items()]
        for kind, path, found in (("branches", "heads", repo.branches), ("tags", "tags", repo.tags))
    }
    return JSONResponse({**rows, "converts": [], "pullRequests": []})


def commits(request: Request) -> Response:
    repo, commit, _ = at_revision(request)
    rows = [
        {
            "id": past.sha,
            "title": past.title,
            "message": past.description,
            "date": past.date,
            "authors": [{"user": past.author}],
        }
        for past in state(request).store.history(repo, commit.sha)
    ]
    return JSONResponse(rows, headers={"X-Total-Count": str(len(rows))})


def auth_check(request: Request) -> Response:
    repo = open_repo(request, write=request.url.path.endswith("/write"))
    check_gate(request, repo)
    return JSONResponse({})


def resolve(request: Request) -> Response:
    """A file's bytes, whole or a range of them. The real Hub redirects to a CDN for large files; this one does not."""
    repo = open_repo(request)
    check_gate(request, repo)
    revision, path = split_revision(repo, request.path_params["rest"])
    commit = commit_at(request, repo, revision)
    entry = commit.files.get(path)
    if entry is None:
        raise HubRefusal(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": commit.sha})
    headers = {"ETag": f'"{entry.etag}"', "X-Repo-Commit": commit.sha}
    if entry.lfs:
        headers |= {"X-Linked-Etag": f'"{entry.etag}"', "X-Linked-Size": str(entry.size)}
    if request.method == "HEAD":  # of the whole file, even where a range is asked for
        headers |= {"Accept-Ranges": "bytes", "Content-Length": str(entry.size)}
        return Response(headers=headers, media_type=OCTET_STREAM)
    return FileResponse(state(request).store.blob(entry.sha256), headers=headers, media_type=OCTET_STREAM)


def without_namespace(request: Request) -> Response:
    """`name` alone, as old ids of the real Hub are: none is kept here."""
    open_repo(request, repo_id=request.path_params["name"])
    raise AssertionError("unreachable: every repository has a namespace")


# --- writing to one repository


async def reference(request: Request) -> Response:
    """POST branch/NAME {startingPoint}, POST tag/REVISION {tag}, DELETE of either."""
    repo, rest = open_repo(request, write=True), request.path_params["rest"]
    kind = request.path_params["ref"]
    body = await json_body(request) if request.method == "POST" else {}
    with state(request).store.change(repo) as current:
        known = {"branch": current.branches, "tag": current.tags}.get(kind)
        if known is None:
            raise HubRefusal(404, f"No such operation: {kind[:40]}")
        if request.method == "DELETE":
            if known.pop(rest, None) is None or "main" not in current.branches:
                raise HubRefusal(404, f"Invalid rev id: {rest[:80]}", "RevisionNotFound")
            return JSONResponse({})
        name = check_path(body.get("tag") if kind == "tag" else rest)
        if name in known:
            raise HubRefusal(409, f"Reference already exists: {name}")
        start = rest if kind == "tag" else str(body.get("startingPoint") or "main")
        known[name] = commit_at(request, current, start).sha
    return JSONResponse({})


REPO = "/api/{kind}/{ns}/{name}"
ROUTES = [  # (path, function, methods): the first that fits
    ("/api/whoami-v2", whoami, "GET"),
    ("/api/validate-yaml", hub_commit.validate_yaml, "POST"),
    ("/api/repos/create", create_repo, "POST"),
    ("/api/repos/delete", delete_repo, "DELETE"),
    ("/api/{kind}", list_repos, "GET"),
    (REPO, info, "GET"),
    (f"{REPO}/revision/{{rest:path}}", info, "GET"),
    (f"{REPO}/tree/{{rest:path}}", tree, "GET"),
    (f"{REPO}/paths-info/{{rest:path}}", paths_info, "POST"),
    (f"{REPO}/refs", refs, "GET"),
    (f"{REPO}/commits/{{rest:path}}", commits, "GET"),
    (f"{REPO}/auth-check", auth_check, "GET"),
    (f"{REPO}/auth-check/write", auth_check, "GET"),
    (f"{REPO}/settings", settings, "PUT"),
    (f"{REPO}/preupload/{{rest:path}}", hub_commit.preupload, "POST"),
    (f"{REPO}/commit/{{rest:path}}", hub_commit.commit, "POST"),
    (f"{REPO}/xet-write-token/{{rest:path}}", hub_commit.no_xet, "GET"),
    (f"{REPO}/xet-read-token/{{rest:path}}", hub_commit.no_xet, "GET"),
    (f"{REPO}/{{ref}}/{{rest:path}}", reference, "POST DELETE"),
    ("/lfs/objects/{ticket}", hub_commit.lfs_upload, "PUT"),
    ("/lfs/verify", hub_commit.lfs_verify, "POST"),
    ("/{ns}/{name}.git/info/lfs/objects/batch", hub_commit.lfs_batch, "POST"),
    ("/{kind}/{ns}/{name}.git/info/lfs/objects/batch", hub_commit.lfs_batch, "POST"),
    ("/{ns}/{name}/resolve/{rest:path}", resolve, "GET"),
    ("/{kind}/{ns}/{name}/resolve/{rest:path}", resolve, "GET"),
    ("/api/{kind}/{name}", without_namespace, "GET"),
    ("/api/{kind}/{name}/revision/{rest:path}", without_namespace, "GET"),
    ("/{name}/resolve/{rest:path}", without_namespace, "GET"),
]


def routes() -> list[Route]:
    return [Route(path, endpoint, methods=methods.split()) for path, endpoint, methods in ROUTES]
