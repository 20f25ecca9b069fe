"""Kinds of inputs that people have, from probe to prepared rows: what arrives is what stands in their files, or is left out by name."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from tests.scaffolds.conftest import environment
from tests.scaffolds.test_prepared_rows import store
from tests.scaffolds.test_text_generation import MAKE
from tests.scaffolds.walk import Walk

pytestmark = pytest.mark.slow
AB = ["a", "b"] * 12
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(i: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (i * 7 % 256, 90, 40)).save(out, "PNG")
    return out.getvalue()


def pictures(folder):
    folder.mkdir(parents=True)
    for i in range(24):
        (folder / f"{i}.png").write_bytes(picture(i))
    return folder


# --- classes

COLUMNS = {  # a label column of parquet -> class -> rows
    "category": (pa.array(AB).dictionary_encode(), {"a": 12, "b": 12}),
    "large": (pa.array(AB, pa.large_string()), {"a": 12, "b": 12}),
    "bytes": (pa.array([3, 250] * 12, pa.uint8()), {"3": 12, "250": 12}),
    "truth": (pa.array([True, False] * 12), {"True": 12, "False": 12}),
    "decimals": (pa.array([decimal.Decimal("1.00"), decimal.Decimal("2.00")] * 12), {"1": 12, "2": 12}),
    "gaps": (pa.array([1.0, 2.0, None] * 8), {"1": 8, "2": 8}),
    "minus": (pa.array([-1, 1] * 12), {"-1": 12, "1": 12}),
    "spaces": (pa.array(["a", None, "", " b ", "b", "NA"] * 4), {"a": 4, "b": 8, "NA": 4}),
}
REFUSED = {
    "fractions": (pa.array([0.1, 0.7, 2.0] * 8), "are fractions (0.1), not classes"),
    "times": (pa.array([datetime.datetime(2020, 1, 1)] * 24), "timestamp[us]"),
}
TEXTS = {  # labels of a table, its separator, line end, encoding, ending -> class -> rows
    "latin": (["größe", "café"] * 12, ",", "\n", "latin-1", "csv", {"größe": 12, "café": 12}),
    "tabs": (["a,b", "c"] * 12, "\t", "\r\n", "utf-8", "tsv", {"a,b": 12, "c": 12}),
    "words": (["-1", "None", "0101", ""] * 6, ";", "\r\n", "utf-8-sig", "csv", {"-1": 6, "None": 6, "0101": 6}),
    "emoji": (["🐱", "🐶"] * 12, ",", "\n", "utf-16", "csv", {"🐱": 12, "🐶": 12}),
}
ROWS = {  # labels of a .jsonl -> class -> rows
    "mark": (AB, {"a": 12, "b": 12}),
    "nothing": (["a", None, "b"] * 8, {"a": 8, "b": 8}),
    "mixed": ([1, "1", 2.5, True] * 6, {"1": 12, "2.5": 6, "true": 6}),
    "dates": (["2020-01-01", "2021-01-01"] * 12, {"2020-01-01": 12, "2021-01-01": 12}),
}


def test_classes_of_every_type(stage_python, tmp_path):
    walk, wanted = Walk(tmp_path / "project", stage_python, "image-classification"), {}
    code = "found = meta['read']['train']['classes']"

    def probed(name, path, expected):
        facts, wanted[name] = walk.probe(name, path, code), expected
        assert not isinstance(facts, str), (name, facts)
        assert facts.class_counts[facts.train_split].counts == expected, name

    cells = pa.array([{"bytes": picture(i), "path": None} for i in range(24)], STRUCT)
    for name, (labels, expected) in (COLUMNS | REFUSED).items():
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"image": cells, "label": labels}), path)
        if name in REFUSED:
            assert expected in walk.probe(name, path)
        else:
            probed(name, path, expected)
    for name, (labels, sign, end, encoding, ending, expected) in TEXTS.items():
        lines = [sign.join(("image", "label")), *(f".\\{i}.png{sign}{label}" for i, label in enumerate(labels))]
        path = pictures(tmp_path / name) / f"rows.{ending}"
        path.write_bytes("".join(line + end for line in lines).encode(encoding))
        probed(name, path, expected)
    for name, (labels, expected) in ROWS.items():
        path = pictures(tmp_path / name) / "rows.jsonl"
        rows = [json.dumps({"image": f"{i}.png", "label": label}) for i, label in enumerate(labels)]
        path.write_bytes("\r\n".join(rows).encode("utf-8-sig"))
        probed(name, path, expected)
    plain = pa.table({"image": pa.array([picture(i) for i in range(24)]), "label": pa.array(AB)})
    pq.write_table(plain, tmp_path / "plain.parquet")
    probed("plain", tmp_path / "plain.parquet", {"a": 12, "b": 12})
    without = pa.array([{"bytes": None, "path": f"{i}.png"} for i in range(24)], STRUCT)
    pq.write_table(pa.table({"image": without, "label": pa.array(AB)}), tmp_path / "without.parquet")
    assert "has no bytes, only the path '0.png'" in walk.probe("without", tmp_path / "without.parquet")
    assert walk.prepared() == wanted


# --- boxes

INSIDE = """
import numpy as np
found = []
for row in rows:
    pixels = np.asarray(row["image"].convert("RGB")).astype(int)[..., 0] > 150
    for x, y, w, h in row["boxes"]:
        found.append(float(pixels[round(y):round(y + h), round(x):round(x + w)].mean()))
found = [len(found), min(found), meta["read"]["train"]["classes"]]
"""
TWELVE = {"screw": 6, "bolt": 6}


def drawn(folder, orientation=None):
    """Twelve pictures with a red box each -> the boxes on the upright picture."""
    folder.mkdir(parents=True)
    boxes = [(5 + i, 8 + 2 * i, 24, 26) for i in range(12)]
    for i, (x, y, w, h) in enumerate(boxes):
        image = Image.new("RGB", (60, 100), (20, 20, 20))
        ImageDraw.Draw(image).rectangle((x, y, x + w - 1, y + h - 1), fill=(240, 60, 60))
        store(image, folder / f"{i}.jpg", orientation) if orientation else image.save(folder / f"{i}.jpg", quality=95)
    return boxes


def coco(root, change, orientation=None):
    boxes = drawn(root / "images", orientation)
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 60, "height": 100} for i in range(12)]
    annotations = [{"image_id": i, "category_id": 1 + i % 2, "bbox": list(box)} for i, box in enumerate(boxes)]
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "screw"}, {"id": 2, "name": "bolt"}]
    change(content)
    (root / "annotations.json").write_text(json.dumps(content))
    return root


def each(key, **changes):
    """Changes fields of every image, annotation or category."""

    def change(content):
        for one in content[key]:
            one.update({name: made(one[name]) for name, made in changes.items() if name in one})

    return change


def several(*changes):
    return lambda content: [change(content) for change in changes]


ANNOTATED = {
    "ids as text": several(each("categories", id=str), each("annotations", category_id=str)),
    "ids as text on one side": each("annotations", category_id=str, image_id=lambda one: f"{one:06d}"),
    "ids as floats": several(
        each("images", id=float, width=float, height=float),
        each("annotations", image_id=float, category_id=float),
        each("categories", id=float),
    ),
    "boxes as text": each("annotations", bbox=lambda box: [str(side) for side in box]),
    "paths of Windows": each("images", file_name=lambda name: f"C:\\data\\images\\{name}"),
}


def test_boxes_of_every_spelling(stage_python, tmp_path):
    walk, wanted = Walk(tmp_path / "project", stage_python, "object-detection"), {}
    for name, change in ANNOTATED.items():
        facts = walk.probe(name, coco(tmp_path / name, change), INSIDE)
        assert not isinstance(facts, str), (name, facts)
        assert facts.class_counts["train"].counts == TWELVE, name
        wanted[name] = [12, 1.0, TWELVE]
    for orientation in (6, 8):
        root = tmp_path / f"voc {orientation}"
        for i, (x, y, w, h) in enumerate(drawn(root / "JPEGImages", orientation)):
            sides = "".join(
                f"<{k}>{v}.0</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), (x, y, x + w, y + h), strict=True)
            )
            (root / "Annotations").mkdir(exist_ok=True)
            (root / f"Annotations/{i}.xml").write_text(
                f"<annotation><filename>{i}.jpg</filename><size><width>60</width><height>100</height></size><object>"
                f"<name> {('screw', 'bolt')[i % 2]} </name><bndbox>{sides}</bndbox></object></annotation>"
            )
        assert walk.probe(root.name, root, INSIDE).splits == {"train": 12}
        wanted[root.name] = [12, 1.0, TWELVE]
    twice = coco(tmp_path / "twice", lambda content: content["images"].append({**content["images"][1], "id": 99}))
    assert any(
        "listed under several ids" in one and "1.jpg" in one for one in walk.probe("twice", twice, "found = 1").warnings
    )
    found = walk.prepared()
    assert {name: found[name] for name in wanted} == wanted


# --- conversations

WAITS = (  # as the R1 distillations: waits for thoughts, and leaves those of a finished answer out
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'].split('</think>')[-1].lstrip('\\n') }}"
    "{% for c in m['tool_calls'] or [] %}{{ c['function']['name'] }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
LEARNED = """
import data
from model import load_processor
tokenizer = load_processor(cfg)
row = data.train_view(project.load_split("train"), tokenizer)[0]
learned = tokenizer.decode([token for token in row["labels"] if token != -100])
found = [len(rows), learned, tokenizer.decode(row["input_ids"]).removesuffix(learned)]
"""


def user(content, **more):
    return {"role": "user", "content": content, **more}


def answer(content, **more):
    return {"role": "assistant", "content": content, **more}


def asked(*turns):
    return "".join(f"<|im_start|>{role}\n{said}<|im_end|>\n" for role, said in turns) + "<|im_start|>assistant\n"


ASKED = asked(("user", "odd?"))
CALL = {"type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
CHATS = {  # a row -> (what is learned, what is read before it)
    "capitals": ({"conversations": [{"from": "HUMAN", "value": "odd?"}, {"from": "AI", "value": "yes"}]}, "yes<|im_end|>", ASKED),
    "bot": ({"messages": [{"role": "prompter", "content": "odd?"}, {"role": "bot", "content": "yes"}]}, "yes<|im_end|>", ASKED),
    "messages": ({"prompt": [user("odd?")], "completion": [answer("yes")]}, "yes<|im_end|>", ASKED),
    "number": ({"prompt": "odd?", "completion": 42}, "42<|im_end|>", ASKED),
    "output of a number": ({"instruction": "odd?", "output": 0.5}, "0.5<|im_end|>", ASKED),
    "half messages": ({"prompt": [user("odd?")], "completion": "yes"}, "yes<|im_end|>", ASKED),
    "dialogue": ({"prompt": "\n\nHuman: odd?\n\nAssistant:", "completion": "yes"}, "yes<|im_end|>", ASKED),
    "given": (
        {"prompt": [user("odd?"), answer("yes"), user("even?")], "completion": [answer("no")]},
        "no<|im_end|>",
        asked(("user", "odd?"), ("assistant", "yes"), ("user", "even?")),
    ),
    "weight": (
        {"messages": [user("odd?"), answer("yes", weight=0), user("even?"), answer("no", weight=1)]},
        "no<|im_end|>",
        asked(("user", "odd?"), ("assistant", "yes"), ("user", "even?")),
    ),
    "thoughts": ({"messages": [user("odd?"), answer("<think>\nhm\n</think>\n\nyes")]}, "hm\n</think>\n\nyes<|im_end|>", ASKED + "<think>\n"),
    "thoughts beside": (
        {"messages": [user("odd?"), answer("yes", reasoning_content="hm")]},
        "hm\n</think>\n\nyes<|im_end|>",
        ASKED + "<think>\n",
    ),
    "call": (
        {"messages": [user("odd?"), answer(None, tool_calls=[CALL])], "tools": json.dumps([CALL])},
        "f<|im_end|>",
        ASKED,
    ),
    "🐱": ({"messages": [{"role": "developer", "content": "🐶"}, user("odd?\r\n"), answer("🐱")]}, "🐱<|im_end|>",
           asked(("developer", "🐶"), ("user", "odd?\r\n"))),
}  # fmt: skip


@pytest.fixture(scope="module")
def thinker(stage_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("thinker")
    subprocess.run([stage_python, "-c", MAKE, folder], check=True, capture_output=True, env=environment())
    (folder / "chat_template.jinja").write_text(WAITS)
    return folder


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_conversations_of_every_form(stage_python, thinker, tmp_path):
    walk = Walk(tmp_path / "project", stage_python, "text-generation", "lora", model_id=str(thinker), max_length=400)
    for name, (row, _, _) in CHATS.items():
        facts = walk.probe(name, lines(tmp_path / f"{name}.jsonl", [row] * 6), LEARNED)
        assert not isinstance(facts, str) and facts.unused_columns == [], (name, facts)
    assert walk.prepared() == {name: [6, learned, read] for name, (_, learned, read) in CHATS.items()}


PAIRS = {  # rows of preferences -> how many are left out, why, the first prompt
    "scores": ([{"prompt": "odd?", "chosen": "yes", "rejected": "no", "score_chosen": 1.0}], {}, [user("odd?")]),
    "turn": (
        [{"conversations": [{"from": "human", "value": "odd?"}], "chosen": {"from": "gpt", "value": "yes"},
          "rejected": {"from": "gpt", "value": "no"}}], {}, [user("odd?")]),
    "dialogues": (
        [{"chosen": "\n\nHuman: odd?\n\nAssistant: yes", "rejected": "\n\nHuman: odd?\n\nAssistant: no"}], {}, [user("odd?")]),
    "system": (
        [{"system": "s", "prompt": "odd?", "chosen": "yes", "rejected": "no"}], {},
        [{"role": "system", "content": "s"}, user("odd?")]),
    "alike": (
        [{"prompt": "odd?", "chosen": "yes", "rejected": "no"}, {"prompt": "odd?", "chosen": "yes", "rejected": "yes"}],
        {"no two answers to tell apart": 6}, [user("odd?")]),
    "empty": (
        [{"chosen": [user("odd?"), answer("yes")], "rejected": [user("odd?"), answer(said)]} for said in ("no", "")],
        {"a turn without text": 6}, [user("odd?")]),
}  # fmt: skip


def test_preferences_of_every_form(stage_python, thinker, tmp_path):
    walk = Walk(tmp_path / "project", stage_python, "text-generation", "dpo", model_id=str(thinker), max_length=400)
    code = "found = [meta['dropped'], rows[0]['prompt'], rows[0]['chosen'][0]['content'], rows[0]['rejected'][0]['content']]"
    for name, (rows, _, _) in PAIRS.items():
        assert not isinstance(facts := walk.probe(name, lines(tmp_path / f"{name}.jsonl", rows * 6), code), str), (
            name,
            facts,
        )
    answers = lines(tmp_path / "answers.jsonl", [{"chosen": "yes", "rejected": "no"}] * 6)
    assert "no column is the prompt" in walk.probe("answers", answers)
    assert walk.prepared() == {name: [left_out, prompt, "yes", "no"] for name, (_, left_out, prompt) in PAIRS.items()}
