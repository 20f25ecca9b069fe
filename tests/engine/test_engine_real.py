"""The seam to the engine, against a real one. The fixture `engine` has one running, or skips loudly."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import docker.errors
import pytest

from tests import fake_engine
from tests.engine.conftest import STANDIN
from tunegate.clients.docker import containers
from tunegate.clients.docker import engine as engines
from tunegate.clients.docker.containers import ContainerPlan
from tunegate.errors import ToolFailure, coded
from tunegate.stages import playbook

BASE = "tunegate-test/tools:1"
PROGRAMS = ("bash", "sh", "cat", "env", "id", "mkdir", "sleep", "stat", "touch")
MADE = ("tunegate-test/empty:1", "tunegate-test/path:1")
RECORDED = "20.10"  # the engine whose words tests/fake_engine.py repeats


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory) -> Path:
    """A tar of a few programs of this machine: a base image without registry or package."""
    root = tmp_path_factory.mktemp("rootfs")
    for name in ("bin", "tmp", "proc", "dev", "sys", "etc", "workspace"):
        (root / name).mkdir()
    (root / "tmp").chmod(0o1777)
    for name in PROGRAMS:
        program = shutil.which(name)
        shutil.copy(program, root / "bin" / name)
        needed = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
        for library in re.findall(r"(/\S+)", needed):
            target = root / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
    packed = tmp_path_factory.mktemp("image") / "root.tar"
    with tarfile.open(packed, "w") as tar:
        tar.add(root, ".")
    return packed


@pytest.fixture(scope="session")
def tools(engine, rootfs):
    api = engines.connect().api
    api.import_image(src=str(rootfs), repository=BASE.split(":")[0], tag="1")
    yield BASE
    for name in (*MADE, BASE):
        with contextlib.suppress(docker.errors.NotFound):
            api.remove_image(name, force=True)


@pytest.fixture
def connected(engine):
    return engines.connect()


@pytest.fixture
def labels(connected):
    """Labels of this test's own; whatever carries them is removed at the end."""
    own = {"tunegate.run": secrets.token_hex(8), "tunegate.stage": "train"}
    yield own
    while found := containers.find(connected, own):
        connected.api.remove_container(found.id, force=True)


@pytest.fixture
def workspace(tmp_path) -> Path:
    where = tmp_path / "run"
    where.mkdir()
    return where


@pytest.fixture
def plan(tools, labels, workspace, connected):
    def make(script: str, *arguments: str, **changes) -> ContainerPlan:
        values = {
            "image": tools,
            "argv": ("bash", "-c", script, "stage", *arguments),
            "name": f"tunegate-{secrets.token_hex(6)}",
            "labels": labels,
            "output_dir": workspace,
            "user": containers.user_for(engines.describe(connected)),
        }
        return ContainerPlan(**{**values, **changes})

    return make


def ended(connected, container: str) -> containers.ContainerState:
    for _ in range(300):
        if (found := containers.state(connected, container)).status != "running":
            return found
        time.sleep(0.05)
    raise AssertionError(f"{container} did not end")


def output(connected, container: str) -> str:
    return b"".join(line.data for line in containers.follow_logs(connected, container)).decode()


def refusal(call, *arguments, **keywords) -> tuple[str, str]:
    with pytest.raises(ToolFailure) as caught:
        list(call(*arguments, **keywords) or [])
    return caught.value.code, str(caught.value)


def said(connected, call, *arguments) -> str:
    """What the engine itself says to a refused call."""
    with pytest.raises(docker.errors.APIError) as caught:
        list(call(*arguments) or [])
    return caught.value.explanation


# -- facts


def test_facts(connected):
    facts = engines.describe(connected)
    assert facts.kind == "docker" and not facts.remote and facts.free_disk_gb > 0
    assert Path(facts.root_dir).is_dir() and facts.storage_driver and facts.runtimes


# -- build


def build(connected, where: Path, files: dict[str, str], tag: str, **more) -> tuple[list[str], str]:
    for name, text in files.items():
        (where / name).write_text(text)
    lines, seen = engines.build(connected, where, tag, list(files), check=lambda texts: [], **more), []
    while True:
        try:
            seen.append(next(lines))
        except StopIteration as end:
            return seen, end.value


def test_build_and_the_cache_of_its_layers(connected, tools, tmp_path):
    salt = secrets.token_hex(6)  # no layer of an earlier run
    files = {
        "Dockerfile": f"FROM {tools}\nCOPY requirements.txt /r\nRUN echo {salt} > /deps\nCOPY train.py /t\nRUN cat /t\n",
        "requirements.txt": "torch\n",
        "train.py": "print(1)\n",
    }
    lines, image = build(connected, tmp_path, files, f"tunegate-test/{salt}:1", network="none", labels={"l": salt})
    assert "print(1)" in lines and not [line for line in lines if "Using cache" in line]
    found = engines.image(connected, f"tunegate-test/{salt}:1")
    assert found.id == image and found.labels["l"] == salt
    assert build(connected, tmp_path, files, f"tunegate-test/{salt}:2", network="none", labels={"l": salt})[1] == image
    lines, changed = build(
        connected, tmp_path, {**files, "train.py": "print(2)\n"}, f"tunegate-test/{salt}:3", network="none"
    )
    assert changed != image and "print(2)" in lines
    assert sum("Using cache" in line for line in lines) == 2  # the requirements and what was installed from them
    for tag in "123":
        connected.api.remove_image(f"tunegate-test/{salt}:{tag}")
    assert engines.image(connected, f"tunegate-test/{salt}:1") is None


@pytest.mark.parametrize(
    ("dockerfile", "code", "words"),
    [
        ("FROM {base}\nRUN echo why; exit 3\n", "stage_failed", ["Step 2/2 : RUN echo why", "non-zero code: 3", "why"]),
        ("FROM {base}\nRUNN x\n", "stage_failed", [fake_engine.BAD_SYNTAX]),
        ("FROM {base}\nCOPY nope.txt /x\n", "stage_failed", [fake_engine.NO_COPY]),
        ("FROM {base}\nRUN --mount=type=cache,target=/x true\n", "stage_failed", ["BuildKit", "take it out"]),
        ("# nothing\n", "stage_failed", ["no instructions"]),
        ("FROM registry.invalid/nvidia/pytorch:99.99-py3\n", "unavailable", ["registry cannot be reached"]),
        (
            "FROM {base}\nRUN echo 'No space left on device' >&2; exit 1\n",
            "disk_full",
            ["docker system df"],
        ),
    ],
)
def test_builds_that_fail(connected, tools, tmp_path, dockerfile, code, words):
    (tmp_path / "Dockerfile").write_text(dockerfile.format(base=tools))
    found, text = refusal(
        engines.build,
        connected,
        tmp_path,
        "tunegate-test/fails:1",
        ["Dockerfile"],
        check=lambda texts: [],
        network="none",
    )
    assert found == code and all(word in text for word in words), text
    assert "\x1b" not in text and engines.image(connected, "tunegate-test/fails:1") is None


@pytest.fixture
def small_engine(engine, tmp_path, monkeypatch):
    """An engine of our own, whose images lie on a filesystem of 60 MB."""
    home, script = tmp_path / "engine", STANDIN / "engine.sh"
    home.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", home]).returncode:
        pytest.skip("mounting needs more rights")
    env = {**os.environ, "TUNEGATE_ENGINE_DIR": str(home), "TUNEGATE_ENGINE_SUBNET": "63"}
    try:
        started = subprocess.run([script, "start"], env=env, capture_output=True, text=True)
        assert started.returncode == 0, started.stderr
        monkeypatch.setenv("DOCKER_HOST", started.stdout.strip().removeprefix("export DOCKER_HOST="))
        yield engines.connect()
        subprocess.run([script, "stop"], env=env, check=True)
    finally:
        subprocess.run(["umount", "-l", home], check=True)


@pytest.mark.parametrize("step", ["RUN cat /dev/zero > /big", "COPY big.whl /big"])
def test_the_engines_own_disk_is_full(small_engine, rootfs, tmp_path, step):
    small_engine.api.import_image(src=str(rootfs), repository=BASE.split(":")[0], tag="1")
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\n{step}\n")
    (tmp_path / "big.whl").write_bytes(os.urandom(58 * 2**20))
    arguments = (small_engine, tmp_path, "tunegate-test/full:1", ["Dockerfile", "big.whl"])
    with pytest.raises(ToolFailure) as caught:
        list(engines.build(*arguments, check=lambda texts: [], network="none"))
    failure = caught.value
    assert failure.code == "disk_full" and "the engine's disk is full" in str(failure), failure
    line = f"exit code 1: {failure.code}: {coded(failure.diagnosis, str(failure))}"
    found = playbook.diagnose([line], "build", 1)[0]
    assert found.id == "engine-disk-full" and found.needs_approval


def test_a_context_without_a_dockerfile(connected, tmp_path):
    (tmp_path / "train.py").touch()
    code, text = refusal(engines.build, connected, tmp_path, "tunegate-test/x:1", ["train.py"], check=lambda texts: [])
    assert code == "stage_failed" and fake_engine.NO_DOCKERFILE in text


# -- containers


def test_a_stage_has_what_it_needs_and_no_more(connected, plan, workspace, tmp_path, monkeypatch):
    data = tmp_path / "data set"
    data.mkdir()
    (data / "a").write_text("ours")
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecretsecret")
    script = """
        id -u; pwd; echo "$HOME"; cat /proc/self/status; cat /proc/net/dev; cat /proc/1/cmdline; echo
        stat -f -c 'shm %b %S' /dev/shm; cat "$1/a"; touch "$1/b" || echo 'data is read-only'
        touch made; echo "token ${#HF_TOKEN}"; echo "$2"
    """
    started = containers.start(
        connected, plan(script, str(data), "a b; $(id) 'q'", read_only=(data,), roots=(data,), secrets=("HF_TOKEN",))
    )
    assert ended(connected, started).exit_code == 0
    lines = output(connected, started)
    user = "0" if engines.describe(connected).rootless else str(os.getuid())
    assert lines.splitlines()[:3] == [user, "/workspace", "/tmp"]
    assert re.search(r"CapEff:\s*0+\n", lines) and re.search(r"NoNewPrivs:\s*1\n", lines)
    assert "lo:" in lines and "eth0" not in lines
    assert "init" in lines and "ours" in lines and "data is read-only" in lines and "token 27" in lines
    blocks, size = map(int, re.search(r"shm (\d+) (\d+)", lines).groups())
    assert blocks * size == 16 * 2**30
    assert "a b; $(id) 'q'" in lines
    assert (workspace / "made").stat().st_uid == os.getuid() and not (data / "b").exists()


def test_another_uid_than_root(connected, plan, workspace):
    if os.getuid() != 0:
        pytest.skip("only root can give a directory away")
    os.chown(workspace, 12345, 12345)
    for parent in list(workspace.parents)[:3]:
        parent.chmod(0o755)
    started = containers.start(connected, plan("id -u; echo $USER; touch made", user="12345:12345"))
    assert ended(connected, started).exit_code == 0 and output(connected, started) == "12345\ntunegate\n"
    assert (workspace / "made").stat().st_uid == 12345


def test_exit_codes_times_and_removal(connected, plan, labels):
    assert containers.find(connected, labels) is None
    started = containers.start(connected, plan("exit 3"))
    state = ended(connected, started)
    assert (state.status, state.exit_code, state.oom_killed) == ("exited", 3, False)
    assert state.started_at and state.finished_at
    assert containers.find(connected, labels) == state
    containers.remove(connected, started)
    containers.remove(connected, started)
    assert containers.find(connected, labels) is None and containers.state(connected, started).status == "gone"
    assert refusal(containers.follow_logs, connected, started)[0] == "not_found"


def test_stop_lets_a_stage_save(connected, plan, workspace):
    script = "trap 'echo saved > saved; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    started = containers.start(connected, plan(script))
    assert next(containers.follow_logs(connected, started)).data == b"ready\n"
    assert refusal(containers.remove, connected, started)[0] == "run_locked"
    containers.stop(connected, started, 10)
    assert containers.state(connected, started).exit_code == 0 and (workspace / "saved").exists()
    containers.stop(connected, started)


def test_stop_reaches_a_program_that_does_not_listen(connected, plan):
    started = containers.start(connected, plan("trap '' TERM; echo ready; while :; do sleep 0.1; done"))
    next(containers.follow_logs(connected, started))
    containers.stop(connected, started, 0)
    assert containers.state(connected, started).exit_code == 137


def test_output_is_followed_and_gone_on_with(connected, plan):
    script = (
        "for i in {1..300}; do echo line $i; [ $i = 150 ] && sleep 0.3; done; printf '%s' \"$1\"; echo; echo end >&2"
    )
    started = containers.start(connected, plan(script, "x" * 40_000))
    seen = []
    for line in containers.follow_logs(connected, started):
        seen.append(line)
        if len(seen) == 170:
            break
    rest = list(containers.follow_logs(connected, started, seen[-1].at))
    whole = b"".join(line.data for line in [*seen, *rest]).decode()
    assert whole == "".join(f"line {i}\n" for i in range(1, 301)) + "x" * 40_000 + "\nend\n"


def test_silence_ends_the_stream_and_not_the_job(connected, plan):
    started = containers.start(connected, plan("echo ready; sleep 60"))
    assert [line.data for line in containers.follow_logs(connected, started, silence_s=0.5)] == [b"ready\n"]
    assert containers.state(connected, started).status == "running"


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"gpus": "nvidia-runtime"}, "unavailable", "NVIDIA Container Toolkit"),
        ({"gpus": "cdi"}, "unavailable", "audit_gpu"),
        ({"image": "nvcr.io/nvidia/pytorch:99.99-py3"}, "not_found", "pick_ngc_image"),
        ({"read_only": (Path("/nonexistent"),), "roots": (Path("/"),)}, "not_found", "No such file"),
    ],
)
def test_refused_starts_leave_nothing(connected, plan, labels, changes, code, words):
    handovers = engines.describe(connected).gpu_handovers
    if handovers and "gpus" in changes:
        pytest.skip(f"this engine does hand GPUs over ({handovers})")
    found, text = refusal(containers.start, connected, plan("true", **changes))
    assert found == code and words in text and "select device driver" not in text
    assert containers.find(connected, labels) is None


def test_a_taken_name(connected, plan):
    first = plan("sleep 60")
    started = containers.start(connected, first)
    assert refusal(containers.start, connected, first)[0] == "run_locked"
    assert containers.state(connected, started).status == "running"


def test_an_image_without_a_shell(connected, plan, tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /x\n")
    tag = "tunegate-test/empty:1"
    list(engines.build(connected, tmp_path, tag, ["Dockerfile"], check=lambda texts: []))
    started = containers.start(connected, plan("true", image=tag))  # the init helper starts, and then finds no shell
    assert ended(connected, started).exit_code == 127 and "/bin/bash" in output(connected, started)


def test_the_images_path_outlives_the_login_shell(connected, plan, tools, tmp_path):
    profile = "export PATH=/bin\n"  # as Debian's does
    files = {
        "Dockerfile": f"FROM {tools}\nCOPY profile /etc/profile\nENV PATH=/opt/venv/bin:/bin\n",
        "profile": profile,
    }
    build(connected, tmp_path, files, "tunegate-test/path:1")
    path = engines.image(connected, "tunegate-test/path:1").env["PATH"]
    for given, seen in (("", "/bin\n"), (path, "/opt/venv/bin:/bin\n")):
        started = containers.start(connected, plan('echo "$PATH"', image="tunegate-test/path:1", path=given))
        ended(connected, started)
        assert output(connected, started) == seen


def test_an_abandoned_build_ends_on_the_engine_too(connected, tools, tmp_path):
    salt = secrets.token_hex(4)
    (tmp_path / "Dockerfile").write_text(f"FROM {tools}\nRUN echo {salt}; sleep 77\n")
    lines = engines.build(connected, tmp_path, f"tunegate-test/{salt}:1", ["Dockerfile"], check=lambda texts: [])
    assert any(salt == line for line in lines)  # it runs; and the loop stops here
    running = {
        row["Id"]
        for row in connected.api.containers(all=True)
        if "sleep 77" in row["Command"] and salt in row["Command"]
    }
    assert running
    lines.close()
    for _ in range(100):
        if not running & {row["Id"] for row in connected.api.containers(all=True)}:
            return
        time.sleep(0.05)
    for container in running:
        connected.api.remove_container(container, force=True)
    raise AssertionError("the engine went on building for nobody")


def test_the_fake_engine_speaks_like_this_one(connected, plan, labels):
    """The texts that tests/fake_engine.py repeats, from the horse's mouth."""
    if not engines.describe(connected).version.startswith(RECORDED):
        pytest.skip(f"the fake's texts are those of Docker {RECORDED}")
    api = connected.api

    def start(**changes) -> str:
        made = api.create_container_from_config(containers.container_spec(plan("true", **changes)))["Id"]
        text = said(connected, api.start, made)
        state = containers.state(connected, made)
        assert (state.status, state.exit_code) == ("created", None) and state.error == text
        api.remove_container(made)
        return text

    assert start(gpus="nvidia-runtime") == fake_engine.NO_GPU
    assert start(gpus="cdi") == fake_engine.NO_CDI
    spec = containers.container_spec(plan("true"))
    runtime = {**spec, "HostConfig": {**spec["HostConfig"], "Runtime": "nvidia"}}
    assert said(connected, api.create_container_from_config, runtime) == fake_engine.NO_RUNTIME
    absent = {"Type": "bind", "Source": "/nonexistent", "Target": "/nonexistent", "ReadOnly": True}
    missing = {**spec, "HostConfig": {**spec["HostConfig"], "Mounts": [*spec["HostConfig"]["Mounts"], absent]}}
    assert said(connected, api.create_container_from_config, missing) == fake_engine.NO_SOURCE
