"""What upstream's scripts and notebooks taught, in code of our own."""

from __future__ import annotations

import json

import pytest

from tunegate.recipe import extract
from tunegate.recipe.pyfacts import extract_python

HEAD = "ForImageClassification"


def values(found):
    return {slot: finding.value for slot, finding in found.findings.items()}


def python(text):
    return values(extract_python(text, HEAD))


def names(steps):
    return [step["name"] for step in steps]


def test_a_command_for_lora_is_taken_by_runs_with_lora():
    text = "'''\n```bash\npython sft.py --learning_rate 2.0e-5 --per_device_train_batch_size 4\n```\n"
    text += "```bash\npython sft.py --learning_rate 2.0e-4 --use_peft --lora_r 32 --lora_alpha 16\n```\n'''\n"
    full, adapted = (values(extract.extract_script("https://x/sft.py", text, HEAD, kind)) for kind in (False, True))
    assert full["hyperparameters"] == {"learning_rate": 2e-5, "per_device_train_batch_size": 4}
    assert adapted["hyperparameters"] == {"learning_rate": 2e-4}
    assert full["lora"] == adapted["lora"] == {"r": 32, "lora_alpha": 16.0}


def test_transforms_that_hold_others_keep_their_chance():
    found = python(
        "import albumentations as A\nsize = 600\ntrain = A.Compose([A.Compose([A.RandomCrop(size, size)], p=0.2), "
        "A.OneOf([A.Blur(blur_limit=7), A.Defocus()], p=0.1), A.Compose([A.Flip()])])"
    )["train_transforms"]
    assert names(found) == ["Compose", "OneOf", "Flip"]
    assert found[0]["kwargs"] == {"p": 0.2} and found[0]["transforms"][0]["args"] == [600, 600]
    assert names(found[1]["transforms"]) == ["Blur", "Defocus"] and "args" not in found[1]


def test_a_pipeline_is_told_by_where_its_name_is_used():
    made = "import albumentations as A\nboth = A.Compose([A.Resize(8, 8)])\n"
    used = python(made + "train_data = Data(both)\neval_data = Data(both)")
    assert set(used) == {"train_transforms", "eval_transforms"}
    assert set(python(made + "def train_transforms(batch):\n    return both(batch)")) == {"train_transforms"}


def test_single_transforms_inside_a_function():
    found = python(
        "from torchvision.transforms import ColorJitter\njitter = ColorJitter(hue=0.1)\n"
        "def train_transforms(batch):\n    return [jitter(x) for x in batch]\ndef val_transforms(batch):\n    return batch\n"
    )
    assert found == {"train_transforms": [{"name": "ColorJitter", "library": "torchvision", "kwargs": {"hue": 0.1}}]}


def test_what_a_processor_is_given():
    text = (
        "from dataclasses import dataclass\nfrom transformers import AutoImageProcessor\n@dataclass\nclass A:\n    side: int = 512\n"
        "P = AutoImageProcessor.from_pretrained(name, size={'height': data_args.side, 'width': 2 * 256}, do_reduce_labels=True, "
        "do_pad='yes', pad_size=other.side, image_mean=[0.5, 0.5, 0.5], token=args.token, crop_size=-1)"
    )
    assert python(text)["processor_kwargs"] == {
        "size": {"height": 512, "width": 512},
        "do_reduce_labels": True,
        "image_mean": [0.5, 0.5, 0.5],
    }
    found = python(
        "import transformers\np = transformers.MaskFormerImageProcessor(reduce_labels=True, ignore_index=255)"
    )
    assert found == {
        "processor_class": "MaskFormerImageProcessor",
        "processor_kwargs": {"do_reduce_labels": True, "ignore_index": 255},
    }


def test_loops_without_a_trainer():
    found = python(
        "import torch\nfrom torch.utils.data import DataLoader\nopt = torch.optim.AdamW(m.parameters(), lr=6e-5, betas=(0.9, 0.95))\n"
        "a = DataLoader(data, batch_size=2, shuffle=True)\neval_loader = DataLoader(data, batch_size=4)\nb = DataLoader(data, batch_size=9)\n"
        "config = {'max_epochs': 10, 'accumulate_grad_batches': 8, 'temperature': 0.7}\nWARMUP_STEPS = 50\nTEMPERATURE = 1.0\n"
    )
    assert found["hyperparameters"] == {
        "learning_rate": 6e-5,
        "adam_beta1": 0.9,
        "adam_beta2": 0.95,
        "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 4,
        "num_train_epochs": 10,
        "gradient_accumulation_steps": 8,
        "warmup_steps": 50,
    }


def test_classes_with_one_of_several_endings():
    found = extract_python(
        "import transformers as t\nt.MaskFormerForInstanceSegmentation.from_pretrained('x')\n"
        "t.AutoModelForInstanceSegmentation.from_pretrained('x')\nt.AutoModelForUniversalSegmentation.from_pretrained('x')",
        ("ForUniversalSegmentation", "ForInstanceSegmentation"),
    )
    assert values(found) == {"auto_class": "AutoModelForUniversalSegmentation"}


def test_a_pattern_of_modules_is_no_list_of_names():
    found = extract_python(
        "LoraConfig(r=8, use_dora=True, target_modules='.*(q|v)_proj$', modules_to_save=['head'])", HEAD
    )
    assert values(found)["lora"] == {"r": 8, "use_dora": True, "modules_to_save": ["head"]}
    assert found.problems == ["line 1: target_modules is no list of names: not taken"]


def test_metrics_have_one_name_whichever_library_computes_them():
    assert python("import torchmetrics as t\nt.detection.MeanAveragePrecision()\nt.JaccardIndex()")["metrics"] == [
        "map",
        "mean_iou",
    ]


@pytest.mark.parametrize(
    "cell",
    [1, None, [], {}, {"cell_type": "code"}, {"cell_type": "code", "source": [1]}, {"source": "x = 1"}],
)
def test_a_cell_of_another_shape_is_skipped(cell):
    good = {"cell_type": "code", "source": "import evaluate\nevaluate.load('accuracy')"}
    found = extract.extract_notebook(json.dumps({"cells": [cell, good]}), HEAD)
    assert values(found) == {"metrics": ["accuracy"]}


def test_a_notebook_whose_address_does_not_say_so():
    text = json.dumps({"cells": [{"cell_type": "code", "source": "import evaluate\nevaluate.load('accuracy')"}]})
    found = extract.extract_script("https://gist.github.com/u/a/raw", text, HEAD)
    assert values(found) == {"metrics": ["accuracy"]}
