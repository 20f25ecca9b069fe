from __future__ import annotations

import json
from typing import get_args

import pytest

from tests.probe.dataset import probe_dataset
from tests.tiny import TOKEN, dataset_files, model_files, parquet, png
from tunegate.clients.hub import Hub
from tunegate.config import RunConfig
from tunegate.embedded.hub import Fault
from tunegate.errors import ToolFailure
from tunegate.probe.dataset.facts import CODINGS
from tunegate.probe.dataset.masks import MaskFacts
from tunegate.probe.model import probe_model

TASK = "image-classification"
VIEWER = r"^/(is-valid|splits|info|size|first-rows|rows)"


def put(server, files, name="me/data", **how):
    server.add_repo("dataset", name, files, **how)
    return name


def refused(hub, **arguments):
    with pytest.raises(ToolFailure) as caught:
        probe_dataset(hub, **{"task": TASK} | arguments)
    assert "hf_" not in caught.value.failure.message
    return caught.value.failure


@pytest.fixture
def pets(server):
    return put(
        server,
        dataset_files(parquet([0, 1] * 20, names=["cat", "dog"]), test=parquet([0, 1] * 5, names=["cat", "dog"])),
    )


def test_through_the_viewer(hub, pets):
    facts = probe_dataset(hub, dataset_id=pets, task=TASK)
    assert (facts.verdict, facts.source, facts.read_through, len(facts.revision)) == ("accept", "hub", "viewer", 40)
    assert (facts.config, facts.splits) == ("default", {"train": 40, "test": 10})
    assert (facts.train_split, facts.eval_split, facts.column_map) == (
        "train",
        "test",
        {"image": "image", "label": "label"},
    )
    assert (facts.class_names, facts.label_histogram, facts.label_complete) == (
        ["cat", "dog"],
        {"cat": 20, "dog": 20},
        True,
    )
    assert facts.columns == {"image": "Image", "label": "ClassLabel(2)"} and len(facts.sample_rows) == 3
    assert facts.sample_rows[0]["image"].startswith("<image") and facts.sources and facts.bytes_fetched > 0
    assert len(facts.model_dump_json()) < 6000


@pytest.mark.parametrize(
    "files",
    [
        lambda: dataset_files(
            parquet([0, 1] * 20, names=["cat", "dog"]), test=parquet([0, 1] * 5, names=["cat", "dog"])
        ),
        lambda: {
            f"{split}/{name}/{i}.png": png() for split in ("train", "test") for name in ("cat", "dog") for i in range(5)
        },
    ],
)
def test_through_the_files_when_the_viewer_is_away(server, hub, files):
    server.faults.append(Fault(VIEWER, status=500, times=99))
    facts = probe_dataset(hub, dataset_id=put(server, files()), task=TASK)
    assert (facts.read_through, facts.class_names, facts.eval_split) == ("files", ["cat", "dog"], "test")
    assert set(facts.splits) == {"train", "test"} and None not in facts.splits.values()
    assert any("viewer did not answer" in warning for warning in facts.warnings)


def test_columns_are_renamed_when_only_one_fits(server, hub):
    name = put(server, dataset_files(parquet([0, 1] * 5, image="img", label="fine_label", names=["a", "b"])))
    facts = probe_dataset(hub, dataset_id=name, task=TASK)
    assert facts.column_map == {"image": "img", "label": "fine_label"}
    assert (facts.eval_split, "held out" in facts.split_reason) == (None, True)


def test_both_neither_and_the_wrong_kind(server, hub, pets, tmp_path):
    failure = refused(hub, dataset_id=pets, local_path=str(tmp_path))
    assert failure.code == "invalid_input" and "exactly one" in failure.message
    failure = refused(hub)
    assert failure.code == "ambiguous" and failure.message.index("beans") < failure.message.index("own data")
    assert refused(hub, dataset_id=pets, task="object-detection").code == "rejected"
    assert refused(hub, dataset_id=pets, task="fill-mask").code == "out_of_scope"
    server.add_repo("model", "me/tiny", model_files())
    assert "is a model, not a dataset" in refused(hub, dataset_id="me/tiny").message
    assert refused(hub, dataset_id="a/b/c").code == "invalid_input"


def test_missing_gated_private(server, hub, pets):
    assert refused(hub, dataset_id="me/none").code == "access_denied"
    owner = Hub(server.url, token=TOKEN)
    assert refused(owner, dataset_id="me/none").code == "not_found"
    files = dataset_files(parquet([0, 1], names=["a", "b"]))
    failure = refused(hub, dataset_id=put(server, files, "me/gated", gated="manual"))
    assert failure.code == "access_denied" and f"{server.url}/datasets/me/gated" in failure.message
    assert refused(hub, dataset_id=put(server, files, "me/private", private=True)).code == "access_denied"
    assert any("HF_TOKEN" in w for w in probe_dataset(owner, dataset_id="me/gated", task=TASK).warnings)
    assert probe_dataset(owner, dataset_id="me/private", task=TASK).verdict == "accept"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"README.md": b"# nothing"}, "empty"),
        ({}, "empty"),
        (dataset_files(parquet([], names=["a", "b"])), "no rows"),
        (dataset_files(parquet([0] * 9, names=["a"])), "one class"),
        (dataset_files(parquet(["a"] * 9)), "one class"),
        (dataset_files(parquet([-1] * 9, names=["a", "b"])), "has a label"),
        (dataset_files(parquet([0, 1], names=["a", "b"])) | {"data.py": b"import os"}, "Python script"),
        ({"loader.py": b""}, "Python script"),
    ],
)
def test_empty_one_class_unlabeled_and_scripts_are_rejected(server, hub, files, says):
    failure = refused(hub, dataset_id=put(server, files))
    assert failure.code == "rejected" and says in failure.message and "choose" in failure.message


def test_wrong_columns_say_what_there_is_and_what_is_needed(server, hub):
    failure = refused(hub, dataset_id=put(server, dataset_files(parquet([0, 1] * 5, image="image", label="score"))))
    assert failure.code == "rejected" and "score (int64)" in failure.message and "image + label" in failure.message
    assert "column_map={'label'" in failure.message
    facts = probe_dataset(hub, dataset_id="me/data", task=TASK, column_map={"label": "score"})
    assert facts.column_map["label"] == "score" and facts.class_names == ["0", "1"]
    assert refused(hub, dataset_id="me/data", column_map={"label": "image"}).code == "invalid_input"
    assert refused(hub, dataset_id="me/data", column_map={"label": "zz"}).code == "invalid_input"
    assert refused(hub, dataset_id="me/data", column_map={"mask": "image"}).code == "invalid_input"


def test_splits_that_were_named(hub, pets):
    facts = probe_dataset(hub, dataset_id=pets, task=TASK, train_split="test", eval_split="train")
    assert (facts.train_split, facts.eval_split) == ("test", "train")
    assert "'zz' does not exist" in refused(hub, dataset_id=pets, eval_split="zz").message
    assert refused(hub, dataset_id=pets, train_split="test", eval_split="test").code == "invalid_input"
    assert (
        "it has" not in refused(hub, dataset_id=pets, config="zz").message
        and "default" in refused(hub, dataset_id=pets, config="zz").message
    )


def test_a_hidden_test_split_is_passed_over(server, hub):
    name = put(server, dataset_files(parquet([0, 1] * 9, names=["a", "b"]), test=parquet([-1] * 4, names=["a", "b"])))
    facts = probe_dataset(hub, dataset_id=name, task=TASK)
    assert facts.eval_split is None and "test has no labels" in facts.split_reason
    assert refused(hub, dataset_id=name, eval_split="test").code == "rejected"


def test_rows_sorted_by_class_are_sampled_further_on(server, hub):
    name = put(server, dataset_files(parquet(["cat"] * 150 + ["dog"] * 150)))
    facts = probe_dataset(hub, dataset_id=name, task=TASK)
    assert set(facts.label_histogram) == {"cat", "dog"} and not facts.label_complete and facts.class_names == []
    failure = refused(hub, dataset_id=put(server, dataset_files(parquet(["cat"] * 300)), "me/cats"))
    assert failure.code == "rejected" and "one class" in failure.message


def test_the_models_head_is_compared(server, hub, pets):
    server.add_repo(
        "model",
        "me/tiny",
        model_files({"model_type": "vit", "architectures": ["ViTForImageClassification"], "num_labels": 1000}),
    )
    facts = probe_dataset(hub, dataset_id=pets, task=TASK, model_facts=probe_model(hub, "me/tiny"))
    assert any("1000 classes, the dataset 2" in warning for warning in facts.warnings)


@pytest.mark.parametrize(("status", "code"), [(401, "access_denied"), (429, "unavailable"), (500, "unavailable")])
def test_the_hub_fails(server, hub, pets, status, code):
    server.faults.append(Fault(r"^/api/datasets/", status=status, times=99))
    assert refused(hub, dataset_id=pets).code == code


@pytest.mark.parametrize("endpoint", ["is-valid", "splits", "info", "size", "first-rows"])
@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_the_viewer_fails_at_any_point(server, hub, pets, endpoint, status):
    server.faults.append(Fault(f"^/{endpoint}", status=status, times=99))
    facts = probe_dataset(hub, dataset_id=pets, task=TASK)
    assert facts.class_names == ["cat", "dog"] and facts.eval_split == "test"


def _viewer(monkeypatch, hub, pets, **answers):
    """The viewer's answers replaced one by one: shapes that the embedded Hub does not produce."""
    real = hub.viewer
    monkeypatch.setattr(
        Hub,
        "viewer",
        lambda self, endpoint, **params: answers.get(endpoint.replace("-", "_"), None) or real(endpoint, **params),
    )
    return {"dataset_id": pets}


@pytest.mark.parametrize(
    "answers",
    [
        {"splits": {"splits": "none"}},
        {"splits": {"splits": [{"config": 1}, 2]}},
        {"info": {"dataset_info": [1]}},
        {"info": {"dataset_info": {"features": 3}}},
        {"first_rows": {"rows": [1, {"row": 2}], "features": {}}},
        {"is_valid": {"viewer": False}},
    ],
)
def test_odd_answers_of_the_viewer(monkeypatch, hub, pets, answers):
    assert probe_dataset(hub, **_viewer(monkeypatch, hub, pets, **answers), task=TASK).class_names == ["cat", "dog"]


def test_several_configurations_or_class_columns_are_for_the_user_to_choose(monkeypatch, hub, pets):
    two = {"splits": [{"dataset": pets, "config": name, "split": "train"} for name in ("coarse", "fine")]}
    arguments = _viewer(monkeypatch, hub, pets, splits=two)
    failure = refused(hub, **arguments)
    assert failure.code == "ambiguous" and "dataset_config='coarse'" in failure.message
    label = {"_type": "ClassLabel", "names": ["a", "b"]}
    features = {"img": {"_type": "Image"}, "fine_label": label, "coarse_label": label}
    arguments = _viewer(monkeypatch, hub, pets, splits=two, info={"dataset_info": {"features": features}})
    failure = refused(hub, **arguments, config="fine")
    assert (
        failure.code == "ambiguous"
        and "column_map={'label': 'fine_label'}" in failure.message
        and "coarse_label" in failure.message
    )


def test_a_local_folder(hub, tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "pets" / name / f"{i}.png").write_bytes(png(5, 6))
    facts = probe_dataset(hub, local_path=str(tmp_path / "pets"), task=TASK)
    assert (facts.source, facts.local_format, facts.splits, facts.class_names) == (
        "local",
        "imagefolder",
        {"train": 6},
        ["cat", "dog"],
    )
    assert facts.sample_rows[0] == {"image": "<image 5x6>", "label": "cat"} and facts.bytes_fetched == 0
    before = facts.sources[0]
    (tmp_path / "pets" / "cat" / "new.png").write_bytes(png())
    assert probe_dataset(hub, local_path=str(tmp_path / "pets"), task=TASK).sources[0].sha256 != before.sha256
    assert json.loads(facts.model_dump_json())["local_path"] == str(tmp_path / "pets")


@pytest.mark.parametrize("path", ["", " ", "a\0b", "/no/such/folder", "~nobody-here/x"])
def test_local_paths_that_are_none(hub, path):
    assert refused(hub, local_path=path).code in ("invalid_input", "not_found")


def test_what_the_config_keeps_is_of_the_config(hub, tmp_path):
    """for_config() and the map are values of config.yaml, so that a rendered project needs no evidence."""
    rows = [{"question": "q", "answer": "a"}] * 3
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    facts = probe_dataset(hub, local_path=str(tmp_path), task="text-generation")
    kept = {**facts.for_config(), "column_map": facts.column_map, "column_reshape": facts.column_reshape}
    config = RunConfig(model_id="me/m", **kept)
    assert config.column_reshape == "question_answer_to_messages" and config.box_format is None
    assert len("\n".join(facts.described())) < 600
    codings = get_args(MaskFacts.model_fields["coding"].annotation)
    kinds = get_args(get_args(RunConfig.model_fields["mask_values"].annotation)[0])
    assert set(codings) == set(CODINGS) and {*CODINGS.values(), "ids_from_1"} == set(kinds)


def test_box_format_is_for_boxes(hub, pets):
    assert refused(hub, dataset_id=pets, box_format="xywh").code == "invalid_input"
