"""A small Docker Engine API on a unix socket, for the real SDK to talk to. It can refuse, stall, die and lie on demand.

Bodies and error texts are a real engine's (Docker 20.10.24), which tests/engine/test_engine_real.py asks for them again.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
import socketserver
import struct
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

# What a real engine says: 20.10.24, except where noted as reported by others.
NO_GPU = 'could not select device driver "" with capabilities: [[gpu]]'
NO_CDI = 'could not select device driver "cdi" with capabilities: []'
NO_CDI_DEVICE = (  # reported; 25 and later
    "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=all"
)
NO_RUNTIME = "Unknown runtime specified nvidia"
NO_DRIVER = (  # reported; container toolkit 1.17
    "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error "
    "during container init: error running hook #0: error running hook: exit status 1, stdout: , stderr: Auto-detected mode "
    "as 'legacy'\nnvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1: cannot open shared "
    "object file: no such file or directory: unknown"
)
NO_SOURCE = 'invalid mount config for type "bind": bind source path does not exist: /nonexistent'
NAME_TAKEN = (
    'Conflict. The container name "/twice" is already in use by container "f3090f0be8200a0032661aa9131097f84034ff93". '
    "You have to remove (or rename) that container to be able to reuse that name."
)
NO_RLIMIT = (
    "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error "
    "during container init: error setting rlimit type 8: operation not permitted: unknown"
)
# reported; the disk of the engine itself
NO_SPACE = "mkdir /var/lib/docker/overlay2/5d0c-init: no space left on device"
NO_NETWORK = 'Get "https://nvcr.io/v2/": dial tcp: lookup nvcr.io on 192.0.2.53:53: no such host'
NO_PULL = (
    "pull access denied for nope, repository does not exist or may require 'docker login': "
    "denied: requested access to the resource is denied"
)
BAD_SYNTAX = "dockerfile parse error line 2: unknown instruction: RUNN"
NO_DOCKERFILE = "Cannot locate specified Dockerfile: Dockerfile"
NO_COPY = (
    "COPY failed: file not found in build context or excluded by .dockerignore: stat nope.txt: file does not exist"
)
NO_BUILDKIT = (
    "the --mount option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images "
    "with BuildKit enabled"
)
RUN_FAILED = "The command '/bin/sh -c pip install -r requirements.txt' returned a non-zero code: 1"

IMAGE_ID = "sha256:f1bc8c31c5a20c11ce149bc6527df6bb8205b751d73fe49120e8ea4ea8c2ab0c"
BUILD = [
    {"stream": "Step 1/2 : FROM base:1"},
    {"stream": "\n"},
    {"stream": " ---> b22893a9e963\n"},
    {"stream": "Step 2/2 : RUN pip install -r requirements.txt"},
    {"stream": "\n"},
    {"stream": " ---> Running in cfa51cba2763\n"},
    {"stream": "\x1b[91mWARNING: a newer pip\n\x1b[0m"},
    {"stream": "installed\n"},
]
BUILT = [
    {"aux": {"ID": IMAGE_ID}},
    {"stream": "Successfully built f1bc8c31c5a2\n"},
    {"stream": "Successfully tagged run:1\n"},
]
NEVER = "0001-01-01T00:00:00Z"


@dataclass
class Rule:
    """What to do instead of answering as an engine does."""

    method: str
    pattern: str
    status: int = 200
    body: Any = None
    stall_s: float = 0.0
    cut: bool = False  # close the connection in the middle
    left: int = 1_000_000


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    body: bytes


@dataclass
class Container:
    id: str
    name: str
    config: dict[str, Any]
    created: int
    state: dict[str, Any]
    output: list[tuple[str, bytes]] = field(default_factory=list)


def stamp() -> str:
    """Now, as an engine writes it in logs: fixed width, nanoseconds, so that it sorts."""
    nanoseconds = time.time_ns()
    return (
        datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{nanoseconds % 10**9:09d}Z"
    )


class FakeEngine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """`with FakeEngine(path) as fake:` serves until the end. Everything public may be changed by a test."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, socket_path: Path):
        super().__init__(str(socket_path), _Handler)
        self.host = f"unix://{socket_path}"
        self.version = {
            "Version": "20.10.24+dfsg1",
            "ApiVersion": "1.41",
            "MinAPIVersion": "1.12",
            "Components": [{"Name": "Engine", "Version": "20.10.24+dfsg1"}],
        }
        self.info: dict[str, Any] = {
            "ID": "GQVM",
            "Driver": "overlay2",
            "DriverStatus": [["Backing Filesystem", "extfs"]],
            "DockerRootDir": str(socket_path.parent),
            "Runtimes": {"runc": {"path": "runc"}},
            "DefaultRuntime": "runc",
            "LiveRestoreEnabled": False,
            "SecurityOptions": ["name=seccomp,profile=default"],
            "CDISpecDirs": None,
        }
        self.images: dict[str, dict[str, Any]] = {
            "run:1": {"Id": IMAGE_ID, "Size": 7, "Config": {"Env": ["PATH=/bin"], "Labels": {"a": "b"}}}
        }
        self.containers: dict[str, Container] = {}
        self.build_events = [*BUILD, *BUILT]
        self.dangling: dict[str, set[str]] = {}  # nameless image -> its labels, as "name=value"
        self.tags: dict[str, str] = {}  # name:tag -> image
        self.on_start: Callable[[Container], None] = lambda container: None  # after a start; may `write` and `end` it
        self.rules: list[Rule] = []
        self.requests: list[Request] = []
        self.changed = threading.Condition()
        self.dead = False
        self._ids = itertools.count(1)

    def __enter__(self) -> FakeEngine:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.die()
        self.shutdown()
        self.server_close()

    def on(self, method: str, pattern: str, **rule: Any) -> None:
        """Answer requests that match (path without the version) by this rule, before any older one."""
        self.rules.insert(0, Rule(method, pattern, **rule))

    def refuse(self, method: str, pattern: str, status: int, message: str) -> None:
        self.on(method, pattern, status=status, body={"message": message})

    def die(self) -> None:
        """Every stream ends, as when the daemon is killed."""
        with self.changed:
            self.dead = True
            self.changed.notify_all()

    def asked(self, method: str, pattern: str) -> list[Request]:
        return [r for r in self.requests if r.method == method and re.search(pattern, r.path)]

    def context(self) -> tarfile.TarFile:
        """The build context that was sent last."""
        return tarfile.open(fileobj=io.BytesIO(self.asked("POST", "^/build$")[-1].body))

    def create(self, name: str, config: dict[str, Any]) -> Container:
        number = next(self._ids)
        state = {"Status": "created", "ExitCode": 0, "Error": "", "OOMKilled": False}
        made = Container(f"{number:064x}", name, config, number, {**state, "StartedAt": NEVER, "FinishedAt": NEVER})
        self.containers[made.id] = made
        return made

    def running(self, **labels: str) -> Container:
        made = self.create("hft", {"Labels": labels})
        made.state.update(Status="running", StartedAt=stamp())
        return made

    def write(self, container: Container, text: str) -> None:
        with self.changed:
            container.output.append((stamp(), text.encode()))
            self.changed.notify_all()

    def end(self, container: Container, code: int, **state: Any) -> None:
        with self.changed:
            container.state.update(Status="exited", ExitCode=code, FinishedAt=stamp(), **state)
            self.changed.notify_all()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeEngine

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client hung up
            super().handle()

    def log_message(self, *_) -> None:
        pass

    def _dispatch(self) -> None:
        url = urlsplit(self.path)
        path = re.sub(r"^/v[\d.]+", "", unquote(url.path))
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        request = Request(self.command, path, query, self._body())
        self.server.requests.append(request)
        for rule in self.server.rules:
            if rule.left and rule.method == self.command and re.search(rule.pattern, path):
                rule.left -= 1
                return self._obey(rule)
        for method, pattern, answer in ROUTES:
            if method == self.command and (match := re.fullmatch(pattern, path)):
                return answer(self, request, *match.groups())
        self._json(404, {"message": "page not found"})

    do_GET = do_POST = do_DELETE = do_HEAD = _dispatch

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _obey(self, rule: Rule) -> None:
        if rule.stall_s:
            with self.server.changed:
                self.server.changed.wait_for(lambda: self.server.dead, rule.stall_s)
        if rule.cut:
            self.close_connection = True
            if rule.body is not None:
                self._begin_stream()
                self._chunk(rule.body)
            return
        body = rule.body if isinstance(rule.body, bytes) else json.dumps(rule.body).encode()
        self._whole(rule.status, body)

    def _json(self, status: int, value: Any) -> None:
        self._whole(status, b"" if status in (204, 304) else json.dumps(value).encode())

    def _whole(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _container(self, key: str) -> Container | None:
        found = self.server.containers.get(key)
        if found is None:
            self._json(404, {"message": f"No such container: {key}"})
        return found

    # -- one method for each endpoint

    def ping(self, _: Request) -> None:
        self._whole(200, b"OK")

    def show_version(self, _: Request) -> None:
        self._json(200, self.server.version)

    def show_info(self, _: Request) -> None:
        self._json(200, self.server.info)

    def build(self, _: Request) -> None:
        self._begin_stream()
        for event in self.server.build_events:
            self._chunk(json.dumps(event).encode() + b"\r\n")
        self._chunk(b"")

    def list_images(self, request: Request) -> None:
        """All named ones; by labels, those of the nameless ones that a test put into `dangling`."""
        wanted = set(json.loads(request.query.get("filters", "{}")).get("label", []))
        rows = [{"Id": key} for key, labels in self.server.dangling.items() if wanted <= labels]
        if not wanted:
            rows = [{"RepoTags": [name], **found} for name, found in self.server.images.items()]
        self._json(200, rows)

    def tag_image(self, request: Request, name: str) -> None:
        self.server.tags[f"{request.query['repo']}:{request.query['tag']}"] = name
        self._whole(201, b"")

    def delete_image(self, _: Request, name: str) -> None:
        self._json(200 if self.server.dangling.pop(name, None) else 404, [])

    def inspect_image(self, _: Request, name: str) -> None:
        found = self.server.images.get(name)
        self._json(200, found) if found else self._json(404, {"message": f"No such image: {name}"})

    def create(self, request: Request) -> None:
        config, name = json.loads(request.body), request.query["name"]
        if config["Image"] not in {*self.server.images, *(found["Id"] for found in self.server.images.values())}:
            return self._json(404, {"message": f"No such image: {config['Image']}"})
        if any(other.name == name for other in self.server.containers.values()):
            return self._json(409, {"message": NAME_TAKEN})
        self._json(201, {"Id": self.server.create(name, config).id, "Warnings": []})

    def list(self, request: Request) -> None:
        wanted = json.loads(request.query.get("filters", "{}")).get("label", [])
        rows = []
        for made in self.server.containers.values():
            labels = made.config.get("Labels") or {}
            if all(f"{key}={labels.get(key)}" == label for label in wanted for key in [label.partition("=")[0]]):
                rows.append({"Id": made.id, "Names": [f"/{made.name}"], "Labels": labels, "Created": made.created})
        self._json(200, rows)

    def inspect(self, _: Request, key: str) -> None:
        if found := self._container(key):
            config = {**found.config, "Tty": False}
            self._json(200, {"Id": found.id, "Name": f"/{found.name}", "Config": config, "State": found.state})

    def start(self, _: Request, key: str) -> None:
        if found := self._container(key):
            found.state.update(Status="running", StartedAt=stamp())
            self.server.on_start(found)
            self._json(204, None)

    def stop(self, _: Request, key: str) -> None:
        if found := self._container(key):
            running = found.state["Status"] == "running"
            if running:
                self.server.end(found, 143)
            self._json(204 if running else 304, None)

    def kill(self, _: Request, key: str) -> None:
        if found := self._container(key):
            if found.state["Status"] != "running":
                return self._json(
                    409, {"message": f"Cannot kill container: {key}: Container {key[:12]} is not running"}
                )
            self.server.end(found, 137)
            self._json(204, None)

    def wait(self, _: Request, key: str) -> None:
        if found := self._container(key):
            with self.server.changed:
                self.server.changed.wait_for(lambda: found.state["Status"] == "exited" or self.server.dead)
            self._json(200, {"StatusCode": found.state["ExitCode"], "Error": None})

    def delete(self, request: Request, key: str) -> None:
        if found := self._container(key):
            if found.state["Status"] == "running" and request.query.get("force") not in ("1", "True", "true"):
                text = f"You cannot remove a running container {key}. Stop the container before attempting removal or force remove"
                return self._json(409, {"message": text})
            del self.server.containers[key]
            self._json(204, None)

    def logs(self, request: Request, key: str) -> None:
        found = self._container(key)
        if not found:
            return
        since, sent = float(request.query.get("since") or 0), 0
        self._begin_stream()
        while True:
            with self.server.changed:
                self.server.changed.wait_for(
                    lambda sent=sent: len(found.output) > sent or found.state["Status"] == "exited" or self.server.dead
                )
                fresh, over = found.output[sent:], found.state["Status"] == "exited" or self.server.dead
            sent += len(fresh)
            for at, data in fresh:
                if datetime.fromisoformat(at).timestamp() >= since:
                    line = (at.encode() + b" " if request.query.get("timestamps") in ("1", "True") else b"") + data
                    self._chunk(struct.pack(">BxxxL", 1, len(line)) + line)
            if over and sent == len(found.output):
                return self._chunk(b"")


KEY = r"/containers/([^/]+)"
ROUTES = (
    ("GET", "/_ping", _Handler.ping),
    ("GET", "/version", _Handler.show_version),
    ("GET", "/info", _Handler.show_info),
    ("POST", "/build", _Handler.build),
    ("GET", "/images/json", _Handler.list_images),
    ("GET", "/images/(.+)/json", _Handler.inspect_image),
    ("POST", "/images/(.+)/tag", _Handler.tag_image),
    ("DELETE", "/images/(.+)", _Handler.delete_image),
    ("POST", "/containers/create", _Handler.create),
    ("GET", "/containers/json", _Handler.list),
    ("GET", f"{KEY}/json", _Handler.inspect),
    ("GET", f"{KEY}/logs", _Handler.logs),
    ("POST", f"{KEY}/start", _Handler.start),
    ("POST", f"{KEY}/stop", _Handler.stop),
    ("POST", f"{KEY}/kill", _Handler.kill),
    ("POST", f"{KEY}/wait", _Handler.wait),
    ("DELETE", KEY, _Handler.delete),
)
