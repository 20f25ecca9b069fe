from __future__ import annotations

import re
from pathlib import Path

import pytest

import tunegate
from tunegate.config import RunConfig
from tunegate.paths import data_dir
from tunegate.stages import playbook
from tunegate.stages.verdicts.training import SMOKE_CHECKS

CONFIG = RunConfig(
    platform="local-process",
    model_id="org/model",
    learning_rate=1e-3,
    per_device_train_batch_size=32,
    per_device_eval_batch_size=64,
    gradient_accumulation_steps=1,
)

# what the library really printed (torch 2.13, transformers 5.23, datasets 5.2, huggingface_hub 2.4) or what a verdict says -> stage, row
SEEN = [
    (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity",
        "train",
        "out-of-memory",
    ),
    (
        "RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes",
        "smoke",
        "out-of-memory",
    ),
    ("RuntimeError: DefaultCPUAllocator: can't allocate memory", "eval", "out-of-memory-eval"),
    ("[nan-loss] the loss is not finite at step 12: divide learning_rate by 10 and train again", "train", "nan-loss"),
    (
        "[nan-loss] the loss is not finite (inf) at step 12: divide learning_rate by 10 and train again",
        "train",
        "nan-loss",
    ),
    (
        "[nan-loss] the gradient is not finite (grad_norm nan) at step 3: divide learning_rate by 10",
        "train",
        "nan-loss",
    ),
    (
        "[diverged] the loss diverged: at most 2.31 in the first 5 logged steps, at least 9 in the last 10",
        "train",
        "diverged",
    ),
    ("[smoke-loss] smoke check loss failed: loss nan", "smoke", "first-loss-unusable"),
    (
        "[flat-loss] the loss did not fall (2.3 -> 2.3): inspect labels, collator and learning_rate",
        "train",
        "flat-loss",
    ),
    ("[smoke-labels] smoke check labels failed: 0 of 32 labels are unmasked", "smoke", "labels-masked"),
    ("[smoke-parameters_changed] smoke check parameters_changed failed: none did", "smoke", "nothing-learns"),
    ("RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn", "smoke", "nothing-learns"),
    (
        "[smoke-checkpoint_reloads] smoke check checkpoint_reloads failed: logits differ by 0.3",
        "smoke",
        "checkpoint-does-not-reload",
    ),
    (
        "TypeError: TrainingArguments.__init__() got an unexpected keyword argument 'warmup_ratio'",
        "smoke",
        "warmup-ratio",
    ),
    (
        "TypeError: TrainingArguments.__init__() got an unexpected keyword argument 'evaluation_strategy'",
        "smoke",
        "unknown-keyword",
    ),
    ("ModuleNotFoundError: No module named 'torchvision'", "smoke", "torchvision-missing"),
    ("ModuleNotFoundError: No module named 'albumentations'", "prepare", "missing-module"),
    ("huggingface_hub.errors.GatedRepoError: 403 Client Error.", "smoke", "hub-access"),
    ("huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error.", "prepare", "hub-not-found"),
    ("ConnectionError: Couldn't reach 'x/y' on the Hub (LocalEntryNotFoundError)", "prepare", "hub-stall"),
    ("RuntimeError: Dataset scripts are no longer supported, but found ds.py", "prepare", "dataset-script-refused"),
    (
        "ValueError: Original column name img not in the dataset. Current columns in the dataset: ['a']",
        "prepare",
        "column-mismatch",
    ),
    ("ValueError: Column 'image' doesn't exist.", "prepare", "column-mismatch"),
    ("[dataset-changed] the dataset changed since probe_dataset read it: probe it again", "prepare", "dataset-changed"),
    (
        "[class-names-differ] data/meta.json names other classes than config.yaml: call probe_dataset again",
        "prepare",
        "class-names-differ",
    ),
    ("IndexError: Target 5 is out of bounds.", "train", "label-out-of-range"),
    ("PIL.UnidentifiedImageError: cannot identify image file <_io.BytesIO object>", "prepare", "broken-image"),
    ("RuntimeError: size mismatch for classifier.weight", "smoke", "head-size-mismatch"),
    ("ValueError: Can't find a valid checkpoint at checkpoints/step-1", "train", "checkpoint-of-another-training"),
    (
        "[training-cut-off] training stopped at step 3 of 9: call docker_run(stage='train') to resume",
        "train",
        "training-cut-off",
    ),
    (
        "[outputs-changed] data/train/0.arrow was changed after the stage ended: run the stage again",
        "prepare",
        "outputs-changed",
    ),
    ("OSError: [Errno 28] No space left on device", "train", "disk-full"),
    (
        "RuntimeError: [enforce fail at inline_container.cc] PytorchStreamWriter failed writing file data/4",
        "train",
        "disk-full",
    ),
    ("safetensors_rust.SafetensorError: I/O error: No space left on device (os error 28)", "train", "disk-full"),
    (
        "disk_full: [engine-disk-full] building run-m:latest, at Step 9/12: the engine's disk is full: free space there",
        "build",
        "engine-disk-full",
    ),
    (
        "exit code 137: [killed-for-memory] the system killed train: out of memory (exit 137)",
        "train",
        "killed-for-memory-in-training",
    ),
    (
        "exit code 137: [killed-for-memory] the system killed eval: out of memory (exit 137)",
        "eval",
        "killed-for-memory",
    ),
    ("RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed.", "train", "killed-for-memory-in-training"),
    (
        "exit code 137: [killed] train was killed from outside (exit 137), by hand or with its engine: run train again",
        "train",
        "killed",
    ),
    ("exit code 137: [killed] step 31/90  loss 0.5", "eval", "killed"),
    (
        "exit code 1: unavailable: [engine-gone] reading the job's output (unix:///x.sock): nothing answers there",
        "train",
        "engine-gone",
    ),
    (
        "exit code 1: unavailable: [engine-gone] the Docker engine at unix:///x.sock (unix:///x.sock): nothing",
        "eval",
        "engine-gone",
    ),
    (
        "exit code 1: [container-removed] the container of train was removed by someone else before it ended",
        "train",
        "container-removed",
    ),
    ("torch.AcceleratorError: CUDA error: unknown error", "train", "gpu-lost"),
    ("RuntimeError: No CUDA GPUs are available", "train", "gpu-lost"),
    ("Failed to initialize NVML: Unknown Error", "eval", "gpu-lost"),
    ("ERROR: No matching distribution found for torch==9", "build", "package-not-found"),
    ("A module that was compiled using NumPy 1.x cannot be run in NumPy 2.4.6 as it may crash.", "smoke", "numpy-abi"),
    ("ValueError: Your setup doesn't support bf16/gpu. You need to assign use_cpu", "smoke", "bf16-unsupported"),
]
BY_EXIT_CODE = {"stopped-by-hand": (130, "train")}


def first(lines, stage, exit_code=1, config=CONFIG):
    found = playbook.diagnose(lines, stage, exit_code, config)
    return found[0] if found else None


@pytest.mark.parametrize(("line", "stage", "expected"), SEEN)
def test_known_line_finds_its_row(line, stage, expected):
    found = first(["Loading weights: 100%", line], stage)
    assert (found.id, found.line) == (expected, line)


@pytest.mark.parametrize(
    ("line", "stage", "expected"), [seen for seen in SEEN if re.match(r"[^\[]*\[[a-z_-]+\] ", seen[0])]
)
def test_our_own_problems_may_be_worded_otherwise(line, stage, expected):
    assert first([f"{line.partition('] ')[0]}] in other words"], stage).id == expected


def test_every_code_that_a_problem_carries_has_a_row_and_every_row_s_code_is_carried():
    known = {code for row in playbook.load() for code in row.codes}
    source = [
        *Path(tunegate.__file__).parent.rglob("*.py"),
        *data_dir("scaffolds").rglob("*.j2"),
        *data_dir("scaffolds").rglob("*.py"),
    ]
    text = "\n".join(path.read_text() for path in source)
    carried = set(re.findall(r'(?:coded\(|diagnosis=)"([a-z0-9_-]+)"', text)) | set(
        re.findall(r"[\"']\[([a-z-]{4,})\] ", text)
    )
    carried |= {f"smoke-{name}" for name in SMOKE_CHECKS if name != "ran"} | {"diverged"}  # watch.py names its rule
    assert carried == known


def test_every_row_is_exercised():
    assert {row.id for row in playbook.load()} == {expected for *_, expected in SEEN} | set(BY_EXIT_CODE)


@pytest.mark.parametrize("name", BY_EXIT_CODE)
def test_exit_codes(name):
    code, stage = BY_EXIT_CODE[name]
    found = first([f"exit code {code}: step 3", "RuntimeError: Dataset scripts are no longer supported"], stage, code)
    assert (found.id, found.line) == (name, f"exit code {code}")
    assert playbook.diagnose([f"exit code {code}: step 3"], stage, 1) == []


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["step 401/1000 loss 0.31", "epoch 3: accuracy 0.95", "nancy.jpg", "exit code 1: KeyError: 'foo'"],
        [
            "[transformers] `ViTImageProcessor` requires torchvision (not installed); falling back to `ViTImageProcessorPil` for backward compatibility."
        ],
        ["ZeroDivisionError: division by zero"],
    ],
)
def test_unknown_or_harmless_lines_find_nothing(lines):
    assert playbook.diagnose(lines, "train", 1, CONFIG) == []


def test_rows_hold_only_for_their_stages():
    assert first(["No space left on device"], "build").id == "disk-full"
    assert first(["[flat-loss] the loss did not fall"], "eval") is None
    assert first(["No space left on device"], "no-such-stage") is None


def test_the_stages_own_problem_goes_before_its_log():
    found = playbook.diagnose(
        ["exit code 1: RuntimeError: CUDA out of memory", "'[Errno -2] Name or service not known' thrown"],
        "train",
        1,
        CONFIG,
    )
    assert [f.id for f in found] == ["out-of-memory", "hub-stall"]


def test_overrides_are_computed_from_the_config():
    oom = first(["CUDA out of memory"], "train")
    assert (
        oom.overrides == {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 2}
        and not oom.needs_approval
    )
    nan = first(["[nan-loss] the loss is not finite at step 2"], "train")
    assert nan.overrides == {"learning_rate": 1e-4}
    assert first(["CUDA out of memory"], "eval").overrides == {"per_device_eval_batch_size": 32}
    RunConfig.model_validate({**CONFIG.model_dump(), **oom.overrides, **nan.overrides})


def test_a_batch_of_one_cannot_be_halved():
    found = first(["CUDA out of memory"], "train", config=CONFIG.model_copy(update={"per_device_train_batch_size": 1}))
    assert found.overrides == {} and found.needs_approval and "ask the user" in found.fix


def test_without_a_config_nothing_is_computed():
    found = playbook.diagnose(["CUDA out of memory"], "train", 1)[0]
    assert found.overrides == {} and "halve" in found.fix


def test_substitutions_need_approval():
    rows = {row.id: row.needs_approval for row in playbook.load()}
    assert all(rows[name] for name in ("dataset-script-refused", "hub-access", "broken-image", "disk-full"))


def test_matches_are_lower_risk_than_chance():
    texts = [(row.id, text) for row in playbook.load() for text in row.match]
    assert all(len(text) >= 6 for _, text in texts)
    assert not [
        name for name, text in texts if text.lower() in "step 401 of 1000, loss 0.401, eta 403 s, loading weights 100%"
    ]


def test_page_is_dated():
    assert re.search(r"20\d\d-\d\d-\d\d", (data_dir("references") / playbook.PAGE).read_text().split("## ")[0])


@pytest.mark.parametrize("change", [{}, {"divide": 2, "set": 1}, {"divide": 0}, {"add": 1}])
def test_malformed_changes_are_refused(change):
    with pytest.raises(ValueError):
        playbook.Change.model_validate(change)


def test_overrides_are_keys_that_render_project_takes():
    generate = pytest.importorskip("tunegate.tools.generate")
    assert {key for row in playbook.load() for key in row.next.overrides} <= set(generate.OVERRIDES)
