from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import pytest
from PIL import Image

from tests.probe.dataset import probe_dataset
from tests.tiny import png
from tunegate.clients.hub import Hub
from tunegate.errors import ToolFailure
from tunegate.readers.detect import detect

SEG, DET, DEPTH = "semantic-segmentation", "object-detection", "depth-estimation"


def put(root: Path, *paths: str, content: bytes | None = None) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(png(64, 48) if content is None else content)
    return root


def mask(*values: int) -> bytes:
    image = Image.new("L", (64, 48))
    for at, value in enumerate(values):
        image.paste(value, (8 * at, 0, 8 * at + 8, 48))
    out = io.BytesIO()
    image.save(out, "png")
    return out.getvalue()


def lines(root: Path, path: str, *rows: dict) -> Path:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text("\n".join(map(json.dumps, rows)))
    return root


def probe(path, task, **arguments):
    return probe_dataset(Hub("http://127.0.0.1:9"), local_path=str(path), task=task, **arguments)


def refused(path, task, **arguments):
    with pytest.raises(ToolFailure) as caught:
        probe(path, task, **arguments)
    assert caught.value.code == "rejected"
    return caught.value.failure.message


# --- metadata


def test_metadata_names_boxes(tmp_path):
    put(tmp_path, "train/1.png", "train/2.png", "train/left_over.png", "test/1.png")
    boxes = {"bbox": [[1, 2, 30, 20], [40, 30, 10, 10]], "categories": ["cat", "dog"]}
    for split, names in (("train", "12"), ("test", "1")):
        lines(tmp_path, f"{split}/metadata.jsonl", *({"file_name": f"{n}.png", "objects": boxes} for n in names))
    facts = probe(tmp_path, DET, box_format="xywh")
    assert (facts.local_format, facts.splits, facts.column_map["category"]) == (
        "imagefolder",
        {"train": 2, "test": 1},
        "objects.categories",
    )
    assert facts.class_names == ["cat", "dog"] and facts.boxes.boxes == 4 and "the user says so" in facts.boxes.evidence
    assert any("1 images are named in no metadata" in w for w in facts.warnings)


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_metadata_at_the_root_serves_every_split(tmp_path, name):
    names = [f"{split}/{i}.png" for split in ("train", "val") for i in range(3)]
    put(tmp_path, *names)
    if name.endswith("csv"):
        (tmp_path / name).write_text("file_name,label\n" + "".join(f"{n},{'ab'[i % 2]}\n" for i, n in enumerate(names)))
    else:
        lines(tmp_path, name, *({"file_name": n, "label": "ab"[i % 2]} for i, n in enumerate(names)))
    facts = probe(tmp_path, "image-classification")
    assert (facts.splits, facts.class_names) == ({"train": 3, "validation": 3}, ["a", "b"])
    assert facts.column_map == {"image": "image", "label": "label"} and facts.label_complete


def test_further_images_of_a_row_are_columns_too(tmp_path):
    put(tmp_path, "a.png", "b.png")
    put(tmp_path, "masks/a.png", "masks/b.png", content=mask(0, 1, 2))
    rows = ({"file_name": f"{n}.png", "mask_file_name": f"masks/{n}.png", "profile_name": n} for n in "ab")
    lines(tmp_path, "metadata.jsonl", *rows)
    facts = probe(tmp_path, SEG)
    assert facts.column_map == {"image": "image", "mask": "mask"} and facts.masks.values == [0, 1, 2]
    assert not any("no metadata" in w for w in facts.warnings)


@pytest.mark.parametrize("path", ["../../x.png", "/etc/x.png", "a\0.png"])
def test_metadata_cannot_lead_out(tmp_path, path):
    put(tmp_path / "x", "a.png")
    lines(tmp_path / "x", "metadata.jsonl", {"file_name": path, "label": "a"}, {"file_name": "a.png", "label": "b"})
    assert "leads out" in refused(tmp_path / "x", "image-classification")


def test_metadata_must_name_files(tmp_path):
    put(tmp_path, "a.png")
    lines(tmp_path, "metadata.jsonl", {"name": "a.png"})
    assert "file_name" in refused(tmp_path, "image-classification")


def test_questions_about_images(tmp_path):
    put(tmp_path, "a.png", "b.png")
    rows = [{"file_name": f"{n}.png", "question": "what is it?", "answer": n} for n in "ab"]
    facts = probe(lines(tmp_path, "metadata.jsonl", *rows), "image-text-to-text")
    assert (facts.form, facts.column_reshape) == ("question_answer", "question_answer_to_messages")
    assert facts.texts.rows == 2 and facts.duplicates.exact == 1  # the same picture and question twice


def test_captions(tmp_path):
    put(tmp_path, "train/a.png", "train/b.png", "train/c.PNG", "val/a.png")
    for name in ("train/a", "train/b", "val/a", "train/lost"):
        put(tmp_path, f"{name}.txt", content="\ufeffa small square,\nblack\n".encode())
    assert detect(tmp_path) == "captions"
    facts = probe(tmp_path, "image-text-to-text")
    assert (facts.splits, facts.column_reshape) == ({"train": 2, "validation": 1}, "caption_to_messages")
    assert facts.column_map == {"image": "image", "caption": "text"} and facts.sample_rows[0]["text"][:6] == "a smal"
    for said in ("'Describe the image.'", "1 images have no text", "1 texts have no image beside them", "train/c.PNG"):
        assert any(said in warning for warning in facts.warnings), said
    assert "is in captions format, for image-text-to-text" in refused(tmp_path, DET)


def test_numbers_are_no_captions_and_class_folders_have_none(tmp_path):
    put(tmp_path, "cats/a.png", "dogs/b.png")
    put(tmp_path, "cats/a.txt", content=b"a cat")
    assert detect(tmp_path) == "imagefolder"
    put(tmp_path, "a.png")
    put(tmp_path, "a.txt", content=b"0 0.5 0.5 0.1 0.1")
    assert detect(tmp_path) == "yolo"


# --- pairs


@pytest.mark.parametrize(
    ("images", "masks", "split"),
    [
        ("images/{}.png", "masks/{}.png", "train"),
        ("images/{}.png", "masks/{}_mask.png", "train"),
        ("train/images/{}.png", "train/masks/{}.png", "train"),
        ("images/training/{}.png", "annotations/training/{}.png", "train"),
        ("img/validation/{}.png", "labels/validation/{}.png", "validation"),
    ],
)
def test_pairs_of_image_and_mask(tmp_path, images, masks, split):
    put(tmp_path, *(images.format(n) for n in "abc"))
    put(tmp_path, *(masks.format(n) for n in "abcx"), content=mask(0, 1, 255, 2))
    facts = probe(tmp_path, SEG)
    assert (facts.local_format, facts.splits, facts.train_split) == ("segfolder", {split: 3}, split)
    assert (facts.masks.ignore_index, facts.masks.wrong_size, facts.class_names) == (255, 0, [])
    assert any("1 masks or maps have no image" in w for w in facts.warnings)
    assert any("have no names" in w for w in facts.warnings)


def test_names_beside_the_data(tmp_path):
    put(tmp_path, "images/a.png")
    put(tmp_path, "masks/a.png", content=mask(0, 1, 2))
    (tmp_path / "id2label.json").write_text('{"0": "ground", "1": "tree", "2": "road"}')
    assert probe(tmp_path, SEG).class_names == ["ground", "tree", "road"]
    (tmp_path / "id2label.json").write_text("[]")
    assert probe(tmp_path, SEG).class_names == []
    (tmp_path / "id2label.json").unlink()
    (tmp_path / "classes.txt").write_text("ground\ntree\n")
    facts = probe(tmp_path, SEG)
    assert facts.class_names == ["ground", "tree"] and facts.masks.reduce_labels


def test_depth_folders(tmp_path):
    put(tmp_path, "rgb/a.png", "rgb/b.png")
    out = io.BytesIO()
    Image.frombytes("I;16", (64, 48), struct.pack("<3072H", *(i + 500 for i in range(3072)))).save(out, "png")
    put(tmp_path, "depth/a.png", "depth/b.png", content=out.getvalue())
    facts = probe(tmp_path, DEPTH)
    assert (facts.local_format, facts.column_map["depth_map"], facts.depth.unit) == (
        "segfolder",
        "depth_map",
        "millimeters",
    )
    assert facts.for_config()["depth_scale"] == 0.001
    assert "needs a folder" in refused(tmp_path, SEG)


def test_pairs_that_are_none(tmp_path):
    put(tmp_path, "images/a.png", "masks/b.png")
    assert "same name" in refused(tmp_path, SEG)


def test_masks_whose_values_mean_other_classes_are_not_measured_on(tmp_path):
    """Values of masks have no names of their own: nothing in the second dataset could be read by name."""
    for name, names in (("a", {"0": "ground", "1": "tree"}), ("b", {"0": "tree", "1": "ground"})):
        for part in ("images", "masks"):
            (tmp_path / name / part).mkdir(parents=True)
            for i in range(4):
                mode = "L" if part == "masks" else "RGB"
                Image.new(mode, (32, 32), i % 2 if mode == "L" else (9 * i, 8, 7)).save(
                    tmp_path / name / part / f"{i}.png"
                )
        (tmp_path / name / "id2label.json").write_text(json.dumps(names))
    with pytest.raises(ToolFailure, match="id2label.json of local_dataset_path and of local_eval_path"):
        probe_dataset(
            Hub("http://127.0.0.1:9"),
            local_path=str(tmp_path / "a"),
            local_eval_path=str(tmp_path / "b"),
            task="semantic-segmentation",
        )
