from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.probe.dataset import probe_dataset
from tests.tiny import parquet, png
from tunegate.clients.hub import Hub
from tunegate.errors import ToolFailure
from tunegate.probe.dataset.local import detect, read_local

TASK = "image-classification"


def folder(root: Path, *paths: str, content: bytes | None = None) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(png() if content is None else content)
    return root


def refused(path, wanted="auto", task=TASK):
    with pytest.raises(ToolFailure) as caught:
        read_local(path, wanted, task)
    return caught.value.failure


def probe(path, task=TASK, **arguments):
    return probe_dataset(Hub("http://127.0.0.1:9"), local_path=str(path), task=task, **arguments)


def test_imagefolder_with_and_without_splits(tmp_path):
    table = read_local(
        folder(tmp_path / "a", "cat/1.png", "cat/2.JPG", "dog/1.png", "dog/notes.txt", ".DS_Store"), "auto", TASK
    )
    assert (table.splits, table.features["label"].names) == ({"train": 3}, ("cat", "dog"))
    table = read_local(
        folder(tmp_path / "b", "train/cat/1.png", "train/dog/1.png", "val/cat/1.png", "val/emu/1.png", "raw/x/1.png"),
        "auto",
        TASK,
    )
    assert table.splits == {"train": 2, "validation": 2} and table.labels("train", "label").counts == {
        "cat": 1,
        "dog": 1,
    }
    assert any("never trained on" in w and "emu" in w for w in table.warnings) and any(
        "raw" in w for w in table.warnings
    )


def test_layouts_that_are_no_imagefolder_say_why(tmp_path):
    assert "class folders" in refused(folder(tmp_path / "flat", "1.png", "2.png")).message
    assert "one folder too deep" in refused(folder(tmp_path / "deep", "data/cat/1.png", "data/dog/1.png")).message
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(tmp_path / "empty").message
    assert "unpack" in refused(folder(tmp_path, "x.zip", content=b"PK") / "x.zip").message
    assert refused(tmp_path / "nothing").code == "not_found"
    assert refused(tmp_path / "flat", "zarr").code == "invalid_input"


def test_damaged_images_are_noted(tmp_path):
    root = folder(tmp_path, "cat/1.png", "dog/1.png")
    folder(root, "cat/2.png", content=png()[:-12])
    folder(root, "dog/2.png", content=b"")
    folder(root, "dog/3.jpg", content=b"<html>")
    facts = probe(root)
    assert facts.splits == {"train": 5} and (facts.images.images, facts.images.decoded, facts.images.broken) == (
        5,
        2,
        3,
    )
    assert any("3 of 5" in w and "cut off" in w and "is empty" in w and "an HTML page" in w for w in facts.warnings)
    bad = folder(tmp_path / "bad", "a/1.png", "b/1.png", content=b"x")
    with pytest.raises(ToolFailure, match="none of the 2 images"):
        probe(bad)


def test_links_must_stay_in_the_dataset(tmp_path):
    outside = folder(tmp_path / "outside", "secret.png")
    root = folder(tmp_path / "set", "cat/1.png", "dog/1.png")
    os.symlink("1.png", root / "cat/2.png")
    assert read_local(root, "auto", TASK).splits == {"train": 3}
    os.symlink(outside / "secret.png", root / "cat/3.png")
    assert "leaves the dataset" in refused(root).message
    (root / "cat/3.png").unlink()
    os.symlink(outside, root / "emu")
    assert "leaves the dataset" in refused(root).message
    (root / "emu").unlink()
    os.symlink(root / "cat", root / "copy")
    assert "link to a folder" in refused(root).message
    (root / "copy").unlink()
    os.symlink(root, tmp_path / "alias")  # the path itself may be a link
    assert read_local(tmp_path / "alias", "auto", TASK).splits == {"train": 3}


def test_a_pipe_is_not_waited_for(tmp_path):
    root = folder(tmp_path, "cat/1.png", "dog/1.png")
    for name in ("cat/2.png", "dog/a.xml", "b.json", "c.csv"):
        os.mkfifo(root / name)
    facts = probe(root)
    assert facts.splits == {"train": 3} and any("cat/2.png is no file" in w for w in facts.warnings)
    (root / "t").mkdir()
    (root / "t/a.jsonl").write_text('{"image": "x.png", "label": "a"}\n{"image": "y.png", "label": "b"}')
    os.mkfifo(root / "t/x.png")
    folder(root, "t/y.png")
    assert probe(root / "t").images.broken == 1


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_rows_with_image_paths(tmp_path, kind):
    root = folder(tmp_path, "images/1.png", "images/2.png", "images/3.png")
    rows = [{"file_name": f"images/{i}.png", "label": label} for i, label in ((1, "cat"), (2, "dog"), (3, "cat"))]
    text = (
        "file_name,label\n" + "".join(f"{r['file_name']},{r['label']}\n" for r in rows)
        if kind == "csv"
        else "\n".join(map(json.dumps, rows))
    )
    (root / f"train.{kind}").write_text(text)
    table = read_local(root, "auto", TASK)
    assert (table.format, table.splits) == (kind, {"train": 3}) and table.features["file_name"].kind == "image"
    labels = table.labels("train", "label")
    assert labels.counts == {"cat": 2, "dog": 1} and labels.complete
    assert table.rows("train").rows[0]["file_name"].size == (4, 4) and table.rows("train").complete
    assert read_local(root / f"train.{kind}", "auto", TASK).splits == {"train": 3}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "image,label\n../../../etc/x.png,1\n", "leads out"),
        ("a.csv", "image,label\na.png,1,2\n", "same number of fields"),
        ("a.csv", "image,label\nb.png\n", "same number"),
        ("a.jsonl", '{"image": "a.png"}\nnope\n', "a.jsonl:2"),
        ("a.jsonl", "[1]\n", "a.jsonl:1"),
        ("a.jsonl", '{"a": "' + "x" * 8_000_001 + '"}', "a.jsonl:1"),
    ],
)
def test_bad_rows_are_refused_with_the_place(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    failure = refused(tmp_path)
    assert failure.code == "rejected" and says in failure.message


def test_parquet(tmp_path):
    (tmp_path / "train.parquet").write_bytes(parquet([0, 1, 1], names=["cat", "dog"]))
    (tmp_path / "validation-0.parquet").write_bytes(parquet([0, 1], names=["cat", "dog"]))
    table = read_local(tmp_path, "auto", TASK)
    assert (table.format, table.splits, table.features["label"].names) == (
        "parquet",
        {"train": 3, "validation": 2},
        ("cat", "dog"),
    )
    assert table.labels("train", "label").counts == {"cat": 1, "dog": 2} and table.rows("train").rows[0][
        "image"
    ].size == (4, 4)
    (tmp_path / "undeclared.parquet").write_bytes(parquet(["a", "b"], declared=False))
    assert read_local(tmp_path / "undeclared.parquet", "auto", TASK).features["image"].kind == "image"
    (tmp_path / "train.parquet").write_bytes(b"PAR1 not at all")
    assert refused(tmp_path).code == "rejected"


def save_to_disk(root: Path, labels: list[int]) -> None:
    import pyarrow as pa

    root.mkdir(parents=True)
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    table = pa.table({"image": [{"bytes": png(), "path": None} for _ in labels], "label": labels})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    with (
        pa.OSFile(str(root / "data-00000-of-00001.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema) as stream,
    ):
        stream.write_table(table, max_chunksize=2)
    (root / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (root / "dataset_info.json").write_text(json.dumps({"features": features}))


def test_arrow_with_and_without_a_dict(tmp_path):
    save_to_disk(tmp_path / "dict/train", [0, 1, 1])
    save_to_disk(tmp_path / "dict/holdout", [0, 1])
    (tmp_path / "dict/dataset_dict.json").write_text('{"splits": ["train", "holdout"]}')
    table = read_local(tmp_path / "dict", "auto", TASK)
    assert (table.format, table.splits) == ("arrow", {"train": 3, "holdout": 2})
    assert table.labels("train", "label").counts == {"cat": 1, "dog": 2} and len(table.rows("train").rows) == 3
    assert read_local(tmp_path / "dict/train", "auto", TASK).splits == {"train": 3}
    (tmp_path / "dict/train/state.json").write_text('{"_data_files": [{"filename": "../../x.arrow"}]}')
    (tmp_path / "x.arrow").write_bytes(b"")
    assert "leads out" in refused(tmp_path / "dict/train").message
    (tmp_path / "dict/train/state.json").write_text("{")
    assert refused(tmp_path / "dict").code == "rejected"


def saved_by_datasets_1(folder: Path, shades: list[int], rows: list[int]) -> Path:
    """As 1.8.0 saves a part of train_test_split: the whole table, the numbers of the part's rows, and the classes beside it."""
    import pyarrow as pa

    def stream(name: str, table: pa.Table) -> None:
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)

    folder.mkdir(parents=True)
    plain = {
        "text": {"dtype": "string", "id": None, "_type": "Value"},
        "label": {"dtype": "int64", "id": None, "_type": "Value"},
    }
    pairs = {"feature": {"at": plain["label"]}, "length": -1, "id": None, "_type": "Sequence"}
    classes = {"num_classes": 2, "names": ["even", "odd"], "names_file": None, "id": None, "_type": "ClassLabel"}
    table = pa.table(
        {
            "text": [f"t{i}" for i in shades],
            "label": [i % 2 for i in shades],
            "pairs": [{"at": [i]} for i in shades],
            "words": [["a"] for _ in shades],
        }
    )
    info = {"info": {"features": {**plain, "pairs": pairs, "words": [plain["text"]]}}}
    stream("dataset.arrow", table.replace_schema_metadata({"huggingface": json.dumps(info)}))
    stream("indices.arrow", pa.table({"indices": pa.array(rows, pa.uint64())}))
    beside = {
        "features": {"label": classes, "pairs": pairs, "text": plain["text"], "words": [plain["text"]]},
        "version": None,
    }
    (folder / "dataset_info.json").write_text(json.dumps(beside))
    listed = {
        "_data": None,
        "_data_files": [{"filename": "dataset.arrow"}],
        "_indices_data_files": [{"filename": "indices.arrow"}],
    }
    (folder / "state.json").write_text(json.dumps({**listed, "_inplace_history": [{"transforms": []}], "_split": None}))
    return folder.parent


@pytest.mark.parametrize("listed", [True, False])
def test_parts_saved_by_older_versions_are_their_own_rows(tmp_path, listed):
    """`datasets` 5 itself reads the whole table in both splits, and labels without names."""
    saved_by_datasets_1(tmp_path / "train", list(range(10)), [9, 0, 4, 5, 3, 2])
    saved_by_datasets_1(tmp_path / "test", list(range(10)), [1, 8])
    (tmp_path / "test/cache-1.arrow").write_bytes(b"of a map")
    if listed:
        (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    table = read_local(tmp_path, "auto", "text-generation")
    assert (table.format, table.splits) == ("arrow", {"train": 6, "test": 2})
    assert [row["text"] for row in table.rows("train").rows] == ["t9", "t0", "t4", "t5", "t3", "t2"]
    assert [row["text"] for row in table.every("test", ["text"])] == ["t1", "t8"]
    assert dict(table.labels("test", "label").counts) == {"odd": 1, "even": 1}
    assert (
        table.features["pairs"].fields["at"].shown == "list<int64>" and table.features["words"].shown == "list<string>"
    )


def test_numbers_of_rows_that_are_not_there_are_refused(tmp_path):
    saved_by_datasets_1(tmp_path / "train", [0, 1], [0, 2])
    failure = refused(tmp_path, task="text-generation")
    assert failure.code == "rejected" and "names row 2 of a table of 2 rows" in failure.message


def test_without_pyarrow_the_message_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    failure = refused(tmp_path)
    assert failure.code == "unavailable" and "pip install" in failure.message


@pytest.mark.parametrize(
    ("kind", "paths", "content"),
    [
        ("coco", ["train/1.png", "annotations/instances.json"], b'{"images": [], "annotations": [], "categories": []}'),
        ("voc", ["JPEGImages/1.jpg", "Annotations/1.xml"], b"<annotation/>"),
        ("segfolder", ["images/1.png", "masks/1.png"], None),
    ],
)
def test_formats_of_other_tasks_are_recognized_and_refused(tmp_path, kind, paths, content):
    folder(tmp_path, *paths, content=content)
    assert detect(tmp_path) == kind
    failure = refused(tmp_path)
    assert failure.code == "rejected" and kind in failure.message and "one subfolder of images" in failure.message
