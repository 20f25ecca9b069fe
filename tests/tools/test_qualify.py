"""Step 1 through the server: what a good pair answers, what each bad input is told, and who decides on a substitution."""

from __future__ import annotations

import base64
import json

import pytest

from tests.fake_engine import IMAGE_ID, FakeEngine
from tests.tiny import TOKEN, model_files, png
from tunegate import config, evidence
from tunegate.clients.hub import Hub
from tunegate.embedded.hub import Fault
from tunegate.evidence.approvals import CONFIRMED
from tunegate.probe.dataset import streamed
from tunegate.probe.model import deep
from tunegate.rundir import Run


def begin(call, **arguments):
    answer = call("probe_model", model_id="me/vit", output_dir="run", **arguments)
    assert "error" not in answer, answer
    return answer


def test_a_model_and_a_dataset_open_gate_1(call):
    model = begin(call)
    assert (
        model["task"] == "image-classification"
        and model["auto_class"] == "AutoModelForImageClassification"
        and len(model["model_revision"]) == 40
    )
    assert model["next"]["tool"] == "probe_dataset"
    data = call("probe_dataset", output_dir="run", dataset_id="me/pets", n_train=10)
    assert (
        data["class_names"] == ["cat", "dog"]
        and data["column_map"] == {"image": "image", "label": "label"}
        and data["next"]["tool"] == "audit_gpu"
    )
    saved = config.load(call.workspace.root / "run/config.yaml")
    assert (
        saved.dataset_id == "me/pets"
        and saved.n_train == 10
        and saved.eval_split == "test"
        and saved.model_revision == model["model_revision"]
    )


@pytest.mark.parametrize(
    ("model_id", "code", "says"),
    [
        ("a b/c", "invalid_input", "namespace/name"),
        ("../../etc/passwd", "invalid_input", "model_id"),
        ("", "invalid_input", "model_id"),
        ("me/nothing", "not_found", "me/nothing"),
        ("you/private", "not_found", "private"),
        ("me/pets", "not_found", "is a dataset"),
        ("me/speech", "out_of_scope", "speech"),
        ("me/code", "rejected", "own Python code"),
    ],
)
def test_a_bad_model(call, model_id, code, says):
    error = call("probe_model", model_id=model_id, output_dir="run")["error"]
    assert error["code"] == code and says in error["message"], error
    assert not (call.workspace.root / "run").exists()  # nothing half-written


def test_a_gated_model_names_the_page_to_ask_at(call, server):
    call.workspace._made["hub"] = Hub(server.url, token="hf_" + "strangerstrangerstra")
    error = call("probe_model", model_id="me/gated")["error"]
    assert (
        error["code"] == "access_denied"
        and f"{server.url}/me/gated" in error["message"]
        and "HF_TOKEN" in error["message"]
    )


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ({"dataset_id": "me/nothing"}, "not_found", "me/nothing"),
        ({"dataset_id": "me/vit"}, "not_found", "is a model"),
        ({"dataset_id": "me/empty"}, "rejected", ""),
        ({"dataset_id": "me/one-class"}, "rejected", "class"),
        ({"dataset_id": "me/text"}, "rejected", "picture_of"),
        ({}, "ambiguous", "own data"),
        ({"dataset_id": "me/pets", "local_dataset_path": "."}, "invalid_input", "both"),
        ({"local_dataset_path": "/etc"}, "outside_root", "--data-root"),
        ({"local_dataset_path": "../../elsewhere"}, "outside_root", "--data-root"),
        ({"local_dataset_path": "no-such"}, "not_found", "no-such"),
        ({"dataset_id": "me/pets", "n_train": 0}, "invalid_input", "n_train"),
    ],
)
def test_a_bad_dataset(call, arguments, code, says):
    begin(call)
    error = call("probe_dataset", output_dir="run", **arguments)["error"]
    assert error["code"] == code and says in error["message"], error
    assert config.load(call.workspace.root / "run/config.yaml").dataset_id is None


@pytest.mark.parametrize(
    "fault", [{"status": 401}, {"status": 429, "headers": {"Retry-After": "7"}}, {"status": 500}, {"half_body": True}]
)
def test_a_hub_that_fails(call, server, fault):
    server.faults.append(Fault("/api/models/me/vit", **fault))
    error = call("probe_model", model_id="me/vit", output_dir="run")["error"]
    assert (
        error["code"] == ("access_denied" if fault.get("status") == 401 else "unavailable")
        and TOKEN not in error["message"]
    ), error
    assert not (call.workspace.root / "run").exists()


def test_a_local_dataset_through_a_symlink(call, tmp_path):
    begin(call)
    (tmp_path / "elsewhere").mkdir()
    (call.workspace.root / "data").symlink_to(tmp_path / "elsewhere")
    assert call("probe_dataset", output_dir="run", local_dataset_path="data")["error"]["code"] == "outside_root"


SUBSTITUTION = "replace model_id 'me/vit' with 'me/other'"


def test_another_model_needs_the_users_words(call):
    begin(call)
    error = call("probe_model", model_id="me/other", output_dir="run")["error"]
    assert error["code"] == "approval_required" and SUBSTITUTION in error["message"]
    assert (
        call("probe_model", model_id="me/other", output_dir="run", confirm="yes")["error"]["code"]
        == "approval_required"
    )
    answer = call("probe_model", model_id="me/other", output_dir="run", confirm=SUBSTITUTION)
    assert answer["model_id"] == "me/other" and answer["notes"] == [f"{CONFIRMED}: {SUBSTITUTION}"]
    assert f"{CONFIRMED}: {SUBSTITUTION}" in config.load(call.workspace.root / "run/config.yaml").notes


def test_editing_config_yaml_does_not_make_a_substitution_a_first_choice(call):
    begin(call)
    path = call.workspace.root / "run/config.yaml"
    path.write_text(path.read_text().replace("me/vit", "me/other"))
    assert call("probe_model", model_id="me/other", output_dir="run")["error"]["code"] == "approval_required"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_that_can_ask_its_user_is_made_to(call, mode):
    begin(call)
    refused = call("probe_model", user=False, mode=mode, model_id="me/other", output_dir="run", confirm=SUBSTITUTION)
    assert (
        refused["error"]["code"] == "approval_required" and SUBSTITUTION in refused["asked"][0]
    )  # its own `confirm` is not enough
    granted = call("probe_model", user=True, mode=mode, model_id="me/other", output_dir="run")
    assert granted["model_id"] == "me/other" and len(granted["asked"]) == 1
    assert (
        call("probe_model", user=False, mode=mode, model_id="me/other", output_dir="run")["asked"] == []
    )  # nothing to ask any more


def test_another_dataset_needs_the_users_words(call):
    begin(call)
    call("probe_dataset", output_dir="run", dataset_id="me/pets")
    error = call("probe_dataset", output_dir="run", dataset_id="me/other-pets")["error"]
    assert error["code"] == "approval_required" and "replace dataset 'me/pets' with 'me/other-pets'" in error["message"]
    answer = call(
        "probe_dataset",
        output_dir="run",
        dataset_id="me/other-pets",
        confirm="replace dataset 'me/pets' with 'me/other-pets'",
    )
    assert answer["dataset"] == "me/other-pets" and answer["eval_split"] is None


def test_probing_again_changes_nothing_behind_it(call):
    begin(call)
    call("probe_dataset", output_dir="run", dataset_id="me/pets")
    assert begin(call)["next"]["tool"] == "audit_gpu"  # the dataset's evidence still holds


def test_a_model_that_is_recognized_but_not_trained_is_told_whole(call, server):
    config = {"model_type": "detr", "architectures": ["DetrForSegmentation"]}  # its loss wants boxes beside the masks
    server.add_repo("model", "me/detr", model_files(config))
    error = call("probe_model", model_id="me/detr", output_dir="run")["error"]
    found = ("panoptic-segmentation; DetrForSegmentation; 10 parameters", "license apache-2.0")
    assert error["code"] == "rejected" and all(part in error["message"] for part in found)
    assert not (call.workspace.root / "run").exists()


def test_a_deep_probe_that_takes_long_is_followed(call, tmp_path, monkeypatch):
    monkeypatch.setattr(deep, "WAIT_S", 0.05)
    with FakeEngine(tmp_path / "docker.sock") as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.host)
        engine.images[deep.PROBE_IMAGE] = {"Id": IMAGE_ID, "Config": {}}
        answer = begin(call, deep=True)
        assert answer["next"]["tool"] == "probe_model" and answer["next"]["arguments"]["deep"] is True
        assert any("still at work" in warning for warning in answer["warnings"])
        [container] = engine.containers.values()
        key = container.config["Cmd"][0].split(deep.SCRIPT.name)[1].split()[0]
        seen = {"key": key, "python": "3", "transformers": "5.23.0", "model_type": "vit"}
        seen["auto"] = {"AutoModelForImageClassification": ["ViTForImageClassification"]}
        [folder] = (call.workspace.root / "run/.probe").iterdir()
        (folder / "result.json").write_text(json.dumps(seen))
        engine.end(container, 0)
        answer = call("probe_model", **answer["next"]["arguments"])
    assert answer["next"]["tool"] == "probe_dataset" and not any("still" in warning for warning in answer["warnings"])


def test_a_dataset_that_is_streamed_for_long_is_followed(call, server, tmp_path, monkeypatch):
    server.add_repo("dataset", "me/shards", {"train.tar": b"not looked at"})
    begin(call)
    monkeypatch.setattr(streamed, "WAIT_S", 0.05)
    kinds = {"text": {"_type": "Image"}, "cls": {"_type": "Value", "dtype": "string"}}
    with FakeEngine(tmp_path / "docker.sock") as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.host)
        engine.images[deep.PROBE_IMAGE] = {"Id": IMAGE_ID, "Config": {}}
        refused = call("probe_dataset", output_dir="run", dataset_id="me/shards", train_split="train", n_train=9)
        again = refused["error"]["next"]
        assert refused["error"]["code"] == "unavailable" and again["tool"] == "probe_dataset"
        assert again["arguments"].items() >= {"dataset_id": "me/shards", "train_split": "train", "n_train": 9}.items()
        [container] = engine.containers.values()
        key = container.config["Cmd"][0].split(streamed.SCRIPT.name)[1].split()[0]
        rows = [{"text": {"data": base64.b64encode(png()).decode()}, "cls": "ab"[at % 2]} for at in range(20)]
        split = {"name": "train", "features": kinds, "looked": rows, "complete": True}
        [folder] = (call.workspace.root / "run/.probe").iterdir()
        (folder / "result.json").write_text(json.dumps({"key": key, "splits": [split]}))
        engine.end(container, 0)
        answer = call("probe_dataset", **again["arguments"])
    assert (answer["splits"], answer["class_names"]) == ({"train": 20}, ["a", "b"])
    assert evidence.read(Run(call.workspace.root / "run"), "dataset").facts["read_through"] == "streamed in a container"
