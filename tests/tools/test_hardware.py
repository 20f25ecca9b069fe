"""Step 2 through the server, on a real probe of the embedded Hub's model."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest

from tests import sealed
from tests.fake_engine import NO_GPU, FakeEngine
from tests.hardware.test_fit import LLAMA_8B
from tests.tiny import TOKEN
from tunegate import evidence, rundir
from tunegate.clients.hub import Hub
from tunegate.clients.web import HttpWeb, parse_map
from tunegate.embedded import web as recorded_web
from tunegate.embedded.hub import EmbeddedHub
from tunegate.evidence import ledger
from tunegate.evidence.approvals import CONFIRMED
from tunegate.hardware import gpus
from tunegate.platforms.local_process import platform as local_process
from tunegate.rundir import Run


@pytest.fixture
def run(call, monkeypatch) -> Run:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=500e9))
    assert "error" not in call("probe_model", model_id="me/vit", output_dir="run", platform="local-process")
    assert "error" not in call("probe_dataset", output_dir="run", dataset_id="me/pets")
    return Run(call.workspace.root / "run")


def test_both_calls_open_gate_2_and_pretend_nothing(call, run):
    audit = call("audit_gpu", output_dir="run")
    assert audit["gpu_count"] == 0 and audit["gpu_name"] is None and audit["notes"] == [local_process.NO_GPU]
    assert audit["next"]["tool"] == "pick_ngc_image" and run.config().gpu_count == 0
    image = call("pick_ngc_image", output_dir="run")
    assert image["ngc_image"] is None and image["ngc_image_digest"] is None and image["model_fit"].startswith("fits")
    assert local_process.NO_CONTAINER in image["notes"] and image["next"]["tool"] == "fetch_recipe"
    assert evidence.read(run, "image").facts["why"] == local_process.NO_CONTAINER
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
    assert "HF_TOKEN" in audit["hard_failures"][0] and audit["next"] is None
    assert f'probe_model(model_id="me/vit", output_dir="{run.path}", push_to_hub=false)' in audit["ask_user"]
    error = call("fetch_recipe", output_dir="run")["error"]
    assert error["gate"] == 2 and "HF_TOKEN" in error["missing"][0]
    call.workspace._made["hub"] = Hub(server.url, token=TOKEN)
    assert call("audit_gpu", output_dir="run")["next"]["tool"] == "pick_ngc_image"


def test_a_user_without_a_token_keeps_the_model_here(call, run, server):
    call.workspace._made["hub"] = Hub(server.url)
    call("audit_gpu", output_dir="run")
    call("probe_model", model_id="me/vit", output_dir="run", push_to_hub=False)
    assert not run.config().push_to_hub
    audit = call("audit_gpu", output_dir="run")
    assert audit["hard_failures"] == [] and audit["next"]["tool"] == "pick_ngc_image" and "ask_user" not in audit


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
        assert audit["gpu_count"] == 0 and audit["next"] is None and audit["install_plan"]
        assert 'platform="local-process"' in audit["ask_user"] and "Container Toolkit" in audit["ask_user"]
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
    assert image["model_fit"] == "does not fit: 160.7 GB at a batch of 1 against 8.0 GB of memory" and any(
        "a smaller model" in note for note in image["notes"]
    )
    facts = evidence.read(run, "image").facts
    assert (
        facts["fit"] == "too_large"
        and facts["terms_gb"]["optimizer"] == 80.0
        and facts["room_gb"] == 8.0
        and facts["recommend"] is None
    )
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
        facts={"host": host, "image": {"fit": "fits", "model_fit": "fits"}},
    )
    assert "workarounds" in call("fetch_recipe", output_dir="t4")["error"]["missing"][0]
    image = call("pick_ngc_image", output_dir="t4")
    assert "workaround bf16-emulated: mixed precision is fp16 with loss scaling" in image["notes"]
    assert "bf16-emulated" in run.config().applicable_workarounds
    assert evidence.read(run, "image").facts["workarounds"] == run.config().applicable_workarounds
    assert call("gate_status", output_dir="t4")["steps"][1]["passed"]


@pytest.fixture
def nvidia(call, tmp_path):
    """The recorded NVIDIA: its pages and its registry."""
    with EmbeddedHub(tmp_path / "nvidia", extra_routes=recorded_web.routes()) as served:
        where = parse_map(recorded_web.web_map(served.url, recorded_web.NVIDIA))
        call.workspace._made["web"] = HttpWeb(endpoint=served.url, web_map=where, cache=tmp_path / "web")
        yield served


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """An engine without images."""
    with FakeEngine(tmp_path / "docker.sock") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        server.on("GET", "^/images/json$", body=[])
        yield server


@pytest.fixture
def in_containers(call, docker) -> Run:
    """A run on local-docker with an L4 and driver 550, audited."""
    gpu = {"name": "NVIDIA L4", "compute_capability": "8.9"}
    known = {"platform": "local-docker", "gpu_count": 1, "gpu_name": "NVIDIA L4", "driver_major": 550}
    config = sealed.CONFIG.model_copy(update={**known, "vram_gb_per_gpu": 24.0})
    facts = {**sealed.FACTS["host"], "gpu_count": 1, "driver_major": 550, "gpus": [gpu], "free_disk_gb": 300.0}
    return sealed.build(Run(call.workspace.root / "l4"), until="host", config=config, facts={"host": facts})


def test_an_image_is_pinned_with_its_sources_and_why_none_newer(call, in_containers, nvidia):
    image = call("pick_ngc_image", output_dir="l4")
    config, facts = in_containers.config(), evidence.read(in_containers, "image").facts
    assert image["ngc_image"] == config.ngc_image == "nvcr.io/nvidia/pytorch:25.06-py3"
    assert image["ngc_image_digest"] == config.ngc_image_digest == facts["ngc_image_digest"]
    assert any("CUDA 13 needs driver 580" in note for note in image["notes"])
    assert facts["torch"] == "2.8.0a0+5a7a1d3" and facts["workarounds"] == config.applicable_workarounds
    assert facts["passed_over"]["26.09"].startswith("CUDA 13")
    sources = evidence.read(in_containers, "image").sources
    assert any("support-matrix" in s.url for s in sources) and any("/blobs/sha256:" in s.url for s in sources)
    assert call("gate_status", output_dir="l4")["steps"][1]["passed"]
    assert len(json.dumps(image).replace(str(in_containers.path.parent), "/root")) < 2375, "an agent pays for it"


def test_the_user_s_image_is_kept_until_newest_is_asked_for(call, in_containers, nvidia):
    newest = "nvcr.io/nvidia/pytorch:25.06-py3"
    asked = call("pick_ngc_image", output_dir="l4", image="26.03")
    assert asked["ngc_image"].endswith(":26.03-py3") and any("compatibility package" in note for note in asked["notes"])
    assert call("pick_ngc_image", output_dir="l4")["ngc_image"] == asked["ngc_image"]
    assert evidence.read(in_containers, "image").facts["asked_for"] == "26.03"
    assert call("pick_ngc_image", output_dir="l4", image="newest")["ngc_image"] == newest
    assert call("pick_ngc_image", output_dir="l4")["ngc_image"] == newest
    error = call("pick_ngc_image", output_dir="l4", image="25.01")["error"]
    assert error["code"] == "invalid_input" and "transformers" in error["message"]
    assert in_containers.config().ngc_image == newest  # a refusal changes nothing


def test_the_fallback_table_is_logged_in_the_run(call, in_containers, docker, tmp_path):
    nowhere = {f"https://{name}": "http://127.0.0.1:9" for name in recorded_web.NVIDIA}
    call.workspace._made["web"] = HttpWeb(web_map=nowhere, cache=tmp_path / "web")
    error = call("pick_ngc_image", output_dir="l4")["error"]
    assert error["code"] == "not_found" and "docker pull nvcr.io/nvidia/pytorch:25.06-py3" in error["message"]
    docker.on("GET", "^/distribution/.+/json$", body={"Descriptor": {"digest": "sha256:" + "7" * 64}})
    for _ in range(2):
        image = call("pick_ngc_image", output_dir="l4")
    assert image["ngc_image_digest"] == "sha256:" + "7" * 64
    assert [note for note in in_containers.config().notes if "fallback table of" in note] == image["notes"][:1]


def test_local_process_has_no_image_to_name(call, run):
    call("audit_gpu", output_dir="run")
    error = call("pick_ngc_image", output_dir="run", image="26.03")["error"]
    assert error["code"] == "invalid_input" and "local-process" in error["message"]


ASKS = "train although the model does not fit: 160.7 GB at a batch of 1 against 8.0 GB of memory"


@pytest.fixture
def too_large(call) -> Run:
    facts = {"model": {"verdict": "accept", "parameters": 10**10}}
    return sealed.build(Run(call.workspace.root / "big"), until="host", facts=facts)


def gate_2(call) -> dict:
    return call("gate_status", output_dir="big")["steps"][1]


def test_the_user_may_go_on_although_the_estimate_says_no(call, too_large):
    """By quoting the question: nothing else opens the gate, and what was decided is written down."""
    first = call("pick_ngc_image", output_dir="big")
    assert not gate_2(call)["passed"] and any(f"confirm={ASKS!r}" in note for note in first["notes"])
    assert ASKS in call("fetch_recipe", output_dir="big")["error"]["missing"][0]
    call("pick_ngc_image", output_dir="big", confirm="yes, go on")
    assert not gate_2(call)["passed"] and evidence.read(too_large, "image").facts["overruled"] is None

    said = call("pick_ngc_image", output_dir="big", confirm=ASKS)
    assert gate_2(call)["passed"] and said["next"]["tool"] == "fetch_recipe"
    assert evidence.read(too_large, "image").facts["overruled"] == {
        "fit": "too_large",
        "needed_gb": 160.7,
        "room_gb": 8.0,
    }
    assert f"{CONFIRMED}: {ASKS}" in too_large.config().notes
    assert ledger.entries(too_large)[-1]["arguments"]["approved"] == ASKS

    call("pick_ngc_image", output_dir="big")  # another look at the images asks nobody again
    assert gate_2(call)["passed"] and too_large.config().notes.count(f"{CONFIRMED}: {ASKS}") == 1


def test_a_decision_is_of_one_estimate(call, too_large):
    """With less memory it is another question."""
    call("pick_ngc_image", output_dir="big", confirm=ASKS)
    sealed.write(too_large, "host", {**sealed.FACTS["host"], "memory_gb": 4.0}, too_large.config())
    call("pick_ngc_image", output_dir="big")
    assert not gate_2(call)["passed"]


@pytest.mark.parametrize("user", [True, False])
def test_a_client_that_can_ask_its_user_does(call, too_large, user):
    said = call("pick_ngc_image", output_dir="big", user=user, confirm=None if user else ASKS)
    assert said["asked"] == [f"tunegate: {ASKS}. Approve?"], (
        "an agent's confirm does not replace a user who can be asked"
    )
    assert gate_2(call)["passed"] is user


def test_gate_2_decides_by_the_code_and_not_by_the_sentence(call, too_large):
    facts = {**sealed.FACTS["image"], "fit": "too_large", "model_fit": "it would be a little close"}
    sealed.write(too_large, "image", facts, too_large.config())
    assert not gate_2(call)["passed"]
    sealed.write(too_large, "image", {**facts, "fit": "tight", "model_fit": "does not fit"}, too_large.config())
    assert gate_2(call)["passed"]
    overruled = {**facts, "needed_gb": 160.7, "room_gb": 8.0}
    overruled["overruled"] = {key: overruled[key] for key in ("fit", "needed_gb", "room_gb")}
    sealed.write(too_large, "image", {**overruled, "model_fit": "in other words"}, too_large.config())
    assert gate_2(call)["passed"]
    sealed.write(too_large, "image", {"model_fit": "fits", "workarounds": []}, too_large.config())
    assert "pick_ngc_image again" in next(c["detail"] for c in gate_2(call)["checks"] if c["name"] == "image")


def test_8b_lora_on_24_gb_is_not_refused(call):
    config = sealed.CONFIG.model_copy(
        update={"task": "text-generation", "training_method": "lora", "gpu_count": 1, "vram_gb_per_gpu": 24.0}
    )
    on_gpu = {**sealed.FACTS["host"], "gpu_count": 1, "vram_gb_per_gpu": 24.0, "free_vram_gb": 23.6}
    facts = {"model": {"verdict": "accept", **LLAMA_8B}, "host": on_gpu}
    sealed.build(Run(call.workspace.root / "llama"), until="host", config=config, facts=facts)
    found = call("pick_ngc_image", output_dir="llama")
    assert evidence.read(Run(call.workspace.root / "llama"), "image").facts["fit"] == "tight"
    assert any(note.startswith("would fit: per_device_train_batch_size 1 with") for note in found["notes"])
