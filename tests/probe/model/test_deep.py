"""The deep probe: the real SDK against a fake engine, whose containers are played by a thread; and its script by itself."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.fake_engine import IMAGE_ID, NO_NETWORK, FakeEngine
from tests.tiny import model_files
from tunegate.errors import ToolFailure
from tunegate.probe.model import deep, probe_model

CONFIG = b'{"model_type": "vit", "architectures": ["ViTForImageClassification"]}'
AUTO = {"AutoModelForImageClassification": ["ViTForImageClassification"]}
ANSWER = {"python": "3.12.1", "transformers": "5.23.0", "model_type": "vit", "config_class": "ViTConfig", "auto": AUTO}


@pytest.fixture
def fake(tmp_path, monkeypatch):
    for name in ("TUNEGATE_WHEELHOUSE", "TUNEGATE_PROBE_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(deep, "POLL_S", 0.01)
    with FakeEngine(tmp_path / "docker.sock") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        server.images[deep.PROBE_IMAGE] = {"Id": IMAGE_ID, "Config": {"Env": ["PATH=/usr/local/bin:/bin"]}}
        yield server


@pytest.fixture
def play(fake):
    """play(f): each container that starts ends with f(its command, the directory it sees)."""
    over = threading.Event()

    def watch(act):
        while not over.wait(0.01):
            for made in [c for c in list(fake.containers.values()) if c.state["Status"] == "running"]:
                folder = Path(made.config["HostConfig"]["Mounts"][0]["Source"])
                fake.end(made, act(made.config["Cmd"][0], folder))

    threads = []

    def start(act):
        threads.append(threading.Thread(target=watch, args=(act,), daemon=True))
        threads[-1].start()

    yield start
    over.set()
    for thread in threads:
        thread.join()


def answering(more: dict | None = None, code: int = 0, *, without: bool = False):
    """A container with transformers; `without`: only after pip has run."""

    def act(command: str, folder: Path) -> int:
        if without and "--install" not in command:
            return deep.NO_TRANSFORMERS
        key = command.split(deep.SCRIPT.name)[1].split()[0]
        (folder / "result.json").write_text(json.dumps({"key": key, **ANSWER, **(more or {})}))
        return code

    return act


def specs(fake) -> list[dict]:
    return [json.loads(request.body) for request in fake.asked("POST", "^/containers/create$")]


def test_it_sees_its_own_folder_and_nothing_else(fake, play, tmp_path):
    play(answering())
    seen = deep.inspect(tmp_path, CONFIG)
    assert (seen.config_class, seen.image, seen.error) == ("ViTConfig", deep.PROBE_IMAGE, None)
    [spec] = specs(fake)
    [mount] = spec["HostConfig"]["Mounts"]
    assert Path(mount["Source"]).is_relative_to(tmp_path / ".probe") and mount["Target"] == "/workspace"
    assert spec["HostConfig"]["NetworkMode"] == "none" and spec["HostConfig"]["DeviceRequests"] == []
    assert spec["User"] and "HOME=/workspace/home" in spec["Env"] and not any("TOKEN" in line for line in spec["Env"])
    assert (Path(mount["Source"]) / "repo/config.json").read_bytes() == CONFIG
    assert not fake.containers  # removed
    assert deep.inspect(tmp_path, CONFIG) == seen and len(specs(fake)) == 1  # asked once


def test_pip_and_the_network_only_where_transformers_is_missing(fake, play, tmp_path, monkeypatch):
    play(answering(without=True))
    assert deep.inspect(tmp_path / "a", CONFIG).transformers == "5.23.0"
    assert [spec["HostConfig"]["NetworkMode"] for spec in specs(fake)] == ["none", "default"]
    (tmp_path / "wheels").mkdir()
    (tmp_path / "link").symlink_to("wheels")  # of the user's own
    monkeypatch.setenv("TUNEGATE_WHEELHOUSE", str(tmp_path / "link"))
    assert deep.inspect(tmp_path / "b", CONFIG)
    [command], mounts = specs(fake)[-1]["Cmd"], specs(fake)[-1]["HostConfig"]["Mounts"]
    assert "--no-index" in command and mounts[1]["ReadOnly"] and mounts[1]["Source"] == str(tmp_path / "wheels")
    assert specs(fake)[-1]["HostConfig"]["NetworkMode"] == "none"


def test_a_container_still_at_work_is_followed_by_the_same_call(fake, play, tmp_path):
    assert deep.inspect(tmp_path, CONFIG, wait_s=0.05) is None and len(fake.containers) == 1
    assert deep.inspect(tmp_path, CONFIG, wait_s=0.05) is None and len(specs(fake)) == 1
    play(answering())
    assert deep.inspect(tmp_path, CONFIG).model_type == "vit" and len(specs(fake)) == 1


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda *_: 1, "exit code 1"),
        (lambda *_: deep.NO_TRANSFORMERS, "pip could not install"),
        (lambda *_: 0, "did not run"),  # and wrote nothing
    ],
)
def test_a_container_that_fails(fake, play, tmp_path, act, says):
    play(act)
    with pytest.raises(ToolFailure, match="leave deep out") as caught:
        deep.inspect(tmp_path, CONFIG)
    assert caught.value.code == "stage_failed" and says in str(caught.value) and not fake.containers


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"key": "another"}', b'{"auto": 3}', b"9" * 5000])
def test_what_the_container_wrote_is_not_believed(tmp_path, content):
    (tmp_path / "result.json").write_bytes(content)
    assert deep._result(tmp_path, "k", "i") is None


def test_no_image_and_no_engine(fake, tmp_path, monkeypatch):
    del fake.images[deep.PROBE_IMAGE]
    fake.refuse("POST", "/images/create", 500, NO_NETWORK)
    with pytest.raises(ToolFailure, match="TUNEGATE_PROBE_IMAGE.*leave deep out") as caught:
        deep.inspect(tmp_path, CONFIG)
    assert caught.value.code == "unavailable"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(ToolFailure, match="leave deep out"):
        deep.inspect(tmp_path, CONFIG)


@pytest.mark.parametrize(
    ("answer", "verdict", "says"),
    [
        ({}, "accept", ""),
        ({"error": "ValueError: no"}, "reject", "cannot load its config.json"),
        ({"auto": {}}, "reject", "has no AutoModelForImageClassification"),
        ({"auto": {"AutoModelForImageClassification": ["Other"]}}, "reject", "knows no ViTForImageClassification"),
    ],
)
def test_a_contradiction_rejects_the_model(fake, play, server, hub, tmp_path, answer, verdict, says):
    server.add_repo("model", "me/vit", model_files())
    play(answering(answer))
    facts = probe_model(hub, "me/vit", deep_in=tmp_path)
    assert (facts.verdict, facts.deep.transformers) == (verdict, "5.23.0") and says in " ".join(facts.reasons)


def script(python: str, folder: Path, config: bytes) -> tuple[int, dict]:
    (folder / "repo").mkdir()
    (folder / "repo/config.json").write_bytes(config)
    done = subprocess.run([python, "-I", deep.SCRIPT, "key"], cwd=folder, capture_output=True)
    with contextlib.suppress(FileNotFoundError):
        return done.returncode, json.loads((folder / "result.json").read_text())
    return done.returncode, {}


def test_the_script_without_transformers(tmp_path):
    assert script(sys.executable, tmp_path, CONFIG) == (deep.NO_TRANSFORMERS, {})


@pytest.mark.parametrize(
    ("config", "error"),
    [
        (CONFIG, None),
        (b'{"model_type": "vit", "hidden_size": "x"}', "hidden_size"),
        (b'{"model_type": "mine", "auto_map": {"AutoConfig": "evil.Config"}}', "custom code"),
    ],
)
def test_the_script_in_the_stage_environment(stage_python, tmp_path, config, error):
    code, found = script(stage_python, tmp_path, config)
    assert code == 0 and found["key"] == "key" and found["transformers"]
    assert error in found["error"] if error else found["auto"].items() >= AUTO.items()
