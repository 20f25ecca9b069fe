"""Step 2 through the server, on a real probe of the embedded Hub's model."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest

from tests import sealed
from tests.fake_engine import NO_GPU, FakeEngine
from tests.tiny import TOKEN
from tunegate import evidence, gpus, host, rundir
from tunegate.hub import Hub
from tunegate.rundir import Run


@pytest.fixture
def run(call, monkeypatch) -> Run:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=500e9))
    assert "error" not in call("probe_model", model_id="me/vit", output_dir="run", platform="local-process")
    assert "error" not in call("probe_dataset", output_dir="run", dataset_id="me/pets")
    return Run(call.workspace.root / "run")


def test_both_calls_open_gate_2_and_pretend_nothing(call, run):
    audit = call("audit_gpu", output_dir="run")
    assert audit["gpu_count"] == 0 and audit["gpu_name"] is None and audit["notes"] == [host.NO_GPU]
    assert audit["next"]["tool"] == "pick_ngc_image" and run.config().gpu_count == 0
    image = call("pick_ngc_image", output_dir="run")
    assert image["ngc_image"] is None and image["ngc_image_digest"] is None and image["model_fit"].startswith("fits")
    assert host.NO_CONTAINER in image["notes"] and image["next"]["tool"] == "fetch_recipe"
    assert evidence.read(run, "image").facts["why"] == host.NO_CONTAINER
    steps = call("gate_status", output_dir="run")["steps"]
    assert [step["passed"] for step in steps] == [True, True, False, False, False, False]


def test_the_order_is_enforced(call, run):
    error = call("pick_ngc_image", output_dir="run")["error"]
    assert error["code"] == "gate_closed" and error["next"]["tool"] == "audit_gpu"
    call("probe_model", model_id="me/vit", output_dir="new")
    error = call("audit_gpu", output_dir="new")["error"]
    assert error["code"] == "gate_closed" and error["gate"] == 1 and error["next"]["tool"] == "probe_dataset"


def test_a_hard_failure_closes_the_gate_and_a_second_audit_opens_it(call, run, server, monkeypatch):
    call.workspace._made["hub"] = Hub(server.url)  # no token, and the push is on
    audit = call("audit_gpu", output_dir="run")
    assert "HF_TOKEN" in audit["hard_failures"][0] and audit["next"]["tool"] == "audit_gpu"
    error = call("fetch_recipe", output_dir="run")["error"]
    assert error["gate"] == 2 and "HF_TOKEN" in error["missing"][0]
    call.workspace._made["hub"] = Hub(server.url, token=TOKEN)
    assert call("audit_gpu", output_dir="run")["next"]["tool"] == "pick_ngc_image"


def test_without_a_push_no_token_is_needed(call, run, server):
    call.workspace._made["hub"] = Hub(server.url)
    run.save_config(run.config().model_copy(update={"push_to_hub": False}))
    assert call("audit_gpu", output_dir="run")["hard_failures"] == []


def test_the_token_is_nowhere(call, run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    said = str(call("audit_gpu", output_dir="run"))
    assert TOKEN not in said and not any(
        TOKEN.encode() in path.read_bytes() for path in run.path.rglob("*") if path.is_file()
    )
    assert evidence.read(run, "host").facts["credentials"] == {"HF_TOKEN": True}


def gpu_container(server: FakeEngine, container) -> None:
    if container.config["HostConfig"]["DeviceRequests"]:
        server.write(container, "NVIDIA H100, 580.95.05, 81559, 81000, 9.0\n")
    server.end(container, 0)


def test_on_local_docker_a_container_shows_what_the_run_gets(call, run, monkeypatch, tmp_path):
    found = gpus.Gpus([gpus.Gpu("NVIDIA H100", 85.5, 84.9, "9.0")], "580.95.05", "nvml", card=True)
    monkeypatch.setattr(gpus, "find", lambda: found)
    monkeypatch.setenv("PATH", str(tmp_path))
    run.save_config(run.config().model_copy(update={"platform": "local-docker"}))
    with FakeEngine(tmp_path / "docker.sock") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        server.refuse("POST", "0002/start$", 500, NO_GPU)  # the first asks for no GPU
        server.on_start = lambda container: gpu_container(server, container)
        audit = call("audit_gpu", output_dir="run")
        assert audit["gpu_count"] == 0 and audit["next"]["tool"] == "audit_gpu" and audit["install_plan"]
        assert "NVIDIA Container Toolkit" in audit["hard_failures"][0]
        audit = call("audit_gpu", output_dir="run")
        assert audit["hard_failures"] == audit["install_plan"] == [] and audit["next"]["tool"] == "pick_ngc_image"
        assert server.containers == {}
    assert (audit["gpu_count"], audit["driver_major"], audit["compute_capability"]) == (1, 580, "9.0")
    assert audit["gpu_handover"] == "nvidia-runtime" and audit["engine"] == f"docker 20.10.24+dfsg1 at {server.host}"
    assert len(json.dumps(audit)) < 2000, "an agent pays for it"
    config, facts = run.config(), evidence.read(run, "host").facts
    assert (config.gpu_count, config.gpu_name, config.vram_gb_per_gpu) == (1, "NVIDIA H100", 85.5)
    assert facts["gpu_handover"] == "nvidia-runtime" and facts["gpus"][0]["compute_capability"] == "9.0"


def test_another_agent_at_work(call, run, monkeypatch):
    monkeypatch.setattr(rundir, "LOCK_WAIT_S", 0.1)
    with rundir.lock(run, "fetch_recipe"):
        error = call("audit_gpu", output_dir="run")["error"]
        assert error["code"] == "run_locked" and "fetch_recipe (process" in error["message"]
        assert call("gate_status", output_dir="run")["next"]["tool"] == "audit_gpu"  # reading needs no lock
    assert call("audit_gpu", output_dir="run")["hard_failures"] == []


def test_a_model_that_does_not_fit_is_said_not_to(call):
    run = sealed.build(
        Run(call.workspace.root / "big"),
        until="host",
        facts={"model": {"verdict": "accept", "parameters": 10**10}},
    )
    image = call("pick_ngc_image", output_dir="big")
    assert image["model_fit"].startswith("does not fit: 160.0 GB") and "smaller model" in image["model_fit"]
    assert evidence.read(run, "image").facts["terms_gb"]["optimizer"] == 80.0
    error = call("fetch_recipe", output_dir="big")["error"]
    assert error["gate"] == 2 and "does not fit" in error["missing"][0]


def test_the_hardware_s_workarounds_are_evaluated_here_and_gate_2_asks_for_it(call):
    gpu = {"name": "Tesla T4", "compute_capability": "7.5"}
    config = sealed.CONFIG.model_copy(update={"gpu_count": 1, "gpu_name": "Tesla T4", "driver_major": 580})
    config = config.model_copy(update={"vram_gb_per_gpu": 16.0})
    host = {**sealed.FACTS["host"], "gpu_count": 1, "gpus": [gpu]}
    run = sealed.build(
        Run(call.workspace.root / "t4"),
        until="image",
        config=config,
        facts={"host": host, "image": {"model_fit": "fits"}},
    )
    assert "workarounds" in call("fetch_recipe", output_dir="t4")["error"]["missing"][0]
    image = call("pick_ngc_image", output_dir="t4")
    assert "workaround bf16-emulated: mixed precision is fp16 with loss scaling" in image["notes"]
    assert "bf16-emulated" in run.config().applicable_workarounds
    assert evidence.read(run, "image").facts["workarounds"] == run.config().applicable_workarounds
    assert call("gate_status", output_dir="t4")["steps"][1]["passed"]
