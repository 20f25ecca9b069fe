"""The manifest: what a reader found, written down, makes the same again without a look at any folder; and what changed is named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.readers.test_formats import coco_set, put, voc_set
from tests.tiny import parquet
from tunegate.readers import content, manifest, types
from tunegate.readers.coco import Coco
from tunegate.readers.coco import read as read_coco
from tunegate.readers.image_folder import Classes, Described
from tunegate.readers.image_folder import read as read_folder
from tunegate.readers.pairs import listed, listing
from tunegate.readers.pairs import read as read_pairs
from tunegate.readers.tables import Files, files
from tunegate.readers.voc import Voc
from tunegate.readers.voc import read as read_voc


def written(found: Any, root: Path) -> dict[str, Any]:
    return json.loads(manifest.text_of(manifest.of_listing(found.listing(), root)))


def test_folders_of_classes(tmp_path):
    put(tmp_path, "train/cat/1.png", "train/dog/ä 2.png", "val/cat/3.png", "val/loose.png")
    found = read_folder(tmp_path)
    kept = written(found, tmp_path)
    os.rename(tmp_path / "train/cat", tmp_path / "train/cats")  # nothing is looked for
    assert Classes.listed(kept["layout"], tmp_path).splits == found.splits
    assert dict(manifest.named(kept)).keys() == {"train/cat/1.png", "train/dog/ä 2.png", "val/cat/3.png"}


def test_described_images(tmp_path):
    put(tmp_path, "train/1.png", "train/2.png", "test/3.png")
    put(
        tmp_path,
        "metadata.jsonl",
        content='{"file_name": "train/1.png", "n": 1}\n{"file_name": "test/3.png", "n": 2.5}\n',
    )
    found = read_folder(tmp_path)
    kept = written(found, tmp_path)
    again = Described.listed(kept["layout"], tmp_path)
    for split in ("train", "test"):
        assert list(again.rows(split)) == list(found.rows(split))
    assert again.types == {"file_name": "string", "n": "float"} and list(kept["contents"]) == ["metadata.jsonl"]
    assert "train/2.png" not in dict(manifest.named(kept))


def test_pairs(tmp_path):
    put(tmp_path, "images/train/1.png", "images/val/2.png", "masks/train/1_mask.png", "masks/val/2.png")
    splits, _ = read_pairs(tmp_path, "mask")
    assert listed(listing(splits, tmp_path).layout, tmp_path) == splits


def test_voc(tmp_path):
    found = read_voc(voc_set(tmp_path, ["a", "b 1", "c"], train=["a", "b 1"], val=["c"]))
    again = Voc.listed(written(found, tmp_path)["layout"], tmp_path)
    assert again.splits == found.splits and again.names == ("bolt",)


@pytest.mark.parametrize("panoptic", [False, True])
def test_coco(tmp_path, panoptic):
    put(tmp_path, "part/1.png", "part/2.png", *(["masks/1.png"] if panoptic else []))
    images = [{"id": 1, "file_name": "1.png"}, {"id": "x", "file_name": "C:\\2.png"}, {"id": 3, "file_name": "3.png"}]
    objects: list[dict] = [{"image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4]}, {"image_id": "x", "category_id": 3}]
    if panoptic:
        objects = [{"image_id": 1, "file_name": "1.png", "segments_info": [{"id": 5, "category_id": 3}]}]
    coco_set(tmp_path, images=images, annotations=objects, name="masks.json")
    found = read_coco(tmp_path, panoptic=panoptic)
    kept = written(found, tmp_path)
    again = Coco.listed(kept["layout"], tmp_path)
    for number in (1, "x", 3):
        assert again.row("train", number) == found.row("train", number)
    assert "part/3.png" in kept["missing"] and list(kept["contents"]) == ["masks.json"]
    if panoptic:
        assert again.row("train", 1)["mask"] == tmp_path / "masks/1.png"


def test_tables_and_a_file_alone(tmp_path):
    put(tmp_path, "a/train.csv", "a/test.csv", content="x,y\n1,2\n")
    found = files(tmp_path / "a", "csv")
    assert Files.listed(written(found, tmp_path / "a")["layout"], tmp_path / "a").splits == found.splits
    alone = tmp_path / "a/test.csv"
    kept = written(files(alone, "csv"), alone)
    assert manifest.root_of(kept, alone) == tmp_path / "a" and manifest.root_of(kept, Path("/b/c.csv")) == Path("/b")
    put(tmp_path, "b/train.parquet", content=parquet(["u", "v"]))
    assert files(tmp_path / "b", "parquet").listing().contents == ["train.parquet"]


def test_what_changed_is_named_with_both_values(tmp_path):
    put(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png")
    kept = written(read_folder(tmp_path), tmp_path)
    size = (tmp_path / "cat/1.png").stat().st_size
    put(tmp_path, "cat/new.png")  # not named: it does not exist
    assert manifest.changes(kept, tmp_path, manifest.content_hash) == []
    put(tmp_path, "cat/1.png", content=b"x" * 1234)
    (tmp_path / "dog/1.png").unlink()
    assert manifest.changes(kept, tmp_path) == [
        f"cat/1.png has 1,234 bytes, and had {size}",
        f"dog/1.png is missing (it had {size} bytes)",
    ]


def test_an_edit_of_a_table_shows_although_its_size_is_the_same(tmp_path):
    put(tmp_path, "t.csv", content="image,label\n1.png,cat\n")
    kept = written(files(tmp_path, "csv"), tmp_path)
    put(tmp_path, "t.csv", content="image,label\n1.png,dog\n")
    assert manifest.changes(kept, tmp_path) == []
    (said,) = manifest.changes(kept, tmp_path, manifest.content_hash)
    assert said.startswith("t.csv has another content") and kept["contents"]["t.csv"] in said


def test_an_image_that_was_missing_and_appears_is_a_change(tmp_path):
    put(tmp_path, "1.png")
    put(tmp_path, "metadata.csv", content="file_name,label\n1.png,a\n2.png,b\n")
    kept = written(read_folder(tmp_path), tmp_path)
    assert kept["missing"] == ["2.png"]
    put(tmp_path, "2.png")
    assert manifest.changes(kept, tmp_path) == ["2.png was missing, and is there now"]


def test_a_very_large_file_is_known_by_a_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "WHOLE_BYTES", 100)
    monkeypatch.setattr(content, "BLOCK_BYTES", 10)
    monkeypatch.setattr(content, "BLOCKS", 3)
    path = put(tmp_path, "t.csv", content=b"a" * 1000) / "t.csv"
    before = manifest.content_hash(path)
    path.write_bytes(b"a" * 990 + b"b" * 10)
    assert before.startswith("sample:") and manifest.content_hash(path) != before


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([1, None, 2.5], "float"),
        ([1, "a", True], "string"),
        (["007", "None"], "string"),
        (["2024-01-01T00:00:00", "x"], "string"),
        ([[1], [], None, [2.5]], {"list": "float"}),
        ([[1], "a"], "json"),
        ([1 << 70], "json"),
        ([{}], "json"),
        ([{"bbox": [[1, 2]]}, {"bbox": [], "area": [1]}], {"struct": {"bbox": {"list": {"list": "int"}}, "area": {"list": "int"}}}),
        ([[{"role": "user"}, {"role": "tool", "name": "f"}]], {"list": {"struct": {"role": "string", "name": "string"}}}),
        ([[{"calls": [{"arguments": {"city": "x"}}]}, {"calls": [{"arguments": {"day": "y"}}]}]], "json"),
        ([[{"role": "user"}], [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]], "json"),
    ],
)  # fmt: skip
def test_types_hold_every_row(cells, kind):
    assert types.of_rows({"c": cell} for cell in cells) == {"c": kind}
    assert types.of_rows({"c": cell} for cell in reversed(cells))["c"] == kind or isinstance(kind, dict)
