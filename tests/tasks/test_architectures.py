from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.tiny import model_files
from tunegate import tasks
from tunegate.clients.hub import RepoInfo
from tunegate.errors import ToolFailure
from tunegate.probe.model import detect, probe_model
from tunegate.tasks import architectures

SCRIPT = Path(architectures.__file__).with_name("make_architectures.py")
INFO = RepoInfo(id="me/m", sha="a" * 40, private=False, gated=None, tags=[], card={}, files={})


@pytest.mark.parametrize(
    ("name", "vision", "expected"),
    [
        ("ViTForImageClassification", False, (("image-classification",), None)),
        ("DeiTForImageClassificationWithTeacher", False, (("image-classification",), None)),
        ("GPT2LMHeadModel", False, (("text-generation",), None)),
        ("LlavaForConditionalGeneration", True, (("image-text-to-text",), None)),
        ("FuyuForCausalLM", False, (("image-text-to-text",), None)),
        ("DetrForSegmentation", False, (("panoptic-segmentation",), None)),
        ("RfDetrForInstanceSegmentation", False, (("instance-segmentation",), None)),
        ("Mask2FormerForUniversalSegmentation", False, (tasks.SEGMENTATION, None)),
        ("WhisperForConditionalGeneration", False, ((), "automatic-speech-recognition")),
        ("GroundingDinoForObjectDetection", False, ((), "zero-shot-object-detection")),
        ("LlamaForSequenceClassification", False, ((), "text-classification")),
        ("SamModel", False, ((), "mask-generation")),
        ("ViTModel", False, ((), None)),
        ("CLIPModel", False, ((), None)),
        ("ViTForMaskedImageModeling", False, ((), None)),
        ("NewVLForConditionalGeneration", True, (("image-text-to-text",), None)),
        ("NewForConditionalGeneration", False, ((), "text2text-generation")),
        ("NewForPanopticSegmentation", False, (("panoptic-segmentation",), None)),
        ("", False, ((), None)),
    ],
)
def test_heads(name, vision, expected):
    found, foreign = architectures.of_class(name, has_vision=vision)
    assert (set(found), foreign) == (set(expected[0]), expected[1])


@pytest.mark.parametrize(
    ("model_type", "expected"),
    [
        ("segformer", {"image-classification", "semantic-segmentation"}),
        ("dpt", {"semantic-segmentation", "depth-estimation"}),
        ("gemma3", {"image-text-to-text", "text-generation"}),
        ("llama", {"text-generation"}),
        ("bert", set()),
        ("whisper", set()),
        ("no such type", set()),
    ],
)
def test_what_a_type_can_be_built_into(model_type, expected):
    assert set(architectures.of_type(model_type)) == expected


@pytest.mark.parametrize(
    ("task", "model_type", "name", "expected"),
    [
        ("semantic-segmentation", "segformer", "", "AutoModelForSemanticSegmentation"),
        ("semantic-segmentation", "mask2former", "", "AutoModelForUniversalSegmentation"),
        ("instance-segmentation", "rf_detr", "RfDetrForInstanceSegmentation", "AutoModelForInstanceSegmentation"),
        ("instance-segmentation", "maskformer", "", "AutoModelForUniversalSegmentation"),
        ("text-generation", "vit", "", None),
    ],
)
def test_the_auto_class(task, model_type, name, expected):
    assert architectures.auto_class(task, model_type, name) == expected


def test_every_task_has_auto_classes_of_transformers():
    assert set(architectures.AUTO_CLASSES) == set(tasks.SUPPORTED)
    known = set(architectures.load()["auto"])
    named = {auto for autos in architectures.AUTO_CLASSES.values() for auto in autos}
    assert named | set(architectures.HEADLESS) | set(architectures.FOREIGN) <= known


def test_losses_that_the_model_does_not_compute():
    assert not architectures.computes_loss("depth-estimation", "dpt")
    assert architectures.computes_loss("depth-estimation", "glpn")
    assert architectures.computes_loss("object-detection", "detr")


@pytest.fixture(scope="module")
def defaults(stage_python) -> list[dict]:
    """The default config of each architecture that the stage environment's transformers has for our tasks."""
    done = subprocess.run([stage_python, SCRIPT, "--defaults"], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_architecture_of_transformers_is_told_by_its_default_config(defaults):
    """The known-good check: the task, or the question with that task among its choices, and the very auto class."""
    wrong, without_default = [], [line for line in defaults if "error" in line]
    for line in (line for line in defaults if "error" not in line):
        wanted = {task for task, autos in architectures.AUTO_CLASSES.items() if line["auto_class"] in autos}
        config, name = line["config"], line["architecture"]
        try:
            told = {detect.decide_task(INFO, config, [name], None)[0]}
        except ToolFailure as failure:
            told = {task for task in tasks.SUPPORTED if failure.code == "ambiguous" and task in failure.failure.message}
        usual = line["auto_class"] == "AutoModelForCausalLM" and name in architectures.classes(
            "AutoModelForImageTextToText", config["model_type"]
        )
        auto = {architectures.auto_class(task, config["model_type"], name) for task in told & wanted}
        if not (told & wanted or (usual and told == {"image-text-to-text"})) or None in auto:
            wrong.append((line["auto_class"], name, told))
    assert not wrong and len(defaults) > 350 and len(without_default) <= 2


@pytest.mark.slow
def test_the_shipped_data_is_that_of_the_stage_environment(stage_python, tmp_path):
    copy = tmp_path / SCRIPT.name
    copy.write_text(SCRIPT.read_text())
    subprocess.run([stage_python, copy], check=True, capture_output=True)
    assert json.loads((tmp_path / "architectures.json").read_text()) == architectures.load()


@pytest.mark.parametrize("auto_class", ["AutoModelForImageClassification", "AutoModelForImageTextToText"])
def test_a_default_config_through_the_whole_probe(server, hub, defaults, auto_class):
    lines = [line for line in defaults if line["auto_class"] == auto_class][::9]
    for line in lines:
        config = json.dumps(line["config"]).encode()
        files = model_files(config__json=config, README__md=b"", tokenizer__json=b"{}")
        server.add_repo("model", f"me/{line['model_type']}", files)
        facts = probe_model(hub, f"me/{line['model_type']}")
        assert (facts.auto_class, facts.architectures) == (auto_class, [line["architecture"]])
    assert len(lines) > 4
