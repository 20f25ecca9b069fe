"""Every task's data on the Hub: through the viewer, and through the repository's files when the viewer is away."""

from __future__ import annotations

import io
import json
import os
import struct

import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from tests.probe.dataset import probe_dataset
from tests.tiny import DATASET, png
from tunegate.clients.hub import Hub
from tunegate.embedded.hub import Fault
from tunegate.errors import ToolFailure

VIEWER = r"^/(is-valid|splits|info|size|first-rows|rows|parquet)"
IMAGE, TEXT, INT = {"_type": "Image"}, {"dtype": "string", "_type": "Value"}, {"dtype": "int64", "_type": "Value"}
BOXES = [[2.0, 3.0, 30.0, 20.0], [40.0, 30.0, 20.0, 15.0], [1.0, 1.0, 60.0, 40.0]]


def cell(data: bytes) -> dict:
    return {"bytes": data, "path": None}


def gray(*values: int, mode: str = "L") -> bytes:
    image = Image.frombytes(
        mode, (len(values), 1), struct.pack(f"<{len(values)}{'H' if mode == 'I;16' else 'B'}", *values)
    )
    out = io.BytesIO()
    image.save(out, "png")
    return out.getvalue()


def table(features: dict, rows: list[dict], group: int = 4) -> bytes:
    """A parquet file as `datasets` writes one, in several row groups."""
    out = io.BytesIO()
    found = pa.Table.from_pylist(rows)
    found = found.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pa.parquet.write_table(found, out, row_group_size=group)
    return out.getvalue()


def sequence(inner):
    return {"feature": inner, "_type": "List"}


DETECTION = {
    "image": IMAGE,
    "objects": {
        "bbox": sequence(sequence({"dtype": "float32", "_type": "Value"})),
        "category": sequence({"names": ["cat", "dog", "emu"], "_type": "ClassLabel"}),
    },
}
CHAT = [{"content": TEXT, "role": TEXT}]


def detection(rows: int = 12) -> bytes:
    return table(
        DETECTION,
        [{"image": cell(png(64, 48)), "objects": {"bbox": BOXES, "category": [0, 1, 0]}} for _ in range(rows)],
    )


def put(server, files: dict[str, bytes], name: str = "me/data") -> str:
    server.add_repo("dataset", name, DATASET | files)
    return name


@pytest.fixture(params=["viewer", "files"])
def source(request, server):
    if request.param == "files":
        server.faults.append(Fault(VIEWER, status=500, times=9999))
    return request.param


def test_detection(source, server, hub):
    facts = probe_dataset(hub, dataset_id=put(server, {"data/train-0.parquet": detection()}), task="object-detection")
    assert (facts.read_through, facts.column_map["bbox"], facts.column_reshape) == (source, "objects.bbox", None)
    assert facts.class_names == ["cat", "dog", "emu"] and facts.label_histogram == {"cat": 24, "dog": 12}
    assert (facts.boxes.format, facts.boxes.normalized, facts.boxes.boxes, facts.boxes.rows) == ("xywh", False, 36, 12)
    assert facts.for_config()["box_format"] == "xywh" and any("emu" in w for w in facts.warnings)


def test_objects_as_columns_and_as_a_list_of_dicts(server, hub):
    flat = {"image": IMAGE, "bbox": DETECTION["objects"]["bbox"], "labels": sequence(TEXT)}
    rows = [{"image": cell(png(64, 48)), "bbox": BOXES, "labels": ["a", "b", "a"]}] * 6
    facts = probe_dataset(hub, dataset_id=put(server, {"train.parquet": table(flat, rows)}), task="object-detection")
    assert (facts.column_reshape, facts.column_map["category"], facts.class_names) == (
        "nest_objects",
        "labels",
        ["a", "b"],
    )
    listed = {
        "image": IMAGE,
        "objects": [{"bbox": sequence({"dtype": "float32", "_type": "Value"}), "category_id": INT}],
    }
    rows = [
        {"image": cell(png(64, 48)), "objects": [{"bbox": box, "category_id": i} for i, box in enumerate(BOXES)]}
    ] * 6
    facts = probe_dataset(
        hub, dataset_id=put(server, {"train.parquet": table(listed, rows)}, "me/list"), task="object-detection"
    )
    assert (facts.column_reshape, facts.column_map["category"]) == ("transpose_objects", "objects.category_id")
    assert facts.boxes.format == "xywh" and any("numbers without names" in w for w in facts.warnings)


def masks(rows: int = 9) -> dict[str, bytes]:
    features = {"image": IMAGE, "label": IMAGE}
    content = [{"image": cell(png(3, 1)), "label": cell(gray(0, 1 + i % 3, 255))} for i in range(rows)]
    return {
        "data/train-0.parquet": table(features, content),
        "id2label.json": b'{"0": "sky", "1": "sea", "2": "sand", "3": "rock"}',
    }


def test_segmentation(source, server, hub):
    facts = probe_dataset(hub, dataset_id=put(server, masks()), task="semantic-segmentation")
    assert (facts.read_through, facts.column_map) == (source, {"image": "image", "mask": "label"})
    assert facts.masks.values == [0, 1, 2, 3, 255] and facts.class_names == ["sky", "sea", "sand", "rock"]
    assert facts.for_config() | {"ignore_index": 255, "mask_values": "ids"} == facts.for_config()


def test_masks_are_never_read_from_the_viewers_own_copies(server, hub):
    """The viewer makes JPEGs of what it shows. Without the parquet files, their values are unknown, and said to be."""
    server.faults.append(Fault("^/parquet", status=500, times=99))
    facts = probe_dataset(hub, dataset_id=put(server, masks()), task="semantic-segmentation")
    assert facts.masks is None and any("no mask was looked into" in w for w in facts.warnings)


def test_depth(source, server, hub):
    features = {"image": IMAGE, "depth_map": IMAGE}
    rows = [{"image": cell(png(3, 1)), "depth_map": cell(gray(0, 800, 4000 + i, mode="I;16"))} for i in range(6)]
    facts = probe_dataset(
        hub, dataset_id=put(server, {"train.parquet": table(features, rows)}), task="depth-estimation"
    )
    assert (facts.depth.unit, facts.depth.minimum, facts.depth.maximum) == ("millimeters", 800, 4005)


@pytest.mark.parametrize(
    ("columns", "row", "form", "reshape"),
    [
        (
            {"messages": CHAT},
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            "messages",
            None,
        ),
        (
            {"conversations": [{"from": TEXT, "value": TEXT}]},
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
            "sharegpt",
            "sharegpt_to_messages",
        ),
        (
            dict.fromkeys(("instruction", "input", "output", "text"), TEXT),
            dict.fromkeys(("instruction", "input", "output", "text"), "x"),
            "instruction",
            "instruction_to_messages",
        ),
        ({"prompt": TEXT, "completion": TEXT}, {"prompt": "a", "completion": "b"}, "prompt_completion", None),
        (
            {"question": TEXT, "answer": TEXT},
            {"question": "a", "answer": "b"},
            "question_answer",
            "question_answer_to_messages",
        ),
        ({"text": TEXT, "id": INT}, {"text": "a long text", "id": 3}, "text", "language_modelling"),
    ],
)
def test_texts(source, server, hub, columns, row, form, reshape):
    rows = [{**row, **({"id": i} if "id" in row else {})} for i in range(8)]
    facts = probe_dataset(hub, dataset_id=put(server, {"train.parquet": table(columns, rows)}), task="text-generation")
    assert (facts.read_through, facts.form, facts.column_reshape) == (source, form, reshape)
    assert facts.texts.rows == 8 and facts.texts.empty == 0 and facts.duplicates.exact == 7


def test_preference_data_is_for_dpo(server, hub):
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    other = [chat[0], {"role": "assistant", "content": "b"}]
    rows = [{"chosen": chat, "rejected": other, "score": 1.0}] * 4
    name = put(
        server,
        {
            "train.parquet": table(
                {"chosen": CHAT, "rejected": CHAT, "score": {"dtype": "float64", "_type": "Value"}}, rows
            )
        },
    )
    facts = probe_dataset(hub, dataset_id=name, task="text-generation", method="dpo")
    assert facts.form == "implicit_preference" and facts.column_map == {"chosen": "chosen", "rejected": "rejected"}
    with pytest.raises(ToolFailure) as caught:
        probe_dataset(hub, dataset_id=name, task="text-generation")
    assert caught.value.code == "rejected" and "'dpo'" in caught.value.failure.message


def test_questions_about_images(source, server, hub):
    features = {"multiple_choice_answer": TEXT, "question": TEXT, "image": IMAGE}
    rows = [{"multiple_choice_answer": "yes", "question": f"is it {i}?", "image": cell(png(8, 6))} for i in range(5)]
    facts = probe_dataset(
        hub, dataset_id=put(server, {"validation-0.parquet": table(features, rows)}), task="image-text-to-text"
    )
    assert facts.column_map == {"image": "image", "question": "question", "answer": "multiple_choice_answer"}
    assert (facts.train_split, facts.eval_split) == ("validation", None)


def test_panoptic(source, server, hub):
    segment = {
        "id": INT,
        "category_id": {"names": ["sky", "sea"], "_type": "ClassLabel"},
        "isthing": {"dtype": "bool", "_type": "Value"},
    }
    mask = Image.new("RGB", (64, 48), (1, 0, 0))
    mask.paste((44, 1, 0), (0, 0, 20, 20))
    out = io.BytesIO()
    mask.save(out, "png")
    rows = [
        {
            "image": cell(png(64, 48)),
            "label": cell(out.getvalue()),
            "segments_info": [
                {"id": 1, "category_id": 0, "isthing": False},
                {"id": 300, "category_id": 1, "isthing": True},
            ],
        }
        for _ in range(5)
    ]
    features = {"image": IMAGE, "label": IMAGE, "segments_info": [segment]}
    facts = probe_dataset(
        hub, dataset_id=put(server, {"train.parquet": table(features, rows)}), task="panoptic-segmentation"
    )
    assert facts.column_map == {"image": "image", "mask": "label", "segments": "segments_info"}
    assert (
        facts.masks.values == [1, 300]
        and facts.class_names == ["sky", "sea"]
        and facts.label_histogram == {"sky": 5, "sea": 5}
    )
    assert facts.for_config()["mask_values"] == "segment_ids"


def test_several_images_in_a_row(source, server, hub):
    parts = [{"type": "image", "text": None}, {"type": "text", "text": "what is it?"}]
    rows = [
        {
            "images": [cell(png(8, 6)), cell(png(10 + i, 6))],
            "messages": [
                {"role": "user", "content": parts},
                {"role": "assistant", "content": [{"type": "text", "text": "a"}]},
            ],
        }
        for i in range(5)
    ]
    features = {"images": sequence(IMAGE), "messages": [{"role": TEXT, "content": [{"type": TEXT, "text": TEXT}]}]}
    facts = probe_dataset(
        hub, dataset_id=put(server, {"train.parquet": table(features, rows)}), task="image-text-to-text"
    )
    assert (facts.form, facts.column_map["image"]) == ("messages", "images")
    assert (facts.images.images, facts.images.decoded, facts.images.broken) == (10, 10, 0)
    assert facts.images.width == [8, 10, 14] and facts.texts.image_marks == 5


def test_rows_that_the_viewer_cuts_are_read_whole(monkeypatch, hub, server):
    rows = [{"prompt": f"p{i}", "completion": "c" * 5000} for i in range(5)]
    name = put(server, {"train.parquet": table({"prompt": TEXT, "completion": TEXT}, rows)})
    real = Hub.viewer

    def cut(self, endpoint, **params):
        answer = real(self, endpoint, **params)
        for row in answer.get("rows", []) if endpoint == "first-rows" else []:
            row["row"]["completion"], row["truncated_cells"] = row["row"]["completion"][:50], ["completion"]
        return answer

    monkeypatch.setattr(Hub, "viewer", cut)
    assert probe_dataset(hub, dataset_id=name, task="text-generation").texts.characters[0] == 5003
    server.faults.append(Fault("^/rows", status=500, times=99))
    facts = probe_dataset(hub, dataset_id=name, task="text-generation")
    assert facts.texts is None and any("5 rows of split 'train' are cut" in w for w in facts.warnings)


def test_bytes_do_not_grow_with_the_file(server, hub):
    """A large parquet file: its footer and a few pages come over the wire."""
    server.faults.append(Fault(VIEWER, status=500, times=9999))
    features = {"text": TEXT, "blob": TEXT}
    rows = [{"text": os.urandom(300).hex(), "blob": os.urandom(9_000).hex()} for _ in range(3000)]
    body = table(features, rows, group=1000)
    facts = probe_dataset(hub, dataset_id=put(server, {"train.parquet": body}), task="text-generation")
    assert len(body) > 30_000_000 and facts.bytes_fetched < 5_000_000 and facts.splits == {"train": 3000}
    assert facts.rows_read["train"] == 192 and facts.sample_spread and facts.texts.characters[0] == 600
    assert "blob" not in facts.sample_rows[0]  # too expensive


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "json"])
def test_text_files_without_the_viewer(server, hub, suffix):
    server.faults.append(Fault(VIEWER, status=500, times=9999))
    rows = [{"prompt": f"question {i}", "completion": f"answer {i}"} for i in range(20)]
    body = {
        "jsonl": "\n".join(map(json.dumps, rows)),
        "csv": "prompt,completion\n" + "\n".join(f"{r['prompt']},{r['completion']}" for r in rows),
        "json": json.dumps(rows),
    }[suffix]
    facts = probe_dataset(hub, dataset_id=put(server, {f"train.{suffix}": body.encode()}), task="text-generation")
    assert facts.form == "prompt_completion" and facts.splits == {"train": 20} and facts.texts.rows == 20


def test_the_cards_configurations_are_kept_to(server, hub):
    server.faults.append(Fault(VIEWER, status=500, times=9999))
    card = b"---\nconfigs:\n- config_name: a\n  data_files:\n  - split: train\n    path: a/*.jsonl\n- config_name: b\n  data_files: b.jsonl\n---\n"
    files = {
        "README.md": card,
        "a/x.jsonl": b'{"text": "from a"}\n',
        "b.jsonl": b'{"text": "from b"}\n{"text": "more"}\n',
    }
    name = put(server, files)
    with pytest.raises(ToolFailure) as caught:
        probe_dataset(hub, dataset_id=name, task="text-generation")
    assert caught.value.code == "ambiguous" and "dataset_config='a'" in caught.value.failure.message
    assert probe_dataset(hub, dataset_id=name, task="text-generation", config="b").splits == {"train": 2}


def test_evaluation_rows_that_are_trained_on_are_found(source, server, hub):
    rows = [{"text": f"row {i}"} for i in range(10)]
    files = {
        "train.parquet": table({"text": TEXT}, rows),
        "test.parquet": table({"text": TEXT}, rows[:3] + [{"text": "new"}]),
    }
    facts = probe_dataset(hub, dataset_id=put(server, files), task="text-generation")
    assert facts.duplicates.exact_overlap == 3 and any("3 of 4 evaluation rows" in w for w in facts.warnings)


def test_the_viewers_images_are_not_asked_from_another_host(monkeypatch, hub, server):
    name = put(server, {"train.parquet": detection()})
    real = Hub.viewer

    def elsewhere(self, endpoint, **params):
        answer = real(self, endpoint, **params)
        for row in answer.get("rows", []):
            row["row"]["image"]["src"] = "http://169.254.169.254/latest/meta-data"
        return answer

    monkeypatch.setattr(Hub, "viewer", elsewhere)
    facts = probe_dataset(hub, dataset_id=name, task="object-detection")
    assert facts.images.decoded == 0 and not any("169.254" in source.url for source in facts.sources)
    assert not any("signature" in source.url for source in facts.sources)
