"""The table of renames against the installed packages: each old keyword is refused or warned of, each new one is taken."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tunegate.recipe import renames

# Run by the stage environment's Python. Row by row: what is wrong with it. Signatures tell, except where **kwargs hide what a
# function takes: from_pretrained and load_dataset are called.
CHECK = """
import importlib, inspect, json, logging, sys, tempfile
from pathlib import Path

import datasets, torch, transformers, trl
from transformers import AutoImageProcessor, AutoModelForImageClassification, ConvNextImageProcessorPil, ResNetConfig, ResNetForImageClassification

folder = tempfile.mkdtemp()
ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")).save_pretrained(folder)
ConvNextImageProcessorPil(size={"shortest_edge": 32}).save_pretrained(folder)
Path(folder, "rows.jsonl").write_text('{"a": 1}\\n')
heard = []
handler = logging.Handler()
handler.emit = lambda record: heard.append(record.getMessage())
for library in ("transformers", "datasets"):
    logging.getLogger(library).addHandler(handler)

def load_model(**given):
    AutoModelForImageClassification.from_pretrained(folder, **given)

def load_processor(**given):
    AutoImageProcessor.from_pretrained(folder, **given)

def load_data(**given):
    datasets.load_dataset("json", data_files=str(Path(folder, "rows.jsonl")), cache_dir=folder, **given)

CALLS = {"torch_dtype": (load_model, torch.float32, torch.float32), "use_auth_token": (load_model, "x", "x"),
         "use_fast": (load_processor, False, "pil"), "load_in_8bit": (load_model, False, None), "load_in_4bit": (load_model, False, None)}
DATA = {"use_auth_token": ("x", "x"), "ignore_verifications": (True, "no_checks"), "trust_remote_code": (True, None), "task": ("x", None)}

def refused(function, name, value):
    heard.clear()
    try:
        function(**{name: value})
    except Exception as error:
        return name in str(error) or type(error).__name__
    return any(name in message for message in heard)

def wrong(of, old, new):
    if of in (".from_pretrained", "load_dataset"):
        function, before, after = (load_data, *DATA[old]) if of == "load_dataset" else CALLS[old]
        if not refused(function, old, before):
            return "is taken without a word"
        return new and refused(function, new, after)
    if of == ".train":
        target = transformers.Trainer.train
    else:
        target = getattr(trl, of, None) or getattr(transformers, of)
    takes = inspect.signature(target).parameters
    if old in takes and not (of == "TrainingArguments" and warned(target, old)):
        return "is taken without a word"
    return "the new one is not taken" if new and new not in takes else ""

def warned(target, old):
    import warnings
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        target(output_dir=folder, use_cpu=True, **{old: {} if old.endswith("kwargs") else True})
    return any(old in str(warning.message) for warning in seen)

def exists(name):
    module, _, attribute = name.rpartition(".")
    return hasattr(importlib.import_module(module), attribute)

rows, moved = json.load(sys.stdin)
found = {f"{of} {old}": said for of, old, new in rows if (said := wrong(of, old, new))}
found |= {name: "is still there" for name in moved if exists(name)}
found |= {new: "is not there" for new in moved.values() if new.startswith(("transformers.", "torch.", "trl.", "peft.")) and not exists(new)}
print("found", json.dumps(found))
"""


def ask(python: str, rows: list, moved: dict[str, str]) -> dict[str, str]:
    """Row or name -> what is wrong with it."""
    run = subprocess.run(
        [python, "-W", "ignore", "-c", CHECK],
        input=json.dumps([rows, moved]),
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.rsplit("found ", 1)[1])


def test_every_row_holds_for_the_installed_packages_and_wrong_ones_are_seen(stage_python):
    rows = [[row.of, row.old, row.new] for row in renames.TABLE]
    wrong = [["TrainingArguments", "learning_rate", ""], ["SFTConfig", "max_seq_length", "max_sequence"]]
    found = ask(stage_python, rows + wrong, {**renames.MOVED, "transformers.Trainer": "transformers.Trainer2"})
    assert found == {
        "TrainingArguments learning_rate": "is taken without a word",
        "SFTConfig max_seq_length": "the new one is not taken",
        "transformers.Trainer": "is still there",
        "transformers.Trainer2": "is not there",
    }


def test_no_row_stands_twice_and_none_leads_to_another():
    keys = [(row.of, row.old) for row in renames.TABLE]
    assert len(keys) == len(set(keys))
    assert not any(renames.find(row.new, row.of) for row in renames.TABLE if row.new)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"warmup_ratio": 0.1}, {"warmup_steps": 0.1}),
        ({"group_by_length": True, "optim": "sgd"}, {"train_sampling_strategy": "group_by_length", "optim": "sgd"}),
        ({"adafactor": True}, {"optim": "adafactor"}),
        ({"adafactor": False}, {}),
        ({"overwrite_output_dir": True, "save_safetensors": True}, {}),
        ({"gradient_checkpointing": False}, {"activation_checkpointing": False}),
        ({"max_seq_length": 512}, {"max_seq_length": 512}),  # TrainingArguments never took it
    ],
)
def test_old_keywords_become_today_s_and_each_change_is_noted(given, found):
    current, notes, problems = renames.current(given, "TrainingArguments")
    assert current == found and problems == []
    assert len(notes) == len(set(given) - set(found))
    assert all(any(note.startswith(f"{old} = ") for note in notes) for old in set(given) - set(found))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"save_safetensors": False}, "safetensors is the only format"),
        ({"adafactor": "yes"}, "adafactor = 'yes' has no counterpart"),
        ({"group_by_length": True, "train_sampling_strategy": "random"}, "'random' here too: remove one"),
    ],
)
def test_what_cannot_be_carried_over_is_said_with_its_remedy(given, says):
    current, notes, problems = renames.current(given, "TrainingArguments")
    assert says in problems[0] and notes == []
