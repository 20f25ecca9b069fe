"""Building a rendered project's image on a real engine, on the stand-in of NVIDIA's image. Its one requirement is made here."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import docker.errors
import pytest

from tests import sealed
from tests.engine.conftest import STANDIN
from tunegate import cli
from tunegate.clients import network
from tunegate.clients.docker import engine as engines
from tunegate.errors import ToolFailure
from tunegate.jobs import snapshot
from tunegate.platforms.local_docker import docker_stage, wheelhouse
from tunegate.project import render
from tunegate.rundir import Run, hash_files
from tunegate.stage_table import MODULES

WHEEL = "tinypackage-1.2.3-py3-none-any.whl"
PASSWORD = "pa55word-in-a-url"
FETCHES = ("TUNEGATE_WHEELHOUSE", *wheelhouse.INDEX, *wheelhouse.CA_BUNDLES, *network.PROXIES)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    info = "tinypackage-1.2.3.dist-info"
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        archive.writestr("tinypackage.py", "ANSWER = 42\n")
        # torch is in the image already: nothing may fetch it
        needs = "Metadata-Version: 2.1\nName: tinypackage\nVersion: 1.2.3\nRequires-Dist: torch>=2\n"
        archive.writestr(f"{info}/METADATA", needs)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return folder


@pytest.fixture
def run(tmp_path, ngc_image, engine, monkeypatch):
    for name in FETCHES:
        monkeypatch.delenv(name, raising=False)
    short = f"built{time.time_ns()}"
    config = sealed.CONFIG.model_copy(
        update={
            "platform": "local-docker",
            "ngc_image": ngc_image.name,
            "ngc_image_digest": ngc_image.digest,
            "model_id": f"org/{short}",
            "output_dir": None,
        }
    )
    config = render.with_defaults(config, {})
    (tmp_path / "run").mkdir()
    made = sealed.build(Run(tmp_path / "run"), until="image", config=config)
    sealed.put(made, {**render.render_files(config, {}), "requirements.txt": "tinypackage==1.2.3\n"})
    yield made
    for container in engine.api.containers(all=True, filters={"label": f"tunegate.run={made.path}"}):
        engine.api.remove_container(container["Id"], force=True)
    own = engine.api.images(filters={"label": f"tunegate.run={made.path}"})
    for image in [tag(made), *(image["Id"] for image in own)]:
        with contextlib.suppress(docker.errors.APIError):
            engine.api.remove_image(image, force=True)


def tag(run: Run) -> str:
    return f"run-{run.config().short_name}:latest"


def start(run: Run, **env: str) -> subprocess.Popen:
    sealed.spec(run, "build", "b1", docker_stage.given(run, run.config(), "build", ()))
    files = hash_files(run.path, ("Dockerfile", "requirements*.txt", *MODULES))
    snapshot.lay(snapshot.of(run, "build"), {}, files)
    argv = [sys.executable, "-P", "-m", "tunegate.platforms.local_docker.docker_stage", run.path, "build", "b1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(argv, env={**os.environ, **env}, cwd=run.path, **pipes)


def build(run: Run, expect: int = 0, **env: str) -> str:
    """What the build stage prints."""
    process = start(run, **env)
    said = process.communicate()[0]
    assert process.returncode == expect, said
    return said


def steps(said: str) -> dict[str, bool]:
    """{instruction: taken from the cache}, for every step after FROM."""
    parts = re.split(r"^Step \d+/\d+ : ", said, flags=re.M)[2:]
    return {part.splitlines()[0]: "Using cache" in part for part in parts}


def by_hand(run: Run) -> str:
    argv = ["docker", "build", "--network", "none", "--tag", tag(run), "."]
    env = {**os.environ, "DOCKER_BUILDKIT": "0"}
    return subprocess.run(argv, cwd=run.path, env=env, check=True, capture_output=True, text=True).stdout


def lay_wheels(run: Run, wheels: Path) -> None:
    (run.path / "wheelhouse").mkdir()
    (run.path / "wheelhouse" / WHEEL).write_bytes((wheels / WHEEL).read_bytes())


def report(run: Run) -> dict:
    return json.loads(snapshot.of(run, "build").at("reports/build.json").read_text())


def image_of(engine, name: str) -> str | None:
    with contextlib.suppress(docker.errors.ImageNotFound):
        return engine.images.get(name).id
    return None


# -- one cache


@pytest.mark.parametrize(("first", "umask"), [("server", 0o022), ("by hand", 0o077)])
def test_the_server_and_a_build_by_hand_share_the_cache(run, wheels, engine, first, umask):
    (run.path / "train.py").write_text((run.path / "train.py").read_text() + f"# {time.time_ns()}\n")
    lay_wheels(run, wheels)
    for path in run.path.rglob("*"):
        path.chmod(path.stat().st_mode & ~umask)
    earlier = os.umask(umask)  # under which the server makes the project and its private copy
    try:
        before, again = (build(run), by_hand(run)) if first == "server" else (by_hand(run), build(run))
    finally:
        os.umask(earlier)
    assert len(steps(before)) >= 7 and not all(steps(before).values())
    taken = steps(again)
    assert taken.pop(f"LABEL tunegate.run={run.path}", None) in (None, False)  # the server's own last step
    assert len(taken) == 8 and all(taken.values()), again


def test_after_a_change_only_what_depends_on_it_is_built_and_the_old_image_goes(run, wheels, engine):
    build(run, TUNEGATE_WHEELHOUSE=str(wheels))
    old = report(run)["image_id"]
    assert report(run)["packages"]["tinypackage"] == "1.2.3" and report(run)["wheels"] == 1
    (run.path / "infer.py").write_text((run.path / "infer.py").read_text() + "# one line more\n")
    holder = engine.api.create_container(old, "true", labels={"tunegate.run": str(run.path)})["Id"]
    said = build(run, TUNEGATE_WHEELHOUSE=str(wheels))
    assert [line.split()[0] for line, taken in steps(said).items() if taken] == ["WORKDIR", "COPY", "COPY", "RUN"]
    assert image_of(engine, old) == old  # a container still stands on it
    engine.api.remove_container(holder)
    (run.path / "infer.py").write_text((run.path / "infer.py").read_text() + "# and one\n")
    build(run, TUNEGATE_WHEELHOUSE=str(wheels))
    mine = engine.api.images(filters={"label": f"tunegate.run={run.path}"})
    assert [image["Id"] for image in mine] == [report(run)["image_id"]] == [image_of(engine, tag(run))]


# -- where packages come from


class Index(BaseHTTPRequestHandler):
    """A package index of one package that asks for a password; as a proxy it answers for any host."""

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Proxy-Authorization")))
        wanted = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != wanted and self.headers.get("Proxy-Authorization") != wanted:
            return self._send(401, b"who are you?", {"WWW-Authenticate": 'Basic realm="index"'})
        if self.path.endswith(WHEEL):
            return self._send(200, (self.server.wheels / WHEEL).read_bytes())
        known = "tinypackage" in self.path
        return self._send(200 if known else 404, f'<a href="/files/{WHEEL}">{WHEEL}</a>'.encode() if known else b"")

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None):
        self.send_response(status)
        for name, value in {"Content-Type": "text/html", "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def index(wheels):
    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        server.wheels, server.seen = wheels, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def inspected(engine, run):
    """What `docker inspect` says of every container of this engine that starts meanwhile, as one text."""
    found: list[str] = []
    stream = engine.api.events(decode=True, filters={"type": "container"})

    def watch():
        for event in stream:
            if event.get("Action") == "start":
                with contextlib.suppress(docker.errors.NotFound):
                    found.append(json.dumps(engine.api.inspect_container(event["Actor"]["ID"])))

    threading.Thread(target=watch, daemon=True).start()
    yield found
    stream.close()


def whole_image(engine, image_id: str) -> bytes:
    """Its configuration, history, and every file of every layer."""
    packed = io.BytesIO(b"".join(engine.api.get_image(image_id)))
    parts = [json.dumps([engine.api.history(image_id), engine.api.inspect_image(image_id)]).encode()]
    with tarfile.open(fileobj=packed) as archive:
        parts += [archive.extractfile(member).read() for member in archive if member.isfile()]
    return b"".join(parts)


@pytest.mark.slow  # 15 s
def test_an_index_with_a_password_leaves_it_nowhere(run, index, engine, inspected):
    url = f"http://me:{PASSWORD}@127.0.0.1:{index.server_port}/simple"
    said = build(run, PIP_INDEX_URL=url)
    assert any(path.endswith(WHEEL) for path, _ in index.seen), "the index was not asked"
    assert "torch" not in str(index.seen)  # the base has it
    assert report(run)["packages"]["tinypackage"] == "1.2.3" and report(run)["wheels"] == 1
    own = [text for text in inspected if "tunegate.run" in text]
    assert len(own) >= 2 and not any(PASSWORD in text for text in inspected)
    assert PASSWORD not in said and PASSWORD.encode() not in whole_image(engine, report(run)["image_id"])
    cache = Path(os.environ["XDG_CACHE_HOME"])
    files = [path for root in (run.path, cache) for path in root.rglob("*") if path.is_file()]
    assert any(path.name == WHEEL for path in files)
    assert not any(PASSWORD.encode() in path.read_bytes() for path in files)
    asked = len(index.seen)
    build(run, PIP_INDEX_URL=url)
    assert len(index.seen) == asked  # fetched once


@pytest.mark.slow  # 15 s
def test_a_wheelhouse_for_a_machine_without_a_network(run, index, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:{PASSWORD}@127.0.0.1:{index.server_port}/simple")
    assert cli.main(["wheelhouse", str(run.path), str(tmp_path / "wh")]) == 0
    assert "1 wheels in" in capfd.readouterr().out
    assert [path.name for path in (tmp_path / "wh").iterdir()] == [WHEEL]
    assert cli.main(["wheelhouse", str(run.path), str(tmp_path / "wh")]) == 1  # not over an older one
    monkeypatch.delenv("PIP_INDEX_URL")
    build(run, TUNEGATE_WHEELHOUSE=str(tmp_path / "wh"))
    assert report(run)["packages"]["tinypackage"] == "1.2.3"


def test_a_package_that_the_index_has_not(run, index, tmp_path, capfd, monkeypatch):
    (run.path / "requirements.txt").write_text("tinypackage==9.9\n")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:{PASSWORD}@127.0.0.1:{index.server_port}/simple")
    assert cli.main(["wheelhouse", str(run.path), str(tmp_path / "wh")]) == 1
    printed = capfd.readouterr()
    assert "No matching distribution found for tinypackage==9.9" in printed.err and not (tmp_path / "wh").exists()
    assert PASSWORD not in printed.out + printed.err


@pytest.mark.slow  # 15 s
def test_a_proxy_with_a_password_leaves_it_nowhere(run, index, engine):
    proxy = f"http://me:{PASSWORD}@127.0.0.1:{index.server_port}"
    with (run.path / "Dockerfile").open("a") as file:
        ask = "import urllib.request as r; print(r.urlopen('http://index.example/tinypackage').status, 'through the proxy')"
        file.write(f'RUN python -c "{ask}"\n')
    (run.path / "requirements.txt").write_text("numpy\n")  # which the base has
    said = build(run, HTTP_PROXY=proxy, http_proxy=proxy)
    assert "200 through the proxy" in said and index.seen[-1][0].startswith("http://index.example/")
    assert PASSWORD not in said and PASSWORD.encode() not in whole_image(engine, report(run)["image_id"])


# -- what must not come about


def test_a_torch_replaced_behind_the_checks_back_gets_no_name(run, wheels, engine):
    build(run, TUNEGATE_WHEELHOUSE=str(wheels))
    good = report(run)
    hidden = (
        "cd /usr/local/lib/python3*/dist-packages && sed -i 's/^Version: .*/Version: 9.9/' to[r]ch-*.dist-info/METADATA"
    )
    with (run.path / "Dockerfile").open("a") as file:
        file.write(f"RUN {hidden}\n")
    said = build(run, expect=1, TUNEGATE_WHEELHOUSE=str(wheels))
    assert "the image would replace what" in said and "-> 9.9" in said
    assert image_of(engine, tag(run)) == good["image_id"]


def test_a_build_killed_in_the_middle_leaves_nothing_half_done(run, wheels, engine):
    build(run, TUNEGATE_WHEELHOUSE=str(wheels))
    good = report(run)
    text = (run.path / "Dockerfile").read_text()
    (run.path / "Dockerfile").write_text(text + f"RUN echo {time.time_ns()} && sleep 600\n")
    process = start(run, TUNEGATE_WHEELHOUSE=str(wheels))
    for line in process.stdout:
        if "sleep 600" in line:
            break
    time.sleep(1)  # the step's container is there
    process.send_signal(signal.SIGKILL)
    process.communicate()
    for _ in range(100):
        if not [c for c in engine.api.containers() if "sleep 600" in c["Command"]]:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("the engine goes on with a build that nobody waits for")
    assert image_of(engine, tag(run)) == good["image_id"]
    (run.path / "Dockerfile").write_text(text)
    assert all(steps(build(run, TUNEGATE_WHEELHOUSE=str(wheels))).values())  # and the next build is whole
    assert report(run) == good


def test_a_base_that_the_engine_has_not_and_cannot_fetch(run, wheels):
    digest = "sha256:" + "0" * 64
    config = run.config().model_copy(update={"ngc_image_digest": digest})
    sealed.put(run, {"Dockerfile": render.render_files(config, {})["Dockerfile"]})
    sealed.build(run, until="image", config=config)
    said = build(run, expect=1, TUNEGATE_WHEELHOUSE=str(wheels)).splitlines()[-1]
    assert re.match(r"(unavailable|not_found): building the image, at Step 1/\d+ : FROM", said), said
    assert "pull or `docker load` it there once" in said or "pick_ngc_image" in said


# -- a disk that is full


@pytest.fixture
def small_engine(engine, tmp_path, monkeypatch):
    """An engine of its own, whose disk has 200 MB, with an image of a shell."""
    home = Path(tempfile.mkdtemp(prefix="tunegate-small-engine-"))  # a short path: its sockets lie below it
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", home], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    env = {**os.environ, "TUNEGATE_ENGINE_DIR": str(home), "TUNEGATE_ENGINE_SUBNET": "87"}
    try:
        started = subprocess.run([STANDIN / "engine.sh", "start"], env=env, check=True, capture_output=True, text=True)
        monkeypatch.setenv("DOCKER_HOST", started.stdout.strip().removeprefix("export DOCKER_HOST="))
        connected = engines.connect()
        files = {f"/bin/{name}": shutil.which(name) for name in ("bash", "sh", "cat")}
        for path in list(files.values()):
            files |= {name: name for name in re.findall(r"(/\S+)", subprocess.check_output(["ldd", path], text=True))}
        with tarfile.open(tmp_path / "root.tar", "w") as tar:
            for name, path in files.items():
                tar.add(os.path.realpath(path), name)
        connected.api.import_image(src=str(tmp_path / "root.tar"), repository="tools", tag="1")
        yield connected
    finally:
        subprocess.run([STANDIN / "engine.sh", "stop"], env=env, check=True)
        subprocess.run(["umount", "--recursive", home], check=True)
        home.rmdir()


@pytest.mark.parametrize(
    ("last", "megabytes"), [("RUN cat /dev/zero > /big", 0), ("COPY big.whl /a", 120), ("COPY big.whl /a", 230)]
)
def test_an_engine_whose_disk_is_full(small_engine, tmp_path, last, megabytes):
    """In a step's own writing, while a file is copied, and while the context arrives."""
    (tmp_path / "Dockerfile").write_text(f"FROM tools:1\n{last}\n")
    with (tmp_path / "big.whl").open("wb") as file:
        file.truncate(megabytes << 20)
    with pytest.raises(ToolFailure) as refused:
        list(engines.build(small_engine, tmp_path, "full:1", ["Dockerfile", "big.whl"], check=lambda texts: []))
    assert refused.value.code == "disk_full" and "docker system df" in str(refused.value)
    assert [image["RepoTags"] for image in small_engine.api.images()] == [["tools:1"]]
    assert small_engine.api.containers(all=True) == []
