"""The rendered image-text-to-text project on a tiny Idefics3: every script, for real."""

from __future__ import annotations

import json
import random
import subprocess

import pytest

from tests.probe.dataset.local.test_coco import probe
from tests.scaffolds import pages
from tests.scaffolds.conftest import CLASSES, draw, environment, make_project
from tunegate.tasks import metrics

MAKE = """
import sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessorPil, Idefics3Processor, PreTrainedTokenizerFast, set_seed
set_seed(0)
words = Tokenizer(models.BPE())
words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
special = ["<pad>", "<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>"]
special += [f"<row_{r}_col_{c}>" for r in range(1, 3) for c in range(1, 3)]
trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
words.train_from_iterator(["user assistant what shape is this ? circle square triangle"] * 50, trainer)
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end_of_utterance>", extra_special_tokens=special)
template = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}: {% for part in m['content'] %}{{ '<image>' if part['type'] == 'image' else part['text'] }}"
    "{% endfor %}<end_of_utterance>\\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant: {% endif %}"
)
images = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=template).save_pretrained(sys.argv[1])
vision = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8)
text = dict(model_type="llama", vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=2, max_position_embeddings=256, pad_token_id=0, bos_token_id=1, eos_token_id=2)
config = Idefics3Config(vision_config=vision, text_config=text, scale_factor=2, image_token_id=tokenizer.convert_tokens_to_ids("<image>"), pad_token_id=0)
Idefics3ForConditionalGeneration(config).save_pretrained(sys.argv[1])
"""
QUICK = {
    "n_train": 24,
    "n_eval": 6,
    "n_epochs": 2,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "learning_rate": 0.01,
    "max_new_tokens": 4,
}


@pytest.fixture(scope="module")
def model(stage_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("idefics3")
    subprocess.run([stage_python, "-c", MAKE, folder], check=True, capture_output=True, env=environment())
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Pictures of two sizes, so that rows differ in tiles and tokens; the same rows as question and answer, and as messages."""
    rng, folder, rows = random.Random(0), tmp_path_factory.mktemp("shapes"), []
    for i in range(40):
        name = rng.choice(list(CLASSES))
        image = draw(name, rng)
        (image if i % 2 else image.crop((0, 0, 40, 18))).save(folder / f"{i}.png")
        messages = [{"role": "user", "content": "<image>what shape is this?"}, {"role": "assistant", "content": name}]
        rows.append(
            {
                "image": f"{i}.png",
                "question": "what shape is this?",
                "answer": [name, f"a {name}"],
                "messages": messages,
            }
        )
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "rows.jsonl"


@pytest.fixture(scope="module", params=["lora", "full"])
def trained(request, model, data, stage_python, tmp_path_factory):
    method = request.param
    columns = (
        {"image": "image", "question": "question", "answer": "answer"}
        if method == "lora"
        else {"image": "image", "messages": "messages"}
    )
    project = make_project(
        tmp_path_factory.mktemp(method) / "project", stage_python, model_id=str(model), task="image-text-to-text", training_method=method,
        local_dataset_path=str(data), local_dataset_format="jsonl", column_map=columns,
        column_reshape="question_answer_to_messages" if method == "lora" else None, **QUICK,
    )  # fmt: skip
    project.ok("-m", "harness.check_api")
    project.ok("prepare_data.py")
    project.ok("train.py", "--smoke", "--max_steps", "2")
    project.ok("run_eval.py", "--baseline")
    project.ok("train.py", "--max_steps", "5")
    project.ok("train.py")
    if method == "lora":
        project.ok("merge_lora.py")
    project.ok("run_eval.py")
    project.ok("infer.py")
    project.method = method
    return project


def test_the_whole_run_by_hand(trained):
    report = trained.json("reports/train.json")
    assert (report["global_step"], report["resumed_from"]) == (12, "checkpoint-5") and report["last_loss"] < report[
        "first_loss"
    ]
    for name in ("baseline", "eval"):
        found, rows = trained.json(f"reports/{name}_results.json"), trained.rows(f"reports/{name}_predictions.jsonl")
        assert metrics.value("exact_match", rows) == found["exact_match"] and len(rows) == 6
    assert 0 <= found["controls"]["shuffled_images"] <= 1
    assert len(list((trained.path / "reports/inference_samples").glob("*_pred.jpg"))) == 5
    checks = {check["name"]: check["detail"] for check in trained.json("reports/smoke.json")["checks"]}
    if trained.method == "lora":
        assert checks["lora_gradients"] == "14 modules"  # of the language model, none of the vision tower
        assert (
            rows[0]["answer"] in ([name, f"a {name}"] for name in CLASSES)
            and trained.json("reports/merge.json")["passed"]
        )


def test_the_data_page_shows_tiles_and_marks_the_answer(trained):
    """The picture's tiles in its colors again, and of the tokens only the answer and its end marked."""
    page = pages.DataPage(trained)
    for row in page.rows["train"]:
        [marked], [text] = row.marked, row.texts
        name = marked.removesuffix("<end_of_utterance>")
        assert "what shape is this?" in text and text.endswith(marked) and "<global-img><image>" in text
        colors = [pixel for one in row.pictures for _, pixel in one.resize((16, 16)).getcolors()]
        vivid = max(colors, key=lambda pixel: max(pixel) - min(pixel))
        assert pages.hue(vivid) == {"circle": "red", "square": "green", "triangle": "blue"}[name]
    for row in page.rows["eval"]:
        assert row.marked == [] and row.texts[0].endswith("assistant: ") and "accepted: " in row.caption
    assert len(page.rows["train"]) == 12 and len(page.rows["eval"]) == 6
    assert sum(page.bars("Sizes and lengths", "tokens of the answer").popitem()[1]) >= 1


def test_only_the_answer_and_its_end_are_learned_and_no_image_token_is_lost(trained):
    code = """
from data import *; from model import load_processor; from harness.project import load_config
p = load_processor(load_config()); rows = train_view(load_split("train"), p); raw = load_split("train")
image = p.tokenizer.convert_tokens_to_ids("<image>"); tiles = set()
for i in range(len(rows)):
    row = rows[i]
    assert p.tokenizer.decode(row["labels"][row["labels"] != MASKED]) == raw[i]["answers"][0] + "<end_of_utterance>"
    assert (row["input_ids"] == image).sum() == 4 * row["pixel_values"].shape[1]; tiles.add(row["pixel_values"].shape[1])
batch = Collate(p)([rows[i] for i in range(8)]); print(sorted(tiles), batch["pixel_values"].shape[:2], batch["labels"].shape == batch["input_ids"].shape)
"""
    last = trained.ok("-c", code).splitlines()[-1]
    tiles, shape, same = last.partition("] ")[0], last.partition("torch.Size(")[2][:6], last.endswith("True")
    assert same and "," in tiles and shape == f"[8, {tiles.split()[-1]}]", last


def test_a_shuffle_gives_every_row_anothers_image(trained):
    code = """
from run_eval import shuffled
for count in range(2, 50):
    order = shuffled(count, 1)
    assert sorted(order) == list(range(count)) and all(i != j for i, j in enumerate(order))
print("all moved")
"""
    assert "all moved" in trained.ok("-c", code)


ROUNDS = {  # texts of the questions of two rounds -> where the two images stand; None: the row is left out
    "a mark in each": (("<image>one?", "two?<image>"), ["image", "one?", "two?", "image"]),
    "both before the first": (("<image><image>\none?", "two?"), ["image", "image", "one?", "two?"]),
    "no marks": (("one?", "two?"), ["image", "image", "one?", "two?"]),
    "amid a text": (("from <image> to <image>?", "two?"), ["from", "image", "to", "image", "?", "two?"]),
    "as parts": (
        ([{"type": "image"}, {"type": "text", "text": "one?"}], [{"type": "text", "text": "two?"}, {"type": "image"}]),
        ["image", "one?", "two?", "image"],
    ),
    "three marks": (("<image>one?", "<image>two<image>?"), None),
}


@pytest.mark.parametrize("name", ROUNDS)
def test_each_image_stands_where_the_conversation_shows_it(name, model, stage_python, tmp_path):
    """In rows of .jsonl, whose `images` are lists of paths relative to it."""
    asked, expected = ROUNDS[name]
    for i in range(16):
        draw("circle", random.Random(i)).save(tmp_path / f"{i}.png")
    rows = [
        {
            "images": [f"{i}.png", f"{i + 1}.png"],
            "messages": [
                turn
                for question, said in zip(asked, ("first", f"answer {i}"), strict=True)
                for turn in ({"role": "user", "content": question}, {"role": "assistant", "content": said})
            ],
        }
        for i in range(15)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    project = make_project(
        tmp_path / "project", stage_python, model_id=str(model), task="image-text-to-text", n_train=10, n_eval=2,
        local_dataset_path=str(tmp_path / "rows.jsonl"), local_dataset_format="jsonl",
        column_map={"image": "images", "messages": "messages"},
    )  # fmt: skip
    if expected is None:
        refused = project.run("prepare_data.py")
        assert refused.returncode and "3 <image> marks for 2 images" in refused.stdout
        return
    project.ok("prepare_data.py")
    found = json.loads(
        project.ok(
            "-c",
            "import json\nfrom harness.project import load_split\nfrom data import with_images\nrow = load_split('train')[0]\n"
            "turns = with_images(row['prompt'], len(row['images']))\n"
            "print(json.dumps([p.get('text', p['type']) for t in turns if t['role'] == 'user' for p in t['content']]))",
        ).splitlines()[-1]
    )
    assert found == expected


READ = """
import json
from harness.project import load_split
print(json.dumps([[[i.getpixel((0, 0))[0] for i in r["images"]], r["prompt"], r["answers"]] for s in ("train", "eval") for r in load_split(s)]))
"""


def plain(path, shade: int):
    from PIL import Image

    Image.new("RGB", (40, 40), (shade,) * 3).save(path)


@pytest.mark.parametrize("kind", ["captions", "jsonl"])
def test_captions_are_answers_to_the_prompt_of_the_config(kind, model, stage_python, tmp_path):
    """Texts beside images; captions of several images in numbered columns, one of which holds lists."""
    data, expected = tmp_path / "data", []
    data.mkdir()
    for i in range(12):
        plain(data / f"{i}.png", i)
        expected.append([[i], [{"role": "user", "content": "What is to be seen?"}], [f"gray {i}"]])
        if kind == "captions":
            (data / f"{i}.txt").write_text(f"gray {i}\n")
    if kind == "jsonl":
        rows = [
            {"image_1": f"{i}.png", "image_2": ["1.png", "2.png"] if i % 3 else None, "text": [f"gray {i}", "gray"]}
            for i in range(12)
        ]
        (data / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        expected = [
            [[*row[0], *([1, 2] if i % 3 else [])], row[1], [*row[2], "gray"]] for i, row in enumerate(expected)
        ]
    facts = probe(data if kind == "captions" else data / "rows.jsonl", "image-text-to-text")
    project = make_project(
        tmp_path / "project", stage_python, model_id=str(model), task="image-text-to-text", n_train=20, n_eval=2,
        local_dataset_path=str(facts.local_path), local_dataset_format=kind, column_map=facts.column_map,
        column_reshape=facts.column_reshape, caption_prompt="What is to be seen?",
    )  # fmt: skip
    project.ok("prepare_data.py")
    assert sorted(json.loads(project.ok("-c", READ).splitlines()[-1])) == sorted(expected)
