"""Writing to the embedded Hub: how files are to be sent, the commit itself, and LFS."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from typing import IO, Any

import yaml
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tunegate.embedded.hub_access import account, at_revision, json_body, open_repo, page, state
from tunegate.embedded.hub_store import Commit, HubRefusal, Repo, Store, TreeChange, check_path, is_lfs

MAX_COMMIT = 512 * 1024 * 1024  # of a commit's body, base64 included
MAX_LFS = 4 * 1024 * 1024 * 1024


async def preupload(request: Request) -> Response:
    """How the client should send each file.

    A client with hf_xet takes Xet for every "lfs" file, and Xet this Hub does not serve. So by default everything is
    "regular": in the commit's own body. What the Hub then keeps as LFS it decides alone (`is_lfs`), so that what is
    listed afterwards is the same.
    """
    _, tip, _ = at_revision(request, write=True)
    rows = []
    for file in _rows(await json_body(request), "files"):
        path, size = check_path(file.get("path")), file.get("size")
        large = isinstance(size, int) and is_lfs(path, size)
        mode = "lfs" if large and state(request).uploads == "lfs" else "regular"
        there = tip.files.get(path)
        known = there and (there.sha256 if mode == "lfs" else there.git_sha1)  # the client skips a file with this hash
        rows.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": known})
    return JSONResponse({"files": rows})


def _rows(body: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = body.get(key)
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise HubRefusal(400, f"{key!r} is not a list of objects")
    return found


async def commit(request: Request) -> Response:
    """NDJSON: a header, then files, LFS files and deletions. All or nothing."""
    repo, asker = open_repo(request, write=True), account(request)
    if request.query_params.get("create_pr"):
        raise HubRefusal(400, "This Hub has no pull requests: commit to a branch")
    store = state(request).store
    with store.spool() as body:
        await _spool(request, body, MAX_COMMIT)
        made = await run_in_threadpool(_commit, store, repo, request.path_params["rest"], asker.user, body)
    address = f"{page(request, repo)}/commit/{made.sha}"
    return JSONResponse({"success": True, "commitOid": made.sha, "commitUrl": address, "hookOutput": ""})


def _commit(store: Store, repo: Repo, branch: str, user: str, body: IO[bytes]) -> Commit:
    body.seek(0)
    lines = _lines(body)
    key, header = next(lines, ("", {}))
    title, description = header.get("summary"), header.get("description") or ""
    if key != "header" or not isinstance(title, str) or not isinstance(description, str):
        raise HubRefusal(400, "A commit begins with a header that has a summary")
    changes = [_change(store, key, value) for key, value in lines]
    parent = header.get("parentCommit")
    return store.commit(repo, branch, changes, author=user, title=title, description=description, parent=parent)


def _lines(body: IO[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in body:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            key, value = str(row["key"]), dict(row["value"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise HubRefusal(400, "A line of the commit is not {key, value}") from None
        yield key, value


def _change(store: Store, key: str, value: dict[str, Any]) -> TreeChange:
    path = check_path(str(value.get("path")).removesuffix("/"))
    if key == "file":
        text = str(value.get("content", ""))
        try:
            content = base64.b64decode(text, validate=True) if value.get("encoding") == "base64" else text.encode()
        except ValueError:
            raise HubRefusal(400, f"The content of {path!r} is not base64") from None
        return path, store.add(path, content)
    if key == "lfsFile":
        return path, store.entry(path, str(value.get("oid")), lfs=True)
    if key in ("deletedFile", "deletedFolder"):
        return (path if key == "deletedFile" else f"{path}/"), None
    raise HubRefusal(400, f"Unknown operation in a commit: {key[:40]!r}")


async def _spool(request: Request, file: IO[bytes], limit: int) -> None:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise HubRefusal(413, f"The body is larger than {limit} bytes")
        file.write(chunk)


# --- LFS


async def lfs_batch(request: Request) -> Response:
    open_repo(request, write=True)
    hub, rows = state(request), []
    for wanted in _rows(await json_body(request), "objects"):
        oid, size = str(wanted.get("oid")), wanted.get("size")
        row = {"oid": oid, "size": size}
        if not isinstance(size, int) or size > MAX_LFS:
            row["error"] = {"code": 422, "message": f"size is not at most {MAX_LFS}"}
        elif not hub.store.blob(oid).exists():
            ticket = secrets.token_urlsafe(24)
            hub.tickets[ticket] = oid
            row |= {
                "authenticated": True,
                "actions": {
                    "upload": {"href": f"{request.base_url}lfs/objects/{ticket}", "header": {}},
                    "verify": {"href": f"{request.base_url}lfs/verify", "header": {}},
                },
            }
        rows.append(row)
    return Response(json.dumps({"transfer": "basic", "objects": rows}), media_type="application/vnd.git-lfs+json")


async def lfs_upload(request: Request) -> Response:
    """The client sends no token here: the address itself, told only to who may write, is the permission."""
    hub, ticket = state(request), request.path_params["ticket"]
    if ticket not in hub.tickets:
        raise HubRefusal(403, "This upload address is unknown or used up")
    with hub.store.spool() as file:
        await _spool(request, file, MAX_LFS)
        await run_in_threadpool(hub.store.adopt, file, hub.tickets[ticket])
    hub.tickets.pop(ticket, None)
    return Response()


async def lfs_verify(request: Request) -> Response:
    account(request, role="write")
    body = await json_body(request)
    blob = state(request).store.blob(str(body.get("oid")))
    if not blob.exists() or blob.stat().st_size != body.get("size"):
        raise HubRefusal(422, "The object is not here, or has another size")
    return JSONResponse({})


def no_xet(request: Request) -> Response:
    raise HubRefusal(404, "This Hub does not serve Xet: set HF_HUB_DISABLE_XET=1 in the client")


async def validate_yaml(request: Request) -> Response:
    content, errors = str((await json_body(request)).get("content", "")), []
    try:
        yaml.safe_load(content.split("---", 2)[1] if content.lstrip().startswith("---") else "")
    except (yaml.YAMLError, IndexError) as error:
        errors = [{"message": f"The metadata is not YAML: {error}"}]
    return JSONResponse({"errors": errors, "warnings": []}, 400 if errors else 200)
