"""The rendered image-classification project, run by hand on a tiny model: every script, and every smoke check broken in turn."""

from __future__ import annotations

import json
import random
import shutil

import pytest

from tests.scaffolds import pages
from tests.scaffolds.conftest import CLASSES, draw, make_project
from tunegate.project import render
from tunegate.rundir import Run
from tunegate.stages.verdicts import shown

BREAK_SMOKE = """
import copy, json, sys
import torch
import train
from harness import smoke
from harness.project import CHECKPOINTS, REPORTS, load_config
from safetensors.torch import load_file, save_file

def masked(trainer):
    collate = trainer.data_collator
    trainer.data_collator = lambda rows: {**collate(rows), "labels": torch.full((len(rows),), -100)}

def lossy(change):
    def break_it(trainer):
        compute = trainer.compute_loss
        trainer.compute_loss = lambda model, inputs, **more: change(compute(model, inputs, **more), model)
    return break_it

def no_gradient(loss, model):
    return loss.detach() + 0 * sum(p.sum() for p in model.parameters())

def inf_gradient(trainer):
    next(trainer.model.parameters()).register_hook(lambda gradient: gradient * float("inf"))

def frozen(trainer):
    trainer.model.requires_grad_(False)

def no_learning_rate(trainer):
    trainer.args.learning_rate = 0.0

def forgetful(trainer):
    save = trainer.save_model
    def save_and_lose(folder, **more):
        save(folder, **more)
        weights = load_file(folder + "/model.safetensors")
        name = next(name for name in weights if "classifier" in name and name.endswith("weight"))
        save_file({**weights, name: torch.zeros_like(weights[name])}, folder + "/model.safetensors", metadata={"format": "pt"})
    trainer.save_model = save_and_lose

def idle_lora(trainer):
    trainer.model.resnet.lora_A = torch.nn.Linear(2, 2)

def explode(loss, model):
    raise RuntimeError("out of memory, say")

cases = {
    "sound": (lambda trainer: None, {}),
    "sound with warm-up": (lambda trainer: None, {"warmup_steps": 0.5}),
    "sound with accumulation": (lambda trainer: None, {"gradient_accumulation_steps": 2, "label_smoothing_factor": 0.1}),
    "sound in bf16": (lambda trainer: None, {"bf16": True}),  # as on a GPU
    "labels": (masked, {}),
    "loss nan": (lossy(lambda loss, model: loss * float("nan")), {}),
    "loss zero": (lossy(lambda loss, model: loss * 0), {}),
    "grad_norm zero": (lossy(no_gradient), {}),
    "grad_norm infinite": (inf_gradient, {}),
    "parameters_changed frozen": (frozen, {}),
    "parameters_changed no learning rate": (no_learning_rate, {}),
    "checkpoint_reloads": (forgetful, {}),
    "checkpoint_reloads in bf16": (forgetful, {"bf16": True}),
    "lora_gradients": (idle_lora, {}),
    "ran": (lossy(explode), {}),
}
results, arguments = {}, train.TrainingArguments
for name, (break_it, values) in cases.items():
    train.TrainingArguments = lambda **given: arguments(**{**given, **({"bf16": True, "use_cpu": True} if "bf16" in values else {})})
    def build(cfg):
        trainer = train.build_trainer({**cfg, **values})
        break_it(trainer)
        return trainer
    code = smoke.run(build, 2)
    results[name] = {"code": code, **json.loads((REPORTS / "smoke.json").read_text())}

def no_data(cfg):
    raise SystemExit("data/meta.json is missing")
results["ran before training"] = {"code": smoke.run(no_data, 2), **json.loads((REPORTS / "smoke.json").read_text())}

from harness import training
trainer = training.prepared(train.build_trainer(load_config()))
trainer.add_callback(training.Progress(None, load_config()))
lossy(lambda loss, model: loss * float("nan"))(trainer)
try:
    trainer.train()
except SystemExit as error:
    results["nan in training"] = str(error)
class Rows:
    train_dataset = [{"input_ids": [0] * n, "labels": 1} for n in (3, 50, 7, 90, 2)] * 100
    args = type("Args", (), {"per_device_train_batch_size": 3})
    data_collator = staticmethod(lambda rows: [len(row["input_ids"]) for row in rows])
results["largest"] = smoke._largest_batch(Rows)
results["left"] = sorted(path.name for path in CHECKPOINTS.iterdir())
json.dump(results, open("results.json", "w"))
"""


@pytest.fixture(scope="module")
def project(stage_python, tiny_model, shapes, tmp_path_factory):
    values = {
        "local_dataset_path": str(shapes),
        "local_dataset_format": "imagefolder",
        "n_train": 160,
        "n_eval": 45,
        "n_epochs": 3,
        "learning_rate": 0.01,
        "per_device_train_batch_size": 16,
        "seed": 7,
    }
    project = make_project(tmp_path_factory.mktemp("project"), stage_python, model_id=str(tiny_model), **values)
    project.ok("prepare_data.py")
    return project


def test_prepare_keeps_evaluation_rows_out_of_training(project):
    meta = project.json("data/meta.json")
    assert (meta["class_names"], meta["n_train"], meta["n_eval"]) == (list(CLASSES), 160, 45)
    assert sum(meta["train_histogram"].values()) == 160
    assert meta["train_sha256"] != meta["eval_sha256"]
    project.ok(
        "-c",
        "from harness.project import load_split\n"
        "a, b = ({row['image'].tobytes() for row in load_split(name)} for name in ('train', 'eval'))\nassert len(a) == 160 and not a & b",
    )


def test_the_data_page_shows_what_the_model_will_see(project, shapes, tiny_model):
    """Normalized for the model and back: the colors are those that were drawn; every class is shown as often as another."""
    page, meta = pages.DataPage(project), project.json("data/meta.json")
    for split, count in (("train", 160), ("eval", 45)):
        rows = page.rows[split]
        assert sorted(row.caption for row in rows) == sorted([*CLASSES] * 4)
        assert len({row.number for row in rows}) == 12 and max(row.number for row in rows) < count
        for row in rows:
            [picture] = row.pictures
            middle = picture.resize((8, 8)).getcolors()  # the shape is somewhere; its gray ground is no color
            assert pages.hue(max(middle, key=lambda found: max(found[1]) - min(found[1]))[1]) == {
                "circle": "red", "square": "green", "triangle": "blue"}[row.caption]  # fmt: skip
    counts = {name: [meta["train_histogram"][name], meta["eval_histogram"][name]] for name in CLASSES}
    assert page.bars("Classes", "class") == counts
    assert page.bars("Sizes and lengths", "width of an image") == {"40": [160, 45]}
    assert ["train", "rows read", "240", ""] in page.tables["Rows read and left out"]
    told = project.json("reports/data.json")
    assert (told["rows"], told["without_rows"], told["problems"]) == ({"train": 12, "eval": 12}, None, [])
    assert told["drawn_with"]["crop_scale_min"] == 0.6
    facts, notes, problems = shown.data_page(Run(project.path))
    assert facts["page_rows"] == told["rows"] and notes == problems == []
    assert len(page.html) < 1_000_000 and "shapes" in page.text
    assert str(shapes) not in page.html and str(tiny_model) not in page.html and str(project.path) not in page.html


ODD_PAGE = """
import json, random
import numpy as np
from PIL import Image
from harness import data_page, tiles
from harness.project import REPORTS, load_config, load_meta

cfg, meta, told = load_config(), load_meta(), []
names = ["<script>alert(1)</script>", 'a "b" & c', "half a \\ud83d character"]
meta["class_names"] = names
for split in ("train", "eval"):
    meta[f"{split}_histogram"] = dict(zip(names, meta[f"{split}_histogram"].values()))
meta["read"]["train"]["left_out"] = {"<img src=x onerror=alert(2)>": 3}
data_page.write(cfg, meta)
page = (REPORTS / "data.html").read_bytes()

import show_data
show_data.tile, drawing = (lambda *given: 1 / 0), show_data.tile
data_page.write(cfg, meta)
broken = json.loads((REPORTS / "data.json").read_text())
show_data.tile = drawing

import data
transform = data.random_crop
def stumble(image, *given):
    if random.random() < 0.2:
        raise ValueError("an image of no width")
    return transform(image, *given)
data.random_crop = stumble
try:
    data_page.write(cfg, meta)
    refused = ""
except SystemExit as error:
    refused = str(error)
noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (320, 320, 3), np.uint8))
json.dump({"broken": broken, "refused": refused, "bytes": len(tiles.jpeg(noise, 20_000)), "runs": [
    tiles.token_runs([5] * 20 + [1, 2], [0] * 20 + [1, 1], lambda ids: "".join(f"<{i}>" for i in ids)),
    len(tiles.token_runs(list(range(60)), [0, 1] * 30, str)),
    len(tiles.token_runs([1, 2] * 50_000, [1] * 100_000, str)[0][0]),
]}, open("odd.json", "w"))
(REPORTS / "data.html").write_bytes(page)
"""


def test_what_is_odd_on_the_data_page(project, shapes, tmp_path):
    """Foreign words stay text; what cannot be drawn is said; a row that no batch can be made of ends prepare."""
    copy = type(project)(tmp_path / "copy", project.python)
    shutil.copytree(project.path, copy.path, ignore=shutil.ignore_patterns("checkpoints", "logs", "reports"))
    (copy.path / "meta").mkdir()
    warnings = [f"{shapes}/circle holds a file that is none", "half of it is <b>dark</b>"]
    (copy.path / "meta/dataset.json").write_text(json.dumps({"facts": {"warnings": warnings}}))
    (copy.path / "odd_page.py").write_text(ODD_PAGE)
    copy.ok("odd_page.py")
    page, found = pages.DataPage(copy), copy.json("odd.json")
    for foreign in ("<script", "<img src=x", "<b>"):
        assert foreign not in page.html
    assert {row.caption for row in page.rows["train"]} == {*page.bars("Classes", "class")}
    assert {"<script>alert(1)</script>", 'a "b" & c', "half a ? character"} == {
        row.caption for row in page.rows["eval"]
    }
    assert ["train", "left out: <img src=x onerror=alert(2)>", "3 rows", "1.2%"] in page.tables[
        "Rows read and left out"
    ]
    assert f"{shapes.name}/circle holds a file that is none" in page.text and str(shapes) not in page.text
    assert "half of it is <b>dark</b>" in page.text

    assert found["broken"]["rows"] == {"train": 12, "eval": 12} and len(found["broken"]["problems"]) == 24
    assert "of train: ZeroDivisionError" in found["broken"]["problems"][0]
    assert (
        "of data/train cannot be made a batch" in found["refused"]
        and "ValueError: an image of no width" in found["refused"]
    )
    assert found["bytes"] <= 20_000
    assert found["runs"][0] == [["<5>⟨20 times⟩", False], ["<1><2>", True]]
    assert found["runs"][1] == 13 and found["runs"][2] < 1300


def test_the_whole_run_by_hand_in_the_readme_s_order(project, shapes):
    """Interrupted once on the way: the continued training goes on counting, and ends where an unbroken one would."""
    assert "passed" in project.ok("-m", "harness.check_api")
    assert "smoke PASSED" in project.ok("train.py", "--smoke", "--max_steps", "2")
    project.ok("run_eval.py", "--baseline")
    assert "stopped at step 14 of 30" in project.ok("train.py", "--max_steps", "14")
    assert not (project.path / "checkpoints/final").exists()
    (project.path / "checkpoints/checkpoint-20").mkdir()  # as a kill in the middle of saving leaves one
    output = project.ok("train.py")
    assert "%|" not in output
    project.ok("run_eval.py")
    project.ok("infer.py")

    report = project.json("reports/train.json")
    assert (report["global_step"], report["max_steps"], report["resumed_from"]) == (30, 30, "checkpoint-14")
    assert report["last_loss"] < report["first_loss"]
    log = project.rows("logs/train.jsonl")
    assert [row["step"] for row in log] == list(range(1, 31))
    assert set(log[0]) == {
        "step",
        "max_steps",
        "epoch",
        "loss",
        "grad_norm",
        "learning_rate",
        "time",
        "eta_s",
        "samples_per_second",
    }

    baseline, tuned = project.json("reports/baseline_results.json"), project.json("reports/eval_results.json")
    assert (baseline["kind"], tuned["kind"]) == ("random-head", "fine-tuned")
    assert tuned["accuracy"] > 0.8 > baseline["accuracy"]
    rows = project.rows("reports/eval_predictions.jsonl")
    assert tuned["accuracy"] == sum(row["label"] == row["prediction"] for row in rows) / 45
    assert sorted(row["index"] for row in rows) == list(range(45))
    assert tuned["eval_sha256"] == baseline["eval_sha256"] == project.json("data/meta.json")["eval_sha256"]
    assert set(tuned["per_class_accuracy"]) == set(CLASSES)

    samples = project.path / "reports/inference_samples"
    assert len(list(samples.glob("*_input.jpg"))) == len(list(samples.glob("*_pred.jpg"))) == 5
    assert json.loads((samples / "4_meta.json").read_text())["label"] in CLASSES
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= {
        path.name for path in (project.path / "checkpoints/final").iterdir()
    }
    assert json.loads((project.path / "checkpoints/final/config.json").read_text())["id2label"] == {
        str(i): name for i, name in enumerate(CLASSES)
    }

    assert "finished already" in project.ok("train.py")
    before = (project.path / "config.yaml").read_text()
    project.configure(learning_rate=0.02)
    refused = project.run("train.py")
    assert refused.returncode == 1
    assert "different: learning_rate" in refused.stdout
    assert "--fresh" in refused.stdout
    (project.path / "config.yaml").write_text(before)


@pytest.fixture(scope="module")
def broken(project, tmp_path_factory):
    """Every case in one process: importing torch is what takes time."""
    copy = tmp_path_factory.mktemp("broken") / "project"
    shutil.copytree(project.path, copy, ignore=shutil.ignore_patterns("checkpoints", "logs", "reports"))
    (copy / "break_smoke.py").write_text(BREAK_SMOKE)
    twin = type(project)(copy, project.python)
    twin.ok("break_smoke.py")
    return twin.json("results.json")


CHECKS = ["labels", "loss", "grad_norm", "parameters_changed", "checkpoint_reloads", "ran"]


@pytest.mark.parametrize("case", ["sound", "sound with warm-up", "sound with accumulation", "sound in bf16"])
def test_smoke_passes_on_a_sound_training(broken, case):
    report = broken[case]
    assert report["code"] == 0
    assert report["passed"]
    assert [(check["name"], check["ok"]) for check in report["checks"]] == [(name, True) for name in CHECKS]
    assert 0.5 < report["loss"] < 3
    assert report["grad_norm"] > 0
    assert (
        report["memory"]["device"] == "cpu" and 0.1 < report["memory"]["peak_gb"] < 8 and report["memory"]["rows"] == 80
    )


def test_smoke_measures_memory_with_the_largest_rows(broken):
    assert broken["largest"] == [[90, 90, 90], 125]
    assert broken["ran before training"]["memory"]["rows"] is None


def test_accumulated_loss_is_that_of_one_step(broken):
    """Two micro-batches of a step share its loss: the sum does not double."""
    assert broken["sound with accumulation"]["loss"] == pytest.approx(broken["sound"]["loss"], rel=0.5)


@pytest.mark.parametrize(
    "case",
    [
        "labels",
        "loss nan",
        "loss zero",
        "grad_norm zero",
        "grad_norm infinite",
        "parameters_changed frozen",
        "parameters_changed no learning rate",
        "checkpoint_reloads",
        "checkpoint_reloads in bf16",
        "lora_gradients",
        "ran",
        "ran before training",
    ],
)
def test_smoke_fails_exactly_where_it_is_broken(broken, case):
    report = broken[case]
    assert report["code"] == 1
    assert not report["passed"]
    assert [check["name"] for check in report["checks"] if not check["ok"]] == [case.split(" ")[0]]


def test_smoke_leaves_nothing_to_resume_from(broken):
    assert broken["left"] == []


def test_training_stops_at_a_loss_that_is_not_a_number(broken):
    assert "divide learning_rate by 10" in broken["nan in training"]


# prepare_data on other forms of data ---------------------------------------------------------------------------------


def write_rows(folder, form: str) -> str:
    """30 images and a table that names them; returns the dataset's path."""
    rng = random.Random(1)
    rows = []
    for i in range(30):
        name = list(CLASSES)[i % 3]
        draw(name, rng).save(folder / f"{i}.png")
        rows.append({"picture": f"{i}.png", "kind": name})
    if form == "csv":
        (folder / "rows.csv").write_text(
            "picture,kind\n" + "".join(f"{row['picture']},{row['kind']}\n" for row in rows)
        )
    elif form == "jsonl":
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_tables_that_name_image_files(stage_python, tmp_path, form):
    (tmp_path / "rows").mkdir()
    path = write_rows(tmp_path / "rows", form)
    (tmp_path / "rows/4.png").write_bytes(b"\x89PNG not an image")
    project = make_project(
        tmp_path / "project",
        stage_python,
        local_dataset_path=path,
        local_dataset_format=form,
        column_map={"image": "picture", "label": "kind"},
        n_train=20,
        n_eval=100,
    )
    project.ok("prepare_data.py")
    meta = project.json("data/meta.json")
    assert meta["class_names"] == sorted(CLASSES)
    assert (meta["n_train"], meta["n_eval"]) == (20, 5)  # 29 readable rows, a fifth of them held out
    assert meta["dropped"] == {"image cannot be read": 1}
    page = pages.DataPage(project)  # without the model, which is not on this disk, there are no rows to show
    assert ["train", "left out: image cannot be read", "1 rows", "3.3%"] in page.tables["Rows read and left out"]
    assert page.bars("Classes", "class")["circle"][0] == meta["train_histogram"]["circle"]
    assert page.rows == {"train": [], "eval": []} and "No rows are shown" in page.text


SAVE_ARROW = """
import sys
from pathlib import Path
from datasets import Dataset, DatasetDict, Image
paths = sorted(Path(sys.argv[1]).glob("*.png"))
labels = [None if p.stem == "7" else int(p.stem) % 3 for p in paths]
data = Dataset.from_dict({"image": [str(p) for p in paths], "label": labels}).cast_column("image", Image())
train, test = data.select(range(20)), data.select(range(20, 30))
DatasetDict({"train": train, "test": test}).save_to_disk(sys.argv[2])
for name, part in (("train", train), ("test", test)):
    part.to_parquet(f"{sys.argv[3]}/{name}-00000-of-00001.parquet")
"""


def test_arrow_and_parquet_with_an_evaluation_split(stage_python, tmp_path):
    """The same rows in both forms; integer labels become class names; null is no label."""
    (tmp_path / "rows").mkdir()
    (tmp_path / "parquet").mkdir()
    path = write_rows(tmp_path / "rows", "none")
    project = make_project(
        tmp_path / "project",
        stage_python,
        local_dataset_path=str(tmp_path / "arrow"),
        local_dataset_format="arrow",
        train_split="train",
        eval_split="test",
        n_train=100,
        n_eval=100,
    )
    project.ok("-c", SAVE_ARROW, path, str(tmp_path / "arrow"), str(tmp_path / "parquet"))
    found = []
    for form in ("arrow", "parquet"):
        project.configure(local_dataset_path=str(tmp_path / form), local_dataset_format=form)
        project.ok("prepare_data.py")
        found.append(project.json("data/meta.json"))
    assert found[0] == found[1]
    assert found[0]["class_names"] == ["0", "1", "2"]
    assert found[0]["n_train"] + found[0]["n_eval"] == 29
    assert found[0]["dropped"] == {"no label": 1}


def test_labels_that_config_does_not_know_are_refused(stage_python, shapes, tmp_path):
    project = make_project(
        tmp_path / "project", stage_python, local_dataset_path=str(shapes), class_names=["circle", "square"]
    )
    refused = project.run("prepare_data.py")
    assert refused.returncode == 1
    assert "'triangle', which is not one of class_names" in refused.stdout
    assert not (project.path / "data").exists()


OTHER_MODELS = """
import json, sys
from types import SimpleNamespace as Name
from PIL import Image
from transformers import AutoImageProcessor, MobileNetV2ImageProcessorPil, ViTImageProcessorPil
from harness.heads import own_columns
from model import load_processor
from harness.pixels import input_size
found = {}
vit = ViTImageProcessorPil(size={"height": 48, "width": 48})
mobilenet = MobileNetV2ImageProcessorPil(size={"shortest_edge": 60}, crop_size={"height": 50, "width": 50})
for processor in (vit, mobilenet):
    processor.save_pretrained("processor")
    cfg = {"model_id": "processor", "model_revision": None, "image_size": None}
    found[type(processor).__name__] = [input_size(load_processor(cfg)), input_size(load_processor({**cfg, "image_size": 24}))]
model = Name(config=Name(id2label={0: "tench, Tinca tinca", 1: "English_springer", 2: "goldfish"}))
found["known"] = own_columns(model, ["english springer", "Tench"])
found["unknown"] = own_columns(model, ["english springer", "cat"])
json.dump(found, open("found.json", "w"))
"""


def test_image_sizes_and_zero_shot_labels(project):
    """image_size holds for processors that name their size in other ways; labels are compared as people read them."""
    project.ok("-c", OTHER_MODELS)
    found = project.json("found.json")
    assert found["ViTImageProcessorPil"] == [[48, 48], [24, 24]]
    assert found["MobileNetV2ImageProcessorPil"] == [[50, 50], [24, 24]]
    assert found["known"] == [1, 0]
    assert found["unknown"] is None


def test_scripts_are_of_a_readable_size():
    from tunegate.config import RunConfig

    config = render.with_defaults(RunConfig(model_id="a/b", task="image-classification"), {})
    for name, text in render.render_files(config, {}).items():
        assert len(text.splitlines()) < 450, name
