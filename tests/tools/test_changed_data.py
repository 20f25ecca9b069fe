"""A local dataset that changes after it was probed: gate 1 says so until prepare has made of it what is trained on."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests import sealed
from tests.readers.test_formats import put
from tests.tools.conftest import call, server, workspace  # noqa: F401
from tunegate import evidence, gates
from tunegate.errors import ToolFailure
from tunegate.project import listed
from tunegate.readers import manifest, tables
from tunegate.rundir import Run


@pytest.fixture
def run(call) -> Run:  # noqa: F811
    root = call.workspace.root
    put(root / "pets", *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(6)))
    call("probe_model", model_id="me/vit", output_dir="run", platform="local-process", push_to_hub=False)
    found = call("probe_dataset", output_dir="run", local_dataset_path="pets")
    assert found.get("splits") == {"train": 12}, found
    return Run(root / "run")


@pytest.fixture
def two(call) -> Run:  # noqa: F811
    """Trained on pets/, measured on other/."""
    root = call.workspace.root
    for folder in ("pets", "other"):
        put(root / folder, *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(6)))
    call("probe_model", model_id="me/vit", output_dir="run", platform="local-process", push_to_hub=False)
    found = call("probe_dataset", output_dir="run", local_dataset_path="pets", local_eval_path="other")
    assert found.get("splits") == {"train": 12, "validation": 12}, found
    return Run(root / "run")


def test_what_is_measured_on_is_evidence_too_and_stays(two, call):  # noqa: F811
    root, config = call.workspace.root, two.config()
    assert (config.local_dataset_path, config.local_eval_path) == (str(root / "pets"), str(root / "other"))
    assert (config.train_split, config.eval_split, gate_1(two)) == ("train", "validation", [])
    assert listed.places(two, config) == [str(root / "pets"), str(root / "other")]
    put(root, "other/cat/0.png", content=b"-")
    assert any("cat/0.png has 1 bytes" in said for said in gate_1(two))
    again = call("probe_dataset", output_dir="run", local_dataset_path="pets")
    assert again["splits"] == {"train": 12, "validation": 12} and two.config().local_eval_path == str(root / "other")
    put(root, "third/cat/0.png", "third/dog/0.png")
    error = call("probe_dataset", output_dir="run", local_eval_path="third")["error"]
    assert (
        error["code"] == "approval_required" and f"evaluate on {str(root / 'third')!r} instead of" in error["message"]
    )
    error = call("probe_dataset", output_dir="run", local_eval_path="/etc")["error"]
    assert error["code"] == "outside_root" and "local_eval_path = '/etc'" in error["message"]


def test_a_file_is_mounted_with_the_folder_of_the_images_that_it_names(call):  # noqa: F811
    root = call.workspace.root
    put(root, "data/cat.png", "data/dog.png")
    rows = ['{"image": "cat.png", "label": "cat"}\n', '{"image": "dog.png", "label": "dog"}\n']
    put(root, "data/train.jsonl", "data/test.jsonl", content="".join(rows * 5))
    call("probe_model", model_id="me/vit", output_dir="run", platform="local-process", push_to_hub=False)
    paths = {"local_dataset_path": "data/train.jsonl", "local_eval_path": "data/test.jsonl"}
    assert call("probe_dataset", output_dir="run", **paths)["splits"] == {"train": 10, "validation": 10}
    run = Run(root / "run")
    assert listed.places(run, run.config()) == [str(root / "data")]


def gate_1(run: Run) -> list[str]:
    return [check.detail for check in gates.steps(gates.view(run))[0].checks if not check.ok]


def test_the_manifest_is_evidence(run):
    found, text = evidence.read(run, "dataset"), (run.path / listed.PATH).read_text()
    assert found.facts["manifest_sha256"] == hashlib.sha256(text.encode()).hexdigest() == found.files[listed.PATH]
    kept = json.loads(text)
    assert kept["rows"] == {"train": 12} and kept["classes"]["train"]["counts"] == {"cat": 6, "dog": 6}
    assert kept["layout"]["splits"]["train"]["cat"][0] == "cat/0.png" and gate_1(run) == []
    put(run.path, listed.PATH, content=text.replace("cat/0.png", "cat/1.png"))
    assert gate_1(run) == [f"is stale: {listed.PATH} was changed"]


def test_changed_files_close_gate_1_and_are_named(run, call):  # noqa: F811
    data = call.workspace.root / "pets"
    before = (data / "cat/0.png").read_bytes()
    put(data, "cat/0.png", content=b"x" * 9)
    (data / "dog/1.png").unlink()
    with pytest.raises(ToolFailure) as caught:
        gates.require(run, 3, "docker_run(stage='prepare')")
    refused = caught.value.failure
    assert (refused.gate, refused.next.tool) == (1, "probe_dataset")
    assert f"cat/0.png has 9 bytes, and had {len(before)}" in refused.missing[0] and "dog/1.png" in refused.missing[0]
    put(data, "cat/0.png", "dog/1.png", content=before)
    assert gate_1(run) == []


def test_what_is_prepared_no_longer_depends_on_the_files(run, call):  # noqa: F811
    put(call.workspace.root / "pets", "cat/0.png", content=b"x")
    assert len(gate_1(run)) == 1
    sealed.write(run, "stages/prepare", {"passed": True}, config=run.config())
    assert gate_1(run) == []


def test_probing_again_without_a_change_changes_nothing(run, call):  # noqa: F811
    before = evidence.read(run, "dataset").facts_digest
    call("probe_dataset", output_dir="run", local_dataset_path="pets")
    assert evidence.read(run, "dataset").facts_digest == before
    put(call.workspace.root / "pets", "cat/new.png")
    call("probe_dataset", output_dir="run", local_dataset_path="pets")
    assert evidence.read(run, "dataset").facts_digest != before


def test_a_container_sees_the_files_that_a_table_names(tmp_path):
    run = Run(tmp_path / "run")
    config = sealed.CONFIG.model_copy(update={"dataset_id": None, "local_dataset_path": str(tmp_path / "d/t.csv")})
    assert listed.places(run, config) == [str(tmp_path / "d/t.csv")] and listed.places(run, sealed.CONFIG) == []
    put(tmp_path, "d/t.csv", content="image,label\nimages/1.png,a\n")
    put(tmp_path, "d/images/1.png")
    for pictures, seen in (([], "d/t.csv"), ([tmp_path / "d/images/1.png"], "d")):
        found = tables.files(tmp_path / "d/t.csv", "csv").listing({}, pictures)
        listed.keep(run, manifest.text_of(manifest.of_listing(found, tmp_path / "d/t.csv")))
        assert listed.places(run, config) == [str(tmp_path / seen)]
