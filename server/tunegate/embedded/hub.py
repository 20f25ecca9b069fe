"""A Hub on loopback: what the demo and the tests talk to with the unmodified huggingface_hub and datasets clients.

    with EmbeddedHub(folder, tokens={"hf_...": ("me", "write")}) as hub:
        hub.add_repo("model", "me/tiny", {"config.json": b"{}"})
        HfApi(endpoint=hub.url).model_info("me/tiny")

It also breaks on demand (`hub.faults`) and remembers every request (`hub.log`). The parts: hub_store (disk), hub_access
(who may), hub_api and hub_commit (routes), hub_info (derived facts), hub_viewer and hub_tables (the dataset viewer, on
the same host).
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunegate.embedded import hub_api, hub_viewer
from tunegate.embedded.hub_access import Account, HubState
from tunegate.embedded.hub_store import HubRefusal, Repo, Store, check_path

START_S, STOP_S = 10.0, 5.0


@dataclass
class Fault:
    """Answers whose path (with query) matches `path` break, `times` times or, by default, always.

    `status`: that error instead of the answer. `half_body`: the answer's own headers, half of its bytes, then the
    connection is closed.
    """

    path: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int | None = None
    half_body: bool = False
    method: str | None = None

    def __post_init__(self):
        if (self.status is None) == (not self.half_body):
            raise ValueError("a Fault has either a status or half_body=True")


@dataclass
class Served:
    """One request. `status` and `bytes_sent` grow while it is answered."""

    method: str
    path: str
    query: str
    authorized: bool  # an Authorization header came with it; its value is not kept
    range: str | None
    status: int = 0
    bytes_sent: int = 0  # of the body

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path


class EmbeddedHub:
    """Serves the repositories kept below `root` on a free port of 127.0.0.1, in a thread, while the `with` block runs.

    tokens: token -> (user, "read" | "write"), or just the user, who may write. uploads: how clients are told to send
    large files: "regular" (in the commit, works with every client) or "lfs" (for clients with HF_HUB_DISABLE_XET=1).
    extra_routes come first.
    """

    def __init__(
        self,
        root: Path | str,
        tokens: Mapping[str, tuple[str, str] | str] | None = None,
        *,
        uploads: Literal["regular", "lfs"] = "regular",
        extra_routes: Sequence[BaseRoute] = (),
    ):
        self.store = Store(Path(root))
        self.faults: list[Fault] = []
        self.log: list[Served] = []
        self.url = ""
        known = {token: (who, "write") if isinstance(who, str) else who for token, who in (tokens or {}).items()}
        routes = [*extra_routes, *hub_viewer.routes(), *hub_api.routes()]
        app = Starlette(routes=routes, exception_handlers={HubRefusal: _refusal})
        app.router.redirect_slashes = False  # the Hub does not, and a redirect would hide a wrong address
        app.state.hub = HubState(self.store, {token: Account(*who) for token, who in known.items()}, uploads)
        self.app: ASGIApp = _Watched(app, self.faults, self.log)

    def __enter__(self) -> EmbeddedHub:
        listener = socket.create_server(("127.0.0.1", 0))
        # asyncio sets it only on sockets that were made for TCP by name: without it each answer waits 40 ms for an ACK
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = uvicorn.Config(self.app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True, name="embedded-hub")
        self._thread.start()
        deadline = time.monotonic() + START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the embedded Hub did not start")
            time.sleep(0.005)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_S)

    def add_repo(
        self,
        repo_type: str,
        repo_id: str,
        files: Mapping[str, bytes | Path],
        *,
        private: bool = False,
        gated: str | bool = False,
        owner: str | None = None,
    ) -> str:
        """One commit of `files` to a repository, which is made if need be. Returns the commit id.

        `owner` is the user who may write to it, by default the one of its namespace. Raises Refused for a bad name or
        path; what is refused is not committed.
        """
        changes = [(check_path(path), self.store.add(path, content)) for path, content in files.items()]
        gated = "auto" if gated is True else gated
        repo = self.store.get(repo_type, repo_id)
        if repo is None:
            repo = Repo(repo_type, repo_id, owner or repo_id.split("/")[0], private, gated)
            self.store.create(repo)
        with self.store.change(repo) as current:
            current.private, current.gated = private, gated
        return self.store.commit(repo, "main", changes, author=repo.owner, title=f"Add {len(changes)} files").sha

    def requests(self, path: str = "", method: str | None = None) -> list[Served]:
        """The logged requests whose path and query match the regular expression `path`."""
        return [row for row in self.log if method in (None, row.method) and re.search(path, row.target)]

    def bytes_sent(self, path: str = "") -> int:
        return sum(row.bytes_sent for row in self.requests(path))


def _refusal(request: Request, refused: HubRefusal) -> Response:
    # header values are latin-1: a name that a client made up may be anything
    headers = {"X-Error-Message": refused.message.encode("ascii", "replace").decode(), **refused.headers}
    if refused.code:
        headers["X-Error-Code"] = refused.code
    return JSONResponse({"error": refused.message}, refused.status, headers=headers)


class _Watched:
    """Between the server and the app: the log, and the faults."""

    def __init__(self, app: ASGIApp, faults: list[Fault], log: list[Served]):
        self.app, self.faults, self.log = app, faults, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode("latin-1")
        row = Served(scope["method"], scope["path"], query, "authorization" in headers, headers.get("range"))
        fault = self._fault(row)
        # before the answer, and counted before each part goes out: who has the answer finds it in the log
        self.log.append(row)

        async def counted(message: Message) -> None:
            row.status = message.get("status", row.status)
            row.bytes_sent += len(message.get("body", b"")) if row.method != "HEAD" else 0
            await send(message)

        answer = self.app if fault is None or fault.half_body else _error(fault)
        await answer(scope, receive, _halved(counted) if fault and fault.half_body else counted)

    def _fault(self, row: Served) -> Fault | None:
        for fault in self.faults:
            if fault.times != 0 and fault.method in (None, row.method) and re.search(fault.path, row.target):
                fault.times = fault.times and fault.times - 1
                return fault
        return None


def _error(fault: Fault) -> Response:
    message = f"Injected {fault.status}"
    return JSONResponse({"error": message}, fault.status, headers={"X-Error-Message": message, **fault.headers})


def _halved(send: Send) -> Send:
    """Lets half of the announced bytes through. The server closes a connection whose answer stays incomplete."""
    left = 0

    async def half(message: Message) -> None:
        nonlocal left
        if message["type"] == "http.response.start":
            left = next((int(value) for name, value in message["headers"] if name.lower() == b"content-length"), 0) // 2
            await send(message)
        elif left:
            body = message.get("body", b"")[:left]
            left -= len(body)
            await send({**message, "body": body, "more_body": True})

    return half
