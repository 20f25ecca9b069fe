"""The rendered text-generation project by all four methods, on a tiny language model: every script, for real."""

from __future__ import annotations

import json
import random
import shutil
import subprocess

import pytest

from tests.scaffolds import pages
from tests.scaffolds.conftest import Project, environment, make_project
from tunegate import tasks
from tunegate.project.render import HEADER
from tunegate.tasks import metrics

MAKE = """
import sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed
set_seed(0)
words = Tokenizer(models.BPE())
words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
special = ["<pad>", "<|im_start|>", "<|im_end|>"]
trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
words.train_from_iterator(["user assistant Is 17 odd or even ? odd even"] * 50, trainer)
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<|im_end|>")
tokenizer.chat_template = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\\n{{ m['content'] }}<|im_end|>\\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\\n{% endif %}"
)
tokenizer.save_pretrained(sys.argv[1])
config = LlamaConfig(
    vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=128, pad_token_id=0, bos_token_id=1, eos_token_id=2, tie_word_embeddings=True,
)
LlamaForCausalLM(config).save_pretrained(sys.argv[1])
"""
QUICK = {
    "learning_rate": 0.01,
    "n_train": 48,
    "n_eval": 12,
    "n_epochs": 2,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "max_length": 64,
    "max_new_tokens": 4,
    "warmup_steps": 0.0,
}
LONGER_IS_BETTER = (
    HEADER
    + """
def reward(completions, **columns):
    return [float(len(completion[0]["content"])) for completion in completions]


def plain(text):
    return text
"""
)


@pytest.fixture(scope="module")
def model(stage_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    subprocess.run([stage_python, "-c", MAKE, folder], check=True, capture_output=True, env=environment())
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """One table for all methods: is a number odd?"""
    rng, path = random.Random(0), tmp_path_factory.mktemp("numbers") / "rows.jsonl"
    rows = []
    for _ in range(90):
        number = rng.randrange(100)
        right, wrong = ("odd", "even") if number % 2 else ("even", "odd")
        question = f"Is {number} odd or even?"
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": right}]
        rows.append({"messages": messages, "prompt": question, "chosen": right, "rejected": wrong, "answer": right})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


COLUMNS = {
    "lora": {"messages": "messages"},
    "full": {"prompt": "prompt", "completion": "answer"},
    "dpo": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
    "grpo": {"prompt": "prompt", "answer": "answer"},
}


@pytest.fixture(scope="module", params=COLUMNS)
def trained(request, model, data, stage_python, tmp_path_factory):
    """A project of each method, trained in the order of its README."""
    method = request.param
    more = {"num_generations": 4, "max_completion_length": 4, "n_train": 16} if method == "grpo" else {}
    project = make_project(
        tmp_path_factory.mktemp(method) / "project",
        stage_python,
        model_id=str(model),
        task="text-generation",
        training_method=method,
        local_dataset_path=str(data),
        local_dataset_format="jsonl",
        column_map=COLUMNS[method],
        **QUICK | more,
    )
    if method == "grpo":
        (project.path / "rewards.py").write_text(LONGER_IS_BETTER)
    project.ok("-m", "harness.check_api")
    project.ok("prepare_data.py")
    project.ok("train.py", "--smoke", "--max_steps", "2")
    project.ok("run_eval.py", "--baseline")
    project.ok("train.py", "--max_steps", "3")
    project.ok("train.py")
    if method != "full":
        project.ok("merge_lora.py")
    project.ok("run_eval.py")
    project.ok("infer.py")
    project.method = method
    return project


def test_the_whole_run_by_hand(trained):
    metric = tasks.metric("text-generation", trained.method)
    for name in ("baseline", "eval"):
        report, rows = trained.json(f"reports/{name}_results.json"), trained.rows(f"reports/{name}_predictions.jsonl")
        assert report["primary_metric"] == metric and report["n"] == len(rows) == 12
        assert metrics.value(metric, rows) == pytest.approx(report[metric])
        assert report["interval"][0] <= report[metric] <= report["interval"][1]
    change = trained.json("reports/eval_results.json")["difference"]
    assert change["low"] <= change["value"] <= change["high"]
    if metric == "eval_loss":
        assert change["high"] < 0, "the loss fell on held-out rows"
    report = trained.json("reports/train.json")
    assert report["global_step"] == report["max_steps"] and report["resumed_from"] == "checkpoint-3"
    assert [row["step"] for row in trained.rows("logs/train.jsonl")] == list(range(1, report["max_steps"] + 1))
    if trained.method == "grpo":  # what watch.py goes by: the share of prompts whose answers all earn the same
        assert all(0 <= row["frac_reward_zero_std"] <= 1 for row in trained.rows("logs/train.jsonl"))
    samples = trained.path / "reports/inference_samples"
    assert len(list(samples.glob("*_pred.txt"))) == 5 and "prediction" in json.loads(
        (samples / "0_meta.json").read_text()
    )


def test_the_data_page_marks_what_is_learned(trained):
    page = pages.DataPage(trained)
    for split in ("train", "eval"):
        assert len(page.rows[split]) == 12
        for row in page.rows[split]:
            number = int(row.texts[0].split("Is ")[1].split()[0])
            right, wrong = ("odd", "even") if number % 2 else ("even", "odd")
            asked = f"<|im_start|>user\nIs {number} odd or even?<|im_end|>\n<|im_start|>assistant\n"
            answers = {"dpo": [right, wrong], "grpo": []}.get(trained.method, [right])
            assert row.marked == [f"{answer}<|im_end|>" for answer in answers]
            assert row.texts == [asked + answer for answer in row.marked or [""]]
            assert trained.method != "grpo" or f"answer: {right}" in row.caption
    counts = page.bars("Sizes and lengths", {"dpo": "tokens of prompt and chosen answer", "grpo": "tokens of a prompt"}.get(
        trained.method, "tokens of a row"))  # fmt: skip
    assert [sum(column) for column in zip(*counts.values(), strict=True)] == [
        16 if trained.method == "grpo" else 48,
        12,
    ]
    assert "<|im_start|>" not in page.html and trained.json("reports/data.json")["problems"] == []


def test_what_smoke_saw(trained):
    smoke = trained.json("reports/smoke.json")
    checks = {check["name"]: check for check in smoke["checks"]}
    assert smoke["passed"] and ("lora_gradients" in checks) == (trained.method != "full")
    unmasked, labels = checks["labels"]["detail"].split()[:3:2]
    assert 0 < int(unmasked) <= int(labels)
    assert trained.method == "grpo" or int(unmasked) < int(labels), "the prompt is no label"


def test_a_merged_model_is_the_adapter_and_not_the_published_model(trained):
    if trained.method == "full":
        assert not (trained.path / "merge_lora.py").exists()
        return
    report = trained.json("reports/merge.json")
    assert report["passed"] and report["idle"] == [] and report["modules"] == 14
    assert report["difference"] <= max(1e-3, 0.1 * report["effect"]) and report["effect"] > 0
    assert (trained.path / "checkpoints/merged/model.safetensors").exists()


@pytest.mark.slow
def test_interrupted_it_learned_the_same_as_without(trained, tmp_path):
    """`trained` stopped after step 3 and went on."""
    ignored = shutil.ignore_patterns("checkpoints", "logs", "reports")
    shutil.copytree(trained.path, tmp_path / "twin", ignore=ignored)
    twin = Project(tmp_path / "twin", trained.python)
    twin.ok("train.py")
    rows, unbroken = (project.rows("logs/train.jsonl") for project in (trained, twin))
    assert [row["step"] for row in rows] == [row["step"] for row in unbroken]
    for key in ("loss", "grad_norm", "learning_rate"):
        assert [row[key] for row in rows] == pytest.approx([row[key] for row in unbroken], rel=1e-4, abs=1e-6), key


def test_only_the_answer_and_its_end_are_learned(trained):
    if trained.method not in ("lora", "full"):
        pytest.skip("TRL masks preference pairs and generations itself")
    code = (
        "from data import *; from model import load_processor; from harness.project import load_config\n"
        "t = load_processor(load_config()); r = train_view(load_split('train'), t)[0]\n"
        "print([t.decode([i for i in r['labels'] if i != -100]), t.decode(r['input_ids'])])"
    )
    learned, whole = eval(trained.ok("-c", code).splitlines()[-1])
    assert (
        learned in ("odd<|im_end|>", "even<|im_end|>")
        and whole.endswith(learned)
        and whole.startswith("<|im_start|>user")
    )


def test_an_adapter_without_effect_is_not_merged(trained, tmp_path):
    if trained.method != "lora":
        pytest.skip("one method shows it")
    undo = (
        "from pathlib import Path; from safetensors.torch import load_file, save_file\n"
        "p = next(Path('checkpoints/final').glob('adapter_model.safetensors')); w = load_file(p)\n"
        "save_file({k: v * 0 if 'lora_B' in k else v for k, v in w.items()}, p, {'format': 'pt'})"
    )
    path = trained.path / "checkpoints/final/adapter_model.safetensors"
    kept, before = path.read_bytes(), (trained.path / "reports/merge.json").read_text()
    trained.ok("-c", undo)
    refused = trained.run("merge_lora.py")
    path.write_bytes(kept)
    assert refused.returncode == 1 and "not merged: no effect in 14 modules" in refused.stdout
    assert not trained.json("reports/merge.json")["passed"]
    (trained.path / "reports/merge.json").write_text(before)
