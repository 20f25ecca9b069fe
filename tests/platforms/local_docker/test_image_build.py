"""The build stage: the real SDK against a fake engine."""

from __future__ import annotations

import json
import threading

import pytest

from tests import fake_engine, sealed
from tests.fake_engine import IMAGE_ID, FakeEngine
from tunegate.clients import network
from tunegate.clients.docker import containers
from tunegate.jobs import snapshot
from tunegate.platforms.local_docker import docker_stage, wheelhouse
from tunegate.rundir import Run, hash_files
from tunegate.stage_table import MODULES

BASE = "nvcr.io/nvidia/pytorch:26.03-py3@sha256:5"
CONFIG = sealed.CONFIG.model_copy(
    update={"platform": "local-docker", "ngc_image": BASE.split("@")[0], "ngc_image_digest": "sha256:5"}
)
PACKAGES = {"transformers": "5.23.0", "torch": "2.13.0+cpu"}
BARE = {"torch": "2.13.0+cpu"}
tick = threading.Event().wait


def listing(packages: dict[str, str]) -> str:
    return json.dumps(["3.12.3", packages]) + "\n"


@pytest.fixture
def fake(tmp_path, monkeypatch):
    for name in ("TUNEGATE_WHEELHOUSE", *wheelhouse.INDEX, *wheelhouse.CA_BUNDLES, *network.PROXIES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(containers.time, "sleep", lambda _: tick(0.01))
    with FakeEngine(tmp_path / "docker.sock") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        for name in (IMAGE_ID, BASE):
            server.images[name] = {"Id": name, "Config": {"Env": ["PATH=/opt/venv/bin:/bin"]}}
        yield server


@pytest.fixture
def run(tmp_path) -> Run:
    (tmp_path / "run").mkdir()
    made = sealed.build(Run(tmp_path / "run"), until="recipe", config=CONFIG)
    sealed.put(made, {"Dockerfile": f"FROM {BASE}\n", "requirements.txt": "transformers==5.23.0\n"})
    sealed.put(made, {"train.py": sealed.script("print(1)")})
    return made


def build(fake: FakeEngine, run: Run, *printed: str, code: int = 0) -> int:
    """A whole build. The containers that it starts print, one after the other, `printed`, and exit with `code`."""
    codes: list[int] = []
    sealed.spec(run, "build", "b1", docker_stage.given(run, run.config(), "build", ()))
    files = hash_files(run.path, ("Dockerfile", "requirements*.txt", *MODULES))
    snapshot.lay(snapshot.of(run, "build"), {}, files)
    thread = threading.Thread(target=lambda: codes.append(docker_stage.main(run, "build", "b1")), daemon=True)
    thread.start()
    answers = list(printed or (listing(PACKAGES), listing(BARE)))
    for _ in range(2000):
        if codes:
            break
        for made in [c for c in fake.containers.values() if c.state["Status"] == "running" and not c.output]:
            fake.write(made, answers.pop(0))
            fake.end(made, code)
        tick(0.01)
    assert codes, "the build did not end"
    return codes[0]


def report(run: Run) -> dict:
    return json.loads(snapshot.of(run, "build").at("reports/build.json").read_text())


def test_it_reports_the_image_and_what_is_in_it(fake, run, capfdbinary):
    assert build(fake, run) == 0
    assert report(run) == {
        "python": "python",
        "python_version": "3.12.3",
        "packages": dict(sorted(PACKAGES.items())),
        "image": "run-m:latest",
        "image_id": IMAGE_ID,
        "base": BASE,
        "wheels": 0,
    }
    assert b"Step 2/2" in capfdbinary.readouterr().out
    request = fake.asked("POST", "^/build$")[0]
    assert "networkmode" not in request.query and "buildargs" not in request.query
    assert json.loads(request.query["labels"]) == {"tunegate.run": str(run.path)}
    assert set(fake.context().getnames()) == {"Dockerfile", "requirements.txt", "train.py"}
    looked = json.loads(fake.asked("POST", "/containers/create")[0].body)
    assert looked["HostConfig"]["NetworkMode"] == "none" and "python -I -c" in looked["Cmd"][0]
    assert fake.containers == {} and fake.tags == {"run-m:latest": IMAGE_ID}


# -- wheels


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "a-1-py3-none-any.whl").write_bytes(b"PK\x03\x04")
    (folder / "notes.txt").write_text("not a wheel")
    monkeypatch.setenv("TUNEGATE_WHEELHOUSE", str(folder))
    return folder


def test_with_wheels_it_is_built_without_a_network(fake, run, wheels):
    assert build(fake, run) == 0
    assert fake.asked("POST", "^/build$")[0].query["networkmode"] == "none"
    sent = {m.name: (m.mode, m.isdir()) for m in fake.context().getmembers() if m.name.startswith("wheelhouse")}
    assert sent == {"wheelhouse": (0o755, True), "wheelhouse/a-1-py3-none-any.whl": (0o644, False)}
    assert report(run)["wheels"] == 1
    assert not (run.path / "wheelhouse").exists()  # the project holds none that could grow stale


def test_exactly_the_wheels_that_are_given_now(fake, run, wheels, monkeypatch):
    (run.path / "wheelhouse").mkdir()
    (run.path / "wheelhouse/stale-0-py3-none-any.whl").write_bytes(b"PK\x03\x04")
    assert build(fake, run) == 0
    assert "wheelhouse/stale-0-py3-none-any.whl" not in fake.context().getnames()
    monkeypatch.delenv("TUNEGATE_WHEELHOUSE")  # then the project's own, laid there by hand
    assert build(fake, run) == 0
    assert "wheelhouse/stale-0-py3-none-any.whl" in fake.context().getnames()


def test_a_wheelhouse_without_wheels_is_no_wheelhouse(fake, run, wheels, capfdbinary):
    (wheels / "a-1-py3-none-any.whl").unlink()
    assert build(fake, run) == 1
    said = capfdbinary.readouterr().out.decode()
    assert said.startswith("invalid_input: TUNEGATE_WHEELHOUSE") and "tunegate wheelhouse" in said
    assert fake.asked("POST", "^/build$") == []


# -- proxies


def test_proxies_are_build_arguments_and_stand_nowhere_else(fake, run, monkeypatch, capfdbinary):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pa55word@proxy.example:3128")
    monkeypatch.setenv("https_proxy", "http://me:pa55word@proxy.example:3128")
    assert build(fake, run) == 0
    request = fake.asked("POST", "^/build$")[0]
    assert set(json.loads(request.query["buildargs"])) == {"HTTPS_PROXY", "https_proxy"}
    assert b"pa55word" not in request.body and b"pa55word" not in capfdbinary.readouterr().out
    assert b"pa55word" not in b"".join(r.body for r in fake.asked("POST", "/containers/create"))
    assert "pa55word" not in json.dumps(report(run))


def test_a_proxy_on_loopback_is_reached_from_this_machines_network(fake, run, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:3128")
    assert build(fake, run) == 0
    assert fake.asked("POST", "^/build$")[0].query["networkmode"] == "host"


# -- what is refused


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"infer.py": "print(1)\n"}, "infer.py"),
        ({"requirements.txt": "x=={{ version }}\n"}, "{{"),
        ({"requirements.txt": "torch==2.0\n"}, "requirements.txt:1: torch==2.0: the base brings its own"),
        ({"Dockerfile": f"FROM {BASE}\nRUN pip install torch\n"}, "Dockerfile:2"),
        ({"Dockerfile": "FROM ubuntu\n"}, BASE),
        ({"Dockerfile": b"FROM \xff\n"}, "Dockerfile is not UTF-8"),
    ],
)
def test_what_must_not_be_sent_is_never_sent(fake, run, capfdbinary, files, says):
    sealed.put(run, files)
    assert build(fake, run) == 1
    said = capfdbinary.readouterr().out.decode()
    assert said.startswith("stage_failed: nothing was built") and says in said
    assert fake.asked("POST", "^/build$") == [] and not (run.path / "reports/build.json").exists()


@pytest.mark.parametrize("built", [{**PACKAGES, "torch": "2.13.0"}, {"transformers": "5"}, {**PACKAGES, "numpy": "2"}])
def test_an_image_that_changed_what_its_base_brings_gets_no_name(fake, run, capfdbinary, built):
    assert build(fake, run, listing(built), listing(BARE)) == 1
    said = capfdbinary.readouterr().out.decode().splitlines()[-1]
    assert said.startswith("stage_failed: the image would replace what") and "->" in said
    assert fake.tags == {} and not (run.path / "reports/build.json").exists() and fake.containers == {}


def test_a_failing_step_is_told(fake, run, capfdbinary):
    fake.build_events = [*fake_engine.BUILD, {"error": fake_engine.RUN_FAILED}]
    assert build(fake, run) == 1
    assert "failed at Step 2/2 : RUN pip install" in capfdbinary.readouterr().out.decode()
    assert fake.tags == {}


def test_a_base_that_is_nowhere(fake, run, capfdbinary):
    fake.build_events = [fake_engine.BUILD[0], {"error": fake_engine.NO_NETWORK}]
    assert build(fake, run) == 1
    said = capfdbinary.readouterr().out.decode().splitlines()[-1]
    assert said.startswith("unavailable: ") and "pull or `docker load` it there once" in said


@pytest.mark.parametrize(("printed", "code"), [("\n", 0), ("bash: line 1: exec: python: not found\n", 127)])
def test_an_image_without_a_working_python(fake, run, capfdbinary, printed, code):
    assert build(fake, run, printed, code=code) == 1
    said = capfdbinary.readouterr().out.decode()
    assert ("python failed in" if code else "python does not run in") in said and fake.containers == {}


# -- what earlier builds left


def test_the_image_that_it_replaces_is_removed_and_no_other(fake, run):
    ours, another = f"tunegate.run={run.path}", "tunegate.run=/another/run"
    fake.dangling = {"sha256:old": {ours}, "sha256:used": {ours}, "sha256:theirs": {another}, "sha256:user": set()}
    fake.dangling[IMAGE_ID] = {ours}  # this very image, while it has no name yet
    fake.refuse("DELETE", "^/images/sha256:used", 409, "conflict: unable to delete: image is being used by a container")
    assert build(fake, run) == 0
    assert set(fake.dangling) == {"sha256:used", "sha256:theirs", "sha256:user", IMAGE_ID}
