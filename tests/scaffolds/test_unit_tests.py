"""The unit tests that emit_unit_tests renders: they pass on the scaffolds as they are, and each planted bug makes them fail."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.scaffolds import test_depth_estimation as depth
from tests.scaffolds import test_image_text_to_text as questions
from tests.scaffolds import test_object_detection as detection
from tests.scaffolds import test_text_generation as text
from tests.scaffolds.conftest import MAKE_MODEL, environment, make_project
from tests.scaffolds.scenes import MAKE_MASK2FORMER, MAKE_SEGFORMER
from tests.sealed import CONFIG
from tunegate import stages
from tunegate.rundir import Run
from tunegate.stages import verdicts

CASES = {  # name: (task, method, what makes its tiny model, its arguments)
    "image-classification": ("image-classification", "full", MAKE_MODEL, []),
    "detr": ("object-detection", "full", detection.MAKE, ["detr"]),
    "rt_detr": ("object-detection", "full", detection.MAKE, ["rt_detr"]),
    "yolos": ("object-detection", "full", detection.MAKE, ["yolos"]),
    "semantic-segmentation": ("semantic-segmentation", "full", MAKE_SEGFORMER, []),
    "instance-segmentation": ("instance-segmentation", "full", MAKE_MASK2FORMER, []),
    "panoptic-segmentation": ("panoptic-segmentation", "full", MAKE_MASK2FORMER, []),
    "depth-estimation": ("depth-estimation", "full", depth.MAKE, ["dpt"]),
    "vlm-lora": ("image-text-to-text", "lora", questions.MAKE, []),
    "vlm-full": ("image-text-to-text", "full", questions.MAKE, []),
    "llm-lora": ("text-generation", "lora", text.MAKE, []),
    "llm-full": ("text-generation", "full", text.MAKE, []),
    "llm-dpo": ("text-generation", "dpo", text.MAKE, []),
    "llm-grpo": ("text-generation", "grpo", text.MAKE, []),
}


@pytest.fixture(scope="module")
def pytest_alone(tmp_path_factory) -> Path:
    """A folder with this environment's pytest and nothing else of it: the stage environment has none, and a run's own is pinned."""
    folder, here = tmp_path_factory.mktemp("pytest"), Path(sysconfig.get_path("purelib"))
    for name in ("pytest", "_pytest", "pluggy", "iniconfig", "pygments", "py.py"):
        (folder / name).symlink_to(here / name)
    return folder


@pytest.fixture(scope="module")
def models(stage_python, tmp_path_factory):
    """name -> its tiny model's folder, made once."""
    made = {}

    def of(name: str) -> Path:
        script, arguments = CASES[name][2:]
        key = (script, *arguments)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("model")
            subprocess.run(
                [stage_python, "-c", script, *arguments, made[key]], check=True, capture_output=True, env=environment()
            )
        return made[key]

    return of


@pytest.fixture
def project(models, stage_python, pytest_alone, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(pytest_alone))

    def rendered(name: str, **values):
        task, method = CASES[name][:2]
        quick = {"max_length": 96} if task == "text-generation" else {}
        return make_project(
            tmp_path / "project", stage_python, model_id=str(models(name)), task=task, training_method=method,
            class_names=[] if "lora" in method or method == "full" and "text" in task else ["circle", "square", "triangle"],
            emit_unit_tests=True, **quick | values,
        )  # fmt: skip

    return rendered


QUICK = ("detr", "llm-lora")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_they_pass_on_the_scaffold_as_it_is(project, name):
    found = project(name)
    found.ok(*stages.STAGES["test"].argv)
    facts, problems = verdicts.JUDGES["test"](Run(found.path), CONFIG)
    assert not problems and facts["tests"] >= 9 and not facts["skipped"]


BUGS = [  # project, file, what stands there, what a bug would put in its place, the test that must see it
    ("image-classification", "data.py", '"labels": rows["label"]', '"labels": [-100] * len(rows["label"])', "one_batch"),
    ("image-classification", "data.py", 'if cfg["horizontal_flip"]:', "if True:", "mirrored"),
    ("image-classification", "harness/pixels.py", "(white - black) / 255).view", "(white - black) / 128).view", "scales"),
    ("image-classification", "harness/metrics.py", "weights @ scores / weights.sum(1)", "weights @ scores / 7", "one_counts"),
    ("image-classification", "config.yaml", "weight_decay:", "weight_decoy:", "is_there"),
    ("detr", "data.py", "[image.width - boxes[:, 0] - boxes[:, 2], boxes[:, 1:]]", "[boxes]", "boxes_move"),
    ("detr", "data.py", "np.clip(boxes[kept, :2] - (left, top)", "np.clip(boxes[kept, :2]", "boxes_move"),
    ("detr", "data.py", "mask[i, : image.shape[1], : image.shape[2]] = 1", "mask[i] = 1", "any_size_and_mode"),
    ("rt_detr", "data.py", "boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]", "boxes[:, :2], boxes[:, 2:]", "boxes_move"),
    ("semantic-segmentation", "data.py", "size, Image.Resampling.NEAREST, box=box", "size, Image.Resampling.BILINEAR, box=box", "learned_lies"),
    ("semantic-segmentation", "data.py", "ids[:, ::-1]", "ids", "learned_lies"),
    ("semantic-segmentation", "data.py", "torch.from_numpy(ids.copy())", "torch.full(ids.shape, IGNORED)", "learned_lies"),
    ("instance-segmentation", "data.py", "masks[:, :, ::-1]", "masks", "learned_lies"),
    ("panoptic-segmentation", "data.py", "masks.sum((1, 2)) >= FEWEST", "masks.sum((1, 2)) < 0", "one_batch"),
    ("depth-estimation", "data.py", "depth[:, ::-1]", "depth", "learned_lies"),
    ("depth-estimation", "data.py", "np.where(depth > 0, depth, MASKED)", "depth", "learned_lies"),
    ("depth-estimation", "train.py", "truth[valid].log()", "truth.log()[valid] * float('nan')", "loss_and_gradients"),
    ("vlm-lora", "data.py", "torch.full_like(given, MASKED), answer_ids", "torch.full_like(given, MASKED), answer_ids * 0 + MASKED", "every_token"),
    ("vlm-lora", "data.py", "torch.full_like(given, MASKED), answer_ids", "given, answer_ids", "every_token"),
    ("vlm-lora", "data.py", 'given = inputs["input_ids"]', 'given = inputs["input_ids"][:12]', "token_of_a_picture"),
    ("vlm-full", "data.py", "width = max(len(row", "width = min(len(row", "one_batch"),
    ("llm-lora", "data.py", "[MASKED] * len(given) + answer", "[MASKED] * len(given + answer)", "every_token"),
    ("llm-lora", "data.py", "[MASKED] * len(given) + answer", "given + answer", "every_token"),
    ("llm-full", "data.py", "ended(whole[len(before) :], tokenizer)", "ids_of(answer[0]['content'], tokenizer)", "its_end"),
    ("llm-dpo", "train.py", "train_dataset=load_split", "train_dataset=0 or load_split", None),  # no bug: the rest must still pass
    ("llm-dpo", "prepare_data.py", 'if max(lengths) > cfg["max_length"]', 'if min(lengths) > cfg["max_length"]', "longer_one"),
    ("llm-grpo", "rewards.py", "float(normalize_answer", "1.0 + 0 * float(normalize_answer", "right_from_wrong"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "file", "right", "wrong", "seen_by"), BUGS)
def test_a_planted_bug_is_seen(project, name, file, right, wrong, seen_by):
    found = project(name)
    text = (found.path / file).read_text()
    assert right in text, "the scaffold has changed: plant this bug elsewhere"
    (found.path / file).write_text(text.replace(right, wrong))
    done = found.run(*stages.STAGES["test"].argv)
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    assert bool(done.returncode) == bool(seen_by), done.stdout
    assert seen_by is None or any(seen_by in line for line in failed), done.stdout
