"""Which settings of a page belong together, and what the page says of the training that they were for."""

from __future__ import annotations

import json

import pytest

from tests.recipe.test_ladder import AUTHOR, CARD, DOCS, HUB, README, pages, walk
from tunegate.recipe.card import extract_card
from tunegate.recipe.extract import extract_markdown, extract_notebook, extract_script
from tunegate.recipe.markdown import recipe_markdown
from tunegate.recipe.pyfacts import extract_python

HEAD = "ForCausalLM"
LOADED = "m = AutoModelForCausalLM.from_pretrained('x')\n"
ARGUMENTS = "TrainingArguments('o', learning_rate=1e-4, num_train_epochs=3, per_device_train_batch_size=4)\n"


def stated(found):
    return [(t.start, t.objective, t.adapter, t.devices) for t in found.trainings]


def record(*items, front="license: mit", text=""):
    listed = "".join(f"- {item}\n" for item in items)
    return f"---\n{front}\n---\n{text}\n### Training hyperparameters\n\n{listed}"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (LOADED + ARGUMENTS, ("pretrained", "supervised", "none", 1)),
        (ARGUMENTS, (None, "supervised", "none", 1)),
        ("m = AutoModelForCausalLM.from_config(c)\n" + ARGUMENTS, ("scratch", "supervised", "none", 1)),
        ("m = GPT2LMHeadModel(GPT2Config())\n" + ARGUMENTS, ("scratch", "supervised", "none", 1)),
        ("c = GPT2Config()\nm = GPT2LMHeadModel(c)\n" + ARGUMENTS, ("scratch", "supervised", "none", 1)),
        ("m = timm.create_model('x', pretrained=True)\n" + ARGUMENTS, ("pretrained", "supervised", "none", 1)),
        ("m = timm.create_model('x', pretrained=False)\n" + ARGUMENTS, ("scratch", "supervised", "none", 1)),
        (LOADED + "m = GPT2LMHeadModel(GPT2Config())\n" + ARGUMENTS, (None, "supervised", "none", 1)),
        ("t = AutoTokenizer.from_pretrained('x')\n" + ARGUMENTS, (None, "supervised", "none", 1)),
        (LOADED + "LoraConfig(r=8)\n" + ARGUMENTS, ("pretrained", "supervised", "lora", 1)),
        (LOADED + "m = get_peft_model(m, c)\n" + ARGUMENTS, ("pretrained", "supervised", "lora", 1)),
        (LOADED + "IA3Config()\n" + ARGUMENTS, ("pretrained", "supervised", None, 1)),
        (LOADED + "SFTTrainer(m, peft_config=get_peft_config(a))\n" + ARGUMENTS, ("pretrained", "supervised", None, 1)),
        (
            "AutoModelForCausalLM.from_pretrained('x', load_in_4bit=True)\nLoraConfig(r=8)\n" + ARGUMENTS,
            ("pretrained", "supervised", "qlora", 1),
        ),
        (LOADED + "DPOTrainer(m, args=a)\n" + ARGUMENTS, ("pretrained", "dpo", "none", 1)),
        (LOADED + "RewardTrainer(m, args=a)\n" + ARGUMENTS, ("pretrained", "other", "none", 1)),
        (LOADED + "SFTTrainer(m)\nDPOTrainer(m)\n" + ARGUMENTS, ("pretrained", None, "none", 1)),
        ("SFTTrainer(model='x', args=SFTConfig(learning_rate=1e-4))\n", ("pretrained", "supervised", "none", 1)),
        (LOADED + ARGUMENTS.replace("TrainingArguments", "DPOConfig"), ("pretrained", "dpo", "none", 1)),
        (LOADED + ARGUMENTS.replace("TrainingArguments", "GRPOConfig"), ("pretrained", "grpo", "none", 1)),
    ],
)
def test_what_code_says_of_its_training(source, says):
    assert stated(extract_python(source, HEAD)) == [says]


def test_code_that_a_launcher_runs_has_a_number_of_devices_that_nobody_knows():
    text = f'"""Run with torchrun --nproc_per_node 8."""\n{LOADED}{ARGUMENTS}'
    assert stated(extract_script("https://x/train.py", text, HEAD)) == [("pretrained", "supervised", "none", None)]


@pytest.mark.parametrize(
    ("given", "unread"),
    [
        ("gradient_accumulation_steps=args.passes", ["gradient_accumulation_steps"]),
        ("optim='lion_32bit'", ["optim"]),
        ("optim='paged_adamw_8bit'", []),
        ("optim=OptimizerNames.ADAMW_TORCH", []),
        ("**common", ["gradient_accumulation_steps"]),
        ("max_steps=-1", ["max_steps"]),
    ],
)
def test_a_setting_that_cannot_be_read_is_remembered(given, unread):
    (found,) = extract_python(f"TrainingArguments('o', learning_rate=1e-4, {given})", HEAD).trainings
    assert found.unread == unread and found.values == {"learning_rate": 1e-4}


def test_calls_of_a_page_stay_apart():
    page = f"```py\n{LOADED}{ARGUMENTS}```\n```py\nTrainingArguments('o', gradient_accumulation_steps=4)\n```\n"
    first, second = extract_markdown(page, HEAD).trainings
    assert "gradient_accumulation_steps" not in first.values and second.values == {"gradient_accumulation_steps": 4}
    assert (first.lines, second.lines) == ((3, 3), (6, 6)) and second.start == "pretrained"


def test_an_adapter_of_another_block_is_not_this_block_s():
    page = f"```py\n{LOADED}{ARGUMENTS}```\n```py\nm = get_peft_model(m, LoraConfig(r=8))\n{ARGUMENTS}```\n"
    assert [t.adapter for t in extract_markdown(page, HEAD).trainings] == [None, "lora"]


def test_a_mapping_that_is_unpacked_is_read():
    found = extract_python("given = {'learning_rate': 1e-4, 'num_train_epochs': 2}\nSFTConfig(**given)", HEAD)
    assert found.trainings[0].values == {"learning_rate": 1e-4, "num_train_epochs": 2}
    found = extract_python("peft = dict(r=4)\nwide = {'r': 16, 'lora_alpha': 32}\nLoraConfig(**wide)", HEAD)
    assert found.findings["lora"].value == {"r": 16, "lora_alpha": 32.0}


def test_a_plain_loop_is_one_training_with_the_defaults_of_its_script():
    text = (
        "p.add_argument('--epochs', default=4)\nmodel = AutoModelForCausalLM.from_pretrained('x')\nBATCH_SIZE = 8\n"
        "loader = DataLoader(data, batch_size=BATCH_SIZE, shuffle=True)\nopt = torch.optim.AdamW(p, lr=2e-5)\n"
    )
    (found,) = extract_python(text, HEAD).trainings
    assert found.values == {"learning_rate": 2e-5, "per_device_train_batch_size": 8, "num_train_epochs": 4}


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("python sft.py --lr 1e-4", ("pretrained", "supervised", "none", 1)),
        ("python run_image_classification.py --lr 1e-4", ("pretrained", "supervised", "none", 1)),
        ("python run_clm.py --model_type gpt2 --lr 1e-4", ("scratch", "supervised", "none", 1)),
        ("python run_pretraining.py --lr 1e-4", ("scratch", "supervised", "none", 1)),
        ("python train.py --lr 1e-4", (None, "supervised", "none", 1)),
        ("python train.py --model_name_or_path o/m --lr 1e-4", ("pretrained", "supervised", "none", 1)),
        ("python dpo_vlm.py --lr 1e-4", ("pretrained", "dpo", "none", 1)),
        ("python scripts/run_orpo.py --base_model x --lr 1e-4", ("pretrained", "other", "none", 1)),
        ("python sft.py --lr 1e-4 --use_peft", ("pretrained", "supervised", "lora", 1)),
        ("python sft.py --lr 1e-4 --lora_r 8", ("pretrained", "supervised", "lora", 1)),
        ("python sft.py --lr 1e-4 --use_peft --load_in_4bit", ("pretrained", "supervised", "qlora", 1)),
        ("accelerate launch sft.py --lr 1e-4", ("pretrained", "supervised", "none", None)),
        ("accelerate launch --num_processes 8 sft.py --lr 1e-4", ("pretrained", "supervised", "none", 8)),
        ("torchrun --nproc_per_node=4 sft.py --lr 1e-4", ("pretrained", "supervised", "none", 4)),
        ("torchrun --nproc-per-node=4 --nnodes=2 sft.py --lr 1e-4", ("pretrained", "supervised", "none", None)),
        ("torchrun --nproc_per_node=gpu sft.py --lr 1e-4", ("pretrained", "supervised", "none", None)),
    ],
)
def test_what_a_command_says_of_its_training(command, says):
    assert stated(extract_markdown(f"```bash\n{command}\n```\n", HEAD)) == [says]


def test_a_command_value_that_a_shell_fills_in_is_unread():
    (found,) = extract_markdown("```sh\npython sft.py --lr 1e-4 --num_train_epochs $N\n```\n", HEAD).trainings
    assert found.unread == ["num_train_epochs"]


BASE = "This model is a fine-tuned version of [o/base](https://huggingface.co/o/base) on d."


@pytest.mark.parametrize(
    ("front", "text", "says"),
    [
        ("license: mit", BASE, ("pretrained", "supervised", "none", 1)),
        ("base_model: o/base", "", ("pretrained", "supervised", "none", 1)),
        ("license: mit", "", (None, "supervised", "none", 1)),
        ("license: mit", "This model is a fine-tuned version of [](x).", ("scratch", "supervised", "none", 1)),
        ("license: mit", "This model is a fine-tuned version of [None](x).", ("scratch", "supervised", "none", 1)),
        ("base_model: o/b", "This model was trained from scratch on d.", ("scratch", "supervised", "none", 1)),
        ("tags: [trl, sft]", BASE, ("pretrained", "supervised", "none", 1)),
        ("tags: [trl, dpo]", BASE, ("pretrained", "dpo", "none", 1)),
        ("tags: [trl, orpo]", BASE, ("pretrained", "other", "none", 1)),
        ("license: mit", BASE + " Trained with DPO.", ("pretrained", None, "none", 1)),
        ("library_name: peft", BASE, ("pretrained", "supervised", "lora", 1)),
        ("library_name: peft", BASE + " load_in_4bit: True", ("pretrained", "supervised", "qlora", 1)),
        ("license: mit", BASE + " We used LoRA.", ("pretrained", "supervised", None, 1)),
        ("tags: 7\nlibrary_name: [x]\nbase_model: {a: b}", "", (None, "supervised", "none", 1)),
    ],
)
def test_what_a_card_says_of_its_record(front, text, says):
    assert stated(extract_card(record("learning_rate: 5e-5", front=front, text=text), HEAD).extraction) == [says]


@pytest.mark.parametrize(
    ("items", "devices", "passes"),
    [
        ((), 1, None),
        (("distributed_type: multi-GPU",), None, None),
        (("distributed_type: multi-GPU", "num_devices: 16"), 16, None),
        (("distributed_type: multi-GPU", "num_devices: 16", "total_train_batch_size: 32"), 16, 1),
        (("distributed_type: multi-GPU", "gradient_accumulation_steps: 4", "total_train_batch_size: 64"), 8, 4),
        (("gradient_accumulation_steps: 4", "total_train_batch_size: 8"), 1, 4),
        (("num_devices: 16", "total_train_batch_size: 33"), None, None),
        (("num_devices: 16", "gradient_accumulation_steps: 2", "total_train_batch_size: 32"), None, 2),
        (("num_devices: x", "total_train_batch_size: " + "9" * 99), 1, None),
    ],
)
def test_the_total_batch_of_a_record_counts(items, devices, passes):
    (found,) = extract_card(record("learning_rate: 5e-5", "train_batch_size: 2", *items), HEAD).extraction.trainings
    assert (found.devices, found.values.get("gradient_accumulation_steps")) == (devices, passes)


def test_each_list_and_each_table_of_a_card_is_one_training():
    text = record("learning_rate: 1e-5") + "\n### Training hyperparameters\n\n- train_batch_size: 4\n"
    text += (
        "\n| learning rate | 2e-5 |\n|--|--|\n| epochs | 3 |\n\n| learning rate | 3e-5 |\n|--|--|\n| batch size | 9 |\n"
    )
    assert [t.values for t in extract_card(text, HEAD).extraction.trainings] == [
        {"learning_rate": 1e-5},
        {"learning_rate": 2e-5, "num_train_epochs": 3},
        {"learning_rate": 3e-5, "per_device_train_batch_size": 9},
    ]


def test_a_stranger_s_script_sets_no_rate():
    search = f"{HUB}/api/models?pipeline_tag=image-classification&sort=downloads&limit=10&full=true&filter=efficientnet"
    script = f"{HUB}/other/one/resolve/main/train.py"
    listed = json.dumps([{"id": "other/one", "siblings": [{"rfilename": "train.py"}]}])
    code = "m = AutoModelForImageClassification.from_pretrained('x')\n" + ARGUMENTS + "evaluate.load('accuracy')\n"
    facts = walk({CARD: "# A model", search: listed, script: code})
    assert facts.slots["metrics"].source.priority == 6 and facts.slots["hyperparameters"].status == "scaffold"
    assert [training.priority for training in facts.trainings] == [6]  # seen, and refused by its priority
    assert any("a stranger's page: its hyperparameters were not taken" in note for note in facts.notes)


def test_a_page_of_our_method_goes_before_one_of_another():
    author = "m = AutoModelForImageClassification.from_pretrained('x')\nLoraConfig(r=8)\n" + ARGUMENTS
    facts = walk(pages(**{AUTHOR: author}))
    assert [training.url for training in facts.trainings] == [README, DOCS, AUTHOR]
    assert facts.slots["hyperparameters"].source.url == README
    page = recipe_markdown(facts, [(training, None if training.url == DOCS else "no") for training in facts.trainings])
    assert page.count("**adopted**") == 1 and page.count("not adopted: no") == 2


def test_what_the_agent_cites_is_the_page_s_training_where_it_has_one():
    cited = {"hyperparameters": {"value": {"learning_rate": 5e-5}, "url": DOCS}}
    (training,) = walk(pages(), agent_slots=cited).trainings
    assert (training.url, training.start, training.values["num_train_epochs"]) == (DOCS, "pretrained", 3)
    cited = {"hyperparameters": {"value": {"learning_rate": 3e-4}, "url": "https://github.com/o/r/wiki"}}
    (training,) = walk(pages(**{"https://github.com/o/r/wiki": "lr 3e-4"}), agent_slots=cited).trainings
    assert training.start is None and training.priority == 0  # nobody knows what it trained


def test_language_models_have_no_slots_of_images():
    assert not [name for name in walk({}, task="text-generation").slots if "transforms" in name or "processor" in name]


# Names ------------------------------------------------------------------------------------------------------------


def transforms(text):
    found = extract_python("from torchvision import transforms as T\n" + text, HEAD).findings
    return {slot: [step["name"] for step in finding.value] for slot, finding in found.items()}


def test_a_name_holds_what_was_assigned_last_above():
    text = "size = 4\nTrainingArguments('o', per_device_train_batch_size=size)\nsize = 8\n"
    assert extract_python(text, HEAD).trainings[0].values == {"per_device_train_batch_size": 4}
    text = "size = 4\nsize = 2\ndef f():\n    size = 16\ndef g():\n    TrainingArguments('o', train_batch_size=size, learning_rate=1e-4)\n"
    assert extract_python(text.replace("train_batch", "per_device_train_batch"), HEAD).trainings[0].values == {
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-4,
    }


def test_lists_of_two_functions_are_two_lists_and_grow():
    text = (
        "def train_transform(big):\n    steps = [T.RandomCrop(8)]\n    steps.append(T.RandomHorizontalFlip())\n"
        "    steps += [T.ToTensor()]\n    steps.extend([T.RandomErasing()])\n    return T.Compose(steps)\n"
        "def eval_transform():\n    steps = [T.Resize(8)]\n    return T.Compose(steps)\n"
    )
    assert transforms(text) == {
        "train_transforms": ["RandomCrop", "RandomHorizontalFlip", "ToTensor", "RandomErasing"],
        "eval_transforms": ["Resize"],
    }


def test_names_of_a_notebook_s_cells_hold_in_the_cells_below():
    cells = [
        {"cell_type": "code", "source": text} for text in ("lr = 1e-3", "lr = 1e-4\n\n", "SFTConfig(learning_rate=lr)")
    ]
    (found,) = extract_notebook(json.dumps({"cells": cells}), HEAD).trainings
    assert found.values == {"learning_rate": 1e-4} and found.lines is None


def test_a_class_of_another_library_is_no_class_of_the_project():
    text = "from peft import AutoPeftModelForCausalLM\nm = AutoPeftModelForCausalLM.from_pretrained('x')\n"
    assert "auto_class" not in extract_python(text, HEAD).findings


def test_commands_outside_fences_and_fences_in_quotations():
    text = '"""\nUsage:\n\naccelerate launch \\\n    x/sft_vlm.py \\\n    --lr 1e-4 --use_peft\n"""\n'
    found = extract_script("https://x/sft_vlm.py", text, HEAD, True)
    assert found.findings["hyperparameters"].value == {"learning_rate": 1e-4}
    found = extract_markdown("> ```python\n> SFTConfig(\n>     learning_rate=1e-4)\n> ```\nafter\n", HEAD)
    assert found.findings["hyperparameters"] == ("hyperparameters", {"learning_rate": 1e-4}, (2, 3))
