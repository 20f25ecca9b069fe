"""A stage's container: what is asked for, and its life, with the real SDK against a fake engine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests import fake_engine
from tests.fake_engine import FakeEngine
from tunegate import paths
from tunegate.clients.docker import containers, engine
from tunegate.clients.docker.containers import ContainerPlan
from tunegate.errors import ToolFailure

LABELS = {"tunegate.run": "r1", "tunegate.stage": "train", "tunegate.job": "j1"}


@pytest.fixture
def fake(tmp_path, monkeypatch):
    with FakeEngine(tmp_path / "docker.sock") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        yield server


@pytest.fixture
def connected(fake):
    return engine.connect()


def plan(**changes) -> ContainerPlan:
    values = {
        "image": "run:1",
        "argv": ("python", "train.py", "--note", "a b; $(id)"),
        "name": "tunegate-train-j1",
        "labels": LABELS,
        "output_dir": Path("/srv/run"),
        "user": "1000:1000",
    }
    return ContainerPlan(**{**values, **changes})


def refusal(call, *arguments, **keywords) -> tuple[str, str]:
    with pytest.raises(ToolFailure) as caught:
        list(call(*arguments, **keywords) or [])
    return caught.value.code, str(caught.value)


# -- container_spec


def test_the_spec_asks_for_no_more_than_a_stage_needs():
    spec = containers.container_spec(plan(), {})
    assert spec["Entrypoint"] == ["/bin/bash", "-lc"]
    assert spec["Cmd"] == ["exec python train.py --note 'a b; $(id)' 2>&1"]
    assert spec["User"] == "1000:1000" and spec["WorkingDir"] == "/workspace" and spec["Labels"] == LABELS
    assert "HF_HOME=/workspace/.cache/huggingface" in spec["Env"] and "HOME=/tmp" in spec["Env"]
    host = spec["HostConfig"]
    assert host["CapDrop"] == ["ALL"] and host["SecurityOpt"] == ["no-new-privileges"] and host["Init"] is True
    assert host["NetworkMode"] == "none" and host["DeviceRequests"] == [] and host["AutoRemove"] is False
    assert host["ShmSize"] == 17179869184
    assert host["Mounts"] == [{"Type": "bind", "Source": "/srv/run", "Target": "/workspace", "ReadOnly": False}]


def test_the_images_path_outlives_the_login_shell():
    spec = containers.container_spec(plan(argv=("python", "t.py"), path="/opt/my venv/bin:/bin"), {})
    assert spec["Cmd"] == ["export PATH='/opt/my venv/bin:/bin'; exec python t.py 2>&1"]


@pytest.mark.parametrize(
    ("gpus", "requests"),
    [
        ("none", []),
        ("nvidia-runtime", [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]),
        ("cdi", [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}]),
    ],
)
def test_the_two_ways_to_ask_for_gpus(gpus, requests):
    assert containers.container_spec(plan(gpus=gpus), {})["HostConfig"]["DeviceRequests"] == requests


def test_an_image_that_asks_for_gpus_by_itself_gets_none():
    """NGC images set NVIDIA_VISIBLE_DEVICES=all; an engine whose default runtime is NVIDIA's obeys."""
    for gpus, void in (("none", True), ("cdi", True), ("nvidia-runtime", False)):
        env = containers.container_spec(plan(gpus=gpus), {})["Env"]
        assert ("NVIDIA_VISIBLE_DEVICES=void" in env) == void


def test_no_secret_is_in_what_the_engine_shows():
    environ = {"HF_TOKEN": "hf_secret", "WANDB_API_KEY": "other"}
    asked = plan(secrets=("HF_TOKEN",), env={"WANDB_MODE": "disabled", "HF_TOKEN": "hf_secret"})
    for given in ({}, {"secrets_file": Path("/state/handed/1")}):
        spec = containers.container_spec(asked, environ, **given)
        assert "hf_secret" not in repr(spec) and "WANDB_MODE=disabled" in spec["Env"]
    assert "hf_secret" not in repr(plan(secrets=("HF_TOKEN",)))  # a plan may be written to disk
    mount = {"Type": "bind", "Source": "/state/handed/1", "Target": containers.SECRETS, "ReadOnly": True}
    assert spec["HostConfig"]["Mounts"][-1] == mount


def test_secrets_come_by_name_in_a_private_file_that_is_gone_after_the_start(connected, monkeypatch):
    for name, value in {"HF_TOKEN": "hf_'se cret", "WANDB_API_KEY": "other", "EMPTY": ""}.items():
        monkeypatch.setenv(name, value)
    seen = []

    def spec(plan, secrets_file, of=containers.container_spec):
        shown = f". {secrets_file}; echo $HF_TOKEN; env"
        printed = subprocess.run(["bash", "-c", shown], env={"PATH": "/bin:/usr/bin"}, capture_output=True, text=True)
        seen.append((secrets_file, secrets_file.stat().st_mode & 0o777, printed.stdout))
        return of(plan, secrets_file=secrets_file)

    monkeypatch.setattr(containers, "container_spec", spec)
    stale = paths.state_dir() / "handed/stale"
    stale.parent.mkdir(parents=True, mode=0o700)
    stale.write_text("export HF_TOKEN=old")
    os.utime(stale, (0, 0))
    containers.start(connected, plan(secrets=("HF_TOKEN", "ABSENT", "EMPTY")))
    [(path, mode, printed)] = seen
    assert mode == 0o600 and printed.startswith("hf_'se cret\n") and "ABSENT" not in printed and "EMPTY" not in printed
    assert "WANDB_API_KEY" not in printed and not path.exists() and not stale.exists()
    assert path.parent.stat().st_mode & 0o077 == 0


def mount(path: Path, *roots: Path) -> list[dict]:
    return containers.container_spec(plan(read_only=(path,), roots=roots), {})["HostConfig"]["Mounts"]


def test_local_data_is_mounted_read_only_at_its_own_path(tmp_path):
    (tmp_path / "my set").mkdir()
    (tmp_path / "rows.csv").write_text("a,b")
    for path in (tmp_path / "my set", tmp_path / "rows.csv", tmp_path):
        mounts = mount(path, Path("/srv"), tmp_path)
        assert [mount["Target"] for mount in mounts] == ["/workspace", str(path)]
        assert mounts[1] == {"Type": "bind", "Source": str(path), "Target": str(path), "ReadOnly": True}


def test_only_what_lies_below_a_root_is_mounted(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data-of-others").mkdir()
    (tmp_path / "data/link").symlink_to(tmp_path / "data-of-others")
    (tmp_path / "way").symlink_to(tmp_path / "data")
    (tmp_path / "data/inner").mkdir()
    for path, root in (
        (tmp_path / "data-of-others", tmp_path / "data"),
        (tmp_path / "data/link", tmp_path / "data"),
        (tmp_path / "way/inner", tmp_path),
        (tmp_path / "data", tmp_path / "data/inner"),
    ):
        assert refusal(mount, path, root)[0] == "outside_root", path
    assert refusal(mount, tmp_path / "data")[0] == "outside_root"
    assert refusal(mount, tmp_path / "absent", tmp_path)[0] == "not_found"


@pytest.mark.parametrize(
    "path", ["/var/run", "/var/run/docker.sock", "/run/docker.sock", "/root/.ssh", "/var/lib/docker"]
)
def test_nothing_of_the_machines_own_is_mounted(path, tmp_path):
    assert refusal(mount, Path(path), tmp_path)[0] == "outside_root"


def test_neither_sockets_nor_pipes_nor_devices_are_mounted(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "docker.sock"))
        for name in ("docker.sock", "pipe"):
            code, text = refusal(mount, tmp_path / name, tmp_path)
            assert code == "invalid_input" and "socket, a pipe or a device" in text


@pytest.mark.parametrize("path", ["/", "/usr", "/opt", "/tmp", "/workspace", "data/set", "/data/../etc"])
def test_local_data_never_hides_the_containers_own_files(path):
    code, text = refusal(mount, Path(path), Path("/"))
    assert code == "invalid_input" and "local_dataset_path" in text


@pytest.mark.parametrize("path", ["/workspace/data", "/usr/lib", "/opt/project/data", "/etc/ssl"])
def test_nor_what_lies_below_them(path):
    assert refusal(mount, Path(path), Path("/"))[0] == "invalid_input"


def test_who_a_stage_runs_as(fake, connected):
    facts = engine.describe(connected)
    assert containers.user_for(facts) == f"{os.getuid()}:{os.getgid()}"
    assert containers.user_for(facts.model_copy(update={"rootless": True})) == "0:0"


# -- start


def test_start_sends_the_spec_and_starts(fake, connected):
    started = containers.start(connected, plan())
    request = fake.asked("POST", "/containers/create")[0]
    assert json.loads(request.body) == containers.container_spec(plan())
    assert request.query["name"] == "tunegate-train-j1"
    assert containers.state(connected, started).status == "running"


@pytest.mark.parametrize(
    ("path", "status", "said", "code", "words"),
    [
        ("start", 500, fake_engine.NO_GPU, "unavailable", "NVIDIA Container Toolkit"),
        ("start", 500, fake_engine.NO_CDI, "unavailable", "audit_gpu"),
        ("start", 500, fake_engine.NO_CDI_DEVICE, "unavailable", "nvidia-ctk cdi generate"),
        ("create", 400, fake_engine.NO_RUNTIME, "unavailable", "NVIDIA Container Toolkit"),
        ("start", 500, fake_engine.NO_DRIVER, "unavailable", "NVIDIA driver"),
        ("start", 500, fake_engine.NO_SPACE, "disk_full", "docker system df"),
        ("start", 500, fake_engine.NO_RLIMIT, "unavailable", "DOCKER_HOST"),
        (
            "create",
            500,
            "container create: container-init binary not found on the host: stat /usr/libexec/podman/catatonit: no such file or directory",
            "unavailable",
            "catatonit",
        ),
        ("create", 400, fake_engine.NO_SOURCE, "invalid_input", "local_dataset_path"),
        ("create", 409, fake_engine.NAME_TAKEN, "run_locked", "call again to follow it"),
        ("create", 500, fake_engine.NO_SPACE, "disk_full", "docker system prune"),
        ("start", 500, "something new", "unavailable", "something new"),
        ("create", 400, "something odd", "invalid_input", "something odd"),
    ],
)
def test_a_refused_start_leaves_no_container(fake, connected, path, status, said, code, words):
    fake.refuse("POST", path, status, said)
    found, text = refusal(containers.start, connected, plan(gpus="nvidia-runtime"))
    assert found == code and words in text and "tunegate-train-j1" in text
    assert "could not select device driver" not in text
    assert fake.containers == {}


def test_an_image_that_is_not_there(fake, connected):
    code, text = refusal(containers.start, connected, plan(image="run:2"))
    assert code == "not_found" and "run:2" in text and "pick_ngc_image" in text


def test_a_name_that_is_taken(fake, connected):
    containers.start(connected, plan())
    assert refusal(containers.start, connected, plan())[0] == "run_locked"
    assert len(fake.containers) == 1  # the first one is untouched


def test_a_start_without_an_answer_leaves_the_container(fake, connected):
    connected.api.timeout = 0.1
    fake.on("POST", "/start", stall_s=5)
    code, text = refusal(containers.start, connected, plan())
    assert code == "unavailable" and "may still happen" in text
    connected.api.timeout = 5
    assert containers.find(connected, LABELS).status == "created"


def test_an_engine_that_dies_at_the_start(fake, connected):
    fake.on("POST", "/start", cut=True)
    assert refusal(containers.start, connected, plan())[0] == "unavailable"


# -- find, state


def test_find_goes_by_labels_and_takes_the_newest(fake, connected):
    assert containers.find(connected, LABELS) is None
    fake.running(**LABELS)
    fake.running(**{**LABELS, "tunegate.run": "another"})
    newest = fake.running(**LABELS)
    found = containers.find(connected, LABELS)
    assert found.id == newest.id and found.status == "running" and found.exit_code is None and found.started_at
    fake.end(newest, 137, OOMKilled=True)
    found = containers.find(connected, LABELS)
    assert (found.status, found.exit_code, found.oom_killed) == ("exited", 137, True) and found.finished_at


def test_a_container_that_never_started(fake, connected):
    made = fake.running(**LABELS)
    made.state.update(Status="created", ExitCode=128, Error=fake_engine.NO_GPU, StartedAt=fake_engine.NEVER)
    found = containers.find(connected, LABELS)
    assert (found.status, found.exit_code, found.started_at, found.error) == ("created", None, None, fake_engine.NO_GPU)


@pytest.mark.parametrize(("said", "status"), [("stopped", "exited"), ("paused", "running"), ("dead", "gone")])
def test_other_words_for_the_state(fake, connected, said, status):
    made = fake.running(**LABELS)
    made.state["Status"] = said
    assert containers.state(connected, made.id).status == status


def test_a_container_that_was_removed(fake, connected):
    made = fake.running(**LABELS)
    fake.on("GET", "/containers/json", body=[{"Id": made.id, "Created": 1}])
    del fake.containers[made.id]
    assert containers.find(connected, LABELS).status == "gone"


@pytest.mark.parametrize("rule", [{"stall_s": 5}, {"cut": True}, {"body": b"no json"}, {"body": [{"No": "id"}]}])
def test_an_engine_that_cannot_say(fake, connected, rule):
    connected.api.timeout = 0.1
    fake.on("GET", "/containers/json", **rule)
    assert refusal(containers.find, connected, LABELS)[0] == "unavailable"


def test_a_state_that_does_not_exist(fake, connected):
    made = fake.running(**LABELS)
    made.state["Status"] = "flying"
    assert refusal(containers.state, connected, made.id)[0] == "unavailable"


# -- follow_logs


def test_logs_are_followed_to_the_end(fake, connected):
    made = fake.running(**LABELS)
    fake.write(made, "step 1\n")
    lines = containers.follow_logs(connected, made.id)
    assert next(lines).data == b"step 1\n"
    fake.write(made, "10%\r20%\r")
    assert next(lines).data == b"10%\r20%\r"
    fake.end(made, 0)
    assert list(lines) == []


def test_logs_go_on_where_they_were(fake, connected):
    made = fake.running(**LABELS)
    for number in range(5):
        fake.write(made, f"{number}\n")
    fake.end(made, 0)
    seen = list(containers.follow_logs(connected, made.id))
    assert [line.data for line in containers.follow_logs(connected, made.id, seen[2].at)] == [b"3\n", b"4\n"]


def test_the_end_of_the_stream_is_not_the_end_of_the_job(fake, connected):
    made = fake.running(**LABELS)
    fake.write(made, "step 1\n")
    lines = containers.follow_logs(connected, made.id)
    next(lines)
    fake.die()
    assert list(lines) == [] and containers.state(connected, made.id).status == "running"


def test_a_stream_cut_in_the_middle_of_a_frame(fake, connected):
    made = fake.running(**LABELS)
    fake.on("GET", "/logs", body=b"\1\0\0", cut=True)
    assert list(containers.follow_logs(connected, made.id)) == []


def test_a_silent_engine_is_not_listened_to_for_ever(fake, connected):
    made = fake.running(**LABELS)
    fake.write(made, "step 1\n")
    lines = list(containers.follow_logs(connected, made.id, silence_s=0.1))
    assert [line.data for line in lines] == [b"step 1\n"]


def test_logs_of_a_container_that_is_gone(fake, connected):
    assert refusal(containers.follow_logs, connected, "f" * 64)[0] == "not_found"


# -- stop, remove


def test_stop_and_remove_may_be_repeated(fake, connected):
    made = fake.running(**LABELS)
    assert refusal(containers.remove, connected, made.id)[0] == "run_locked"
    containers.stop(connected, made.id, 7)
    containers.stop(connected, made.id, 7)
    assert fake.asked("POST", "/stop")[0].query["t"] == "7"
    assert containers.state(connected, made.id).exit_code == 143
    containers.remove(connected, made.id)
    containers.remove(connected, made.id)
    containers.stop(connected, made.id)
    assert containers.state(connected, made.id).status == "gone"


def test_remove_during_a_removal_is_content(fake, connected):
    made = fake.running(**LABELS)
    fake.refuse("DELETE", "/containers", 409, f"removal of container {made.id} is already in progress")
    containers.remove(connected, made.id)


def test_stop_without_an_engine(fake, connected):
    fake.on("POST", "/stop", cut=True)
    assert refusal(containers.stop, connected, "f" * 64)[0] == "unavailable"
