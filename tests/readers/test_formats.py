"""What each reader says of a folder: splits, files, what is left out. The layouts are those that people have reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tiny import png
from tunegate.readers import coco, image_folder, pairs, tables, voc
from tunegate.readers.detect import detect
from tunegate.readers.refusal import Refusal
from tunegate.readers.tree import relative

XML = "<annotation><filename>{0}.jpg</filename><object><name>{1}</name><bndbox><xmin>1</xmin></bndbox></object></annotation>"


def put(root: Path, *paths: str, content: bytes | str | None = None) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        data = png() if content is None else content
        (root / path).write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def listed(root: Path, found: image_folder.Classes) -> dict[str, list[str]]:
    return {split: [f"{name}: {relative(image, root)}" for name, image in one] for split, one in found.splits.items()}


# --- image folders


def test_leftovers_of_other_programs_are_invisible(tmp_path):
    put(
        tmp_path,
        "cat/1.png",
        "dog/1.png",
        "__MACOSX/cat/._1.png",
        ".ipynb_checkpoints/1.png",
        "cat/.ipynb_checkpoints/2.png",
    )
    put(tmp_path, "dog/Thumbs.db", "dog/._1.png", "@eaDir/dog/1.png", "desktop.ini")
    found = image_folder.read(tmp_path)
    assert listed(tmp_path, found) == {"train": ["cat: cat/1.png", "dog: dog/1.png"]} and found.warnings == []


def test_words_in_class_folders_and_file_names_are_no_splits(tmp_path):
    put(tmp_path, "test tubes/train 1.png", "dev boards/1.png", "valves/test.png")
    assert list(image_folder.read(tmp_path).splits) == ["train"]
    assert image_folder.read(tmp_path).names == ("dev boards", "test tubes", "valves")


def test_jfif_is_an_image(tmp_path):
    put(tmp_path, "chair/1.jfif", "lamp/1.JPE")
    assert len(image_folder.read(tmp_path).splits["train"]) == 2


def test_an_unlabeled_split_is_passed_over_by_name(tmp_path):
    put(tmp_path, "train/ok/1.png", "train/bad/1.png", "test/1.png", "test/2.png")
    found = image_folder.read(tmp_path)
    assert list(found.splits) == ["train"] and any("2 images of 'test'" in w for w in found.warnings)


def test_rows_of_a_metadata_file(tmp_path):
    put(tmp_path, "a/test tube.png", "a/2.png", "a/loose.png")
    put(
        tmp_path,
        "a/metadata.csv",
        content="file_name,mask_file_name,label\r\ntest tube.png,2.png,None\r\n2.png,2.png,7\r\n",
    )
    found = image_folder.read(tmp_path)
    rows = list(found.rows("train"))
    assert rows[0] == {"image": tmp_path / "a/test tube.png", "mask": tmp_path / "a/2.png", "label": "None"}
    assert len(rows) == 2 and any("1 images are named in no metadata" in w for w in found.warnings)


def test_pairs(tmp_path):
    put(
        tmp_path,
        "train/images/1.png",
        "train/masks/1_mask.png",
        "val/images/1.png",
        "val/masks/1.png",
        "val/images/2.png",
    )
    splits, warnings = pairs.read(tmp_path, "mask")
    assert {split: len(found) for split, found in splits.items()} == {"train": 1, "validation": 1}
    assert any("val/images/2.png" in w for w in warnings)


# --- annotation files


def coco_set(root: Path, *, images: list[dict], annotations: list[dict], name: str = "annotations.json") -> Path:
    categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
    put(root, name, content=json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return root


def test_coco_ids_may_be_text_and_paths_windows(tmp_path):
    put(tmp_path, "images/a.jpg", "images/b.jpg")
    images = [{"id": "15", "file_name": "images\\a.jpg"}, {"id": "x-2", "file_name": "C:\\data\\b.jpg"}]
    annotations = [{"image_id": 15, "category_id": "7", "bbox": [1, 2, 3, 4]}, {"image_id": "x-2", "category_id": 3}]
    found = coco.read(coco_set(tmp_path, images=images, annotations=annotations))
    first, second = (found.row("train", number) for number in found.files["train"].images)
    assert (first["image"], second["image"]) == (tmp_path / "images/a.jpg", tmp_path / "images/b.jpg")
    assert first["objects"]["category"] == [1] and second["objects"]["category"] == [0]
    assert (first["objects"]["bbox"], second["objects"]["bbox"]) == ([[1, 2, 3, 4]], [[]])


def test_coco_as_downloaded(tmp_path):
    put(tmp_path, "train2017/1.jpg", "val2017/1.jpg")
    for split in ("train", "val"):
        one = [{"id": 1, "file_name": "1.jpg"}]
        coco_set(tmp_path, images=one, annotations=[], name=f"annotations/instances_{split}2017.json")
        put(tmp_path, f"annotations/captions_{split}2017.json", content=json.dumps({"images": one, "annotations": []}))
    found = coco.read(tmp_path)
    assert {split: one.path.name for split, one in found.files.items()} == {
        "train": "instances_train2017.json",
        "validation": "instances_val2017.json",
    }
    assert found.image("validation", 1) == tmp_path / "val2017/1.jpg"


def test_coco_images_that_are_not_there_keep_their_row(tmp_path):
    put(tmp_path, "a.jpg")
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "gone.jpg"}]
    found = coco.read(coco_set(tmp_path, images=images, annotations=[{"image_id": 2, "category_id": 99}]))
    row = found.row("train", 2)
    assert not row["image"].exists() and row["objects"]["category"] == [None]


def test_images_of_one_name_in_two_folders_are_a_question(tmp_path):
    coco_set(
        tmp_path, images=[{"id": 1, "file_name": "1.png"}], annotations=[], name="annotations/instances_train.json"
    )
    with pytest.raises(Refusal, match="2 pictures below") as caught:
        coco.read(put(tmp_path, "part a/1.png", "part b/1.png"))
    assert caught.value.code == "ambiguous"
    assert coco.read(put(tmp_path, "images/1.png")).image("train", 1) == tmp_path / "images/1.png"
    assert coco.read(put(tmp_path, "part b/train/1.png")).image("train", 1) == tmp_path / "part b/train/1.png"


def voc_set(root: Path, stems: list[str], **sets: list[str]) -> Path:
    for stem in stems:
        put(root, f"JPEGImages/{stem}.jpg")
        put(root, f"Annotations/{stem}.xml", content=XML.format(stem, "bolt"))
    for name, lines in sets.items():
        put(root, f"ImageSets/Main/{name}.txt", content="\n".join(lines))
    return root


def test_voc_names_with_spaces_and_test_names_without_annotation(tmp_path):
    stems = [f"yard 7 ({i})" for i in range(4)]
    found = voc.read(voc_set(tmp_path, stems, trainval=stems[:3], test=[stems[3], "yard 7 (9)"]))
    assert {split: len(one) for split, one in found.splits.items()} == {"train": 3, "test": 1}
    assert any("1 names without an annotation" in w for w in found.warnings)


def test_voc_lines_with_flags_and_endings(tmp_path):
    found = voc.read(voc_set(tmp_path, ["a", "b", "c.v2"], train=["a 1", "b.jpg -1"], val=["c.v2"]))
    assert {split: len(one) for split, one in found.splits.items()} == {"train": 2, "validation": 1}


def test_voc_images_that_are_not_there(tmp_path):
    voc_set(tmp_path, ["a", "b"])
    (tmp_path / "JPEGImages/b.jpg").unlink()
    found = voc.read(tmp_path)
    assert [one.path.stem for one in found.splits["train"]] == ["a"] and found.names == ("bolt",)
    assert any("name an image that is not there" in w for w in found.warnings)


def test_voc_images_of_one_name_in_two_folders(tmp_path):
    voc_set(tmp_path, ["a"])
    put(tmp_path, "thumbnails/a.jpg")
    assert voc.read(tmp_path).splits["train"][0].image == tmp_path / "JPEGImages/a.jpg"
    (tmp_path / "JPEGImages").rename(tmp_path / "other")
    with pytest.raises(Refusal, match="2 pictures are called so"):
        voc.read(tmp_path)


# --- tables


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a;b\r\n1;x, y\r\n", [{"a": "1", "b": "x, y"}]),
        ("a\tb\n1\t2\n", [{"a": "1", "b": "2"}]),
        ('"a;1",b\n1,2\n', [{"a;1": "1", "b": "2"}]),
        ('\ufeffa,b\n"x\r\ny",None\n', [{"a": "x\r\ny", "b": "None"}]),
        ("text\nnot, one cell\n", None),
        (f"a,b\n1,{'x' * 200_000}\n", [{"a": "1", "b": "x" * 200_000}]),
    ],
)
def test_csv_as_other_programs_write_it(tmp_path, text, rows):
    for encoding in ("utf-8", "utf-16"):
        path = tmp_path / "a.csv"
        path.write_bytes(text.removeprefix("\ufeff").encode(encoding) if encoding == "utf-16" else text.encode())
        if rows is None:
            with pytest.raises(Refusal, match="same number of fields"):
                list(tables.rows_of(path))
        else:
            assert list(tables.rows_of(path)) == rows and tables.header(path) == list(rows[0])


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_of_every_usual_encoding_is_read(tmp_path, encoding):
    rows = [{"a": "für \u00e9t\u00e9", "b": "x"}, {"a": "b\u00fcrste", "b": ""}]
    put(tmp_path, "a.csv", content="a,b\r\nfür été,x\r\nbürste,\r\n".encode(encoding))
    put(
        tmp_path,
        "b.jsonl",
        content="".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows).encode(encoding),
    )
    assert list(tables.rows_of(tmp_path / "a.csv")) == list(tables.rows_of(tmp_path / "b.jsonl")) == rows
    said = tables.files(tmp_path / "a.csv", "csv").warnings
    assert ["für été" in one for one in said] == ([True] if encoding in ("latin-1", "cp1252") else [])


def test_damaged_text_is_no_other_encoding(tmp_path):
    put(tmp_path, "a.csv", content="a,b\n日本語,1\n中文,2\n".encode() + b"\xff,3\n")
    put(tmp_path, "b.jsonl", content='{"a": "日本語"}\n'.encode() + b'{"a": "\xff"}\n')
    for name in ("a.csv", "b.jsonl"):
        with pytest.raises(Refusal, match="is not text in UTF-8"):
            list(tables.rows_of(tmp_path / name))


def test_pointers_are_named_before_a_reader_calls_them_damaged(tmp_path):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 12345\n" % 7
    put(tmp_path / "pictures", "annotations.json", content=pointer)
    put(tmp_path / "pictures", "images/1.png")
    for name in ("a.csv", "a.jsonl", "a.parquet", "pictures"):
        path = put(tmp_path, name, content=pointer) / name if name != "pictures" else tmp_path / name
        with pytest.raises(Refusal, match="Git LFS pointer.*git lfs pull"):
            detect(path)
    with pytest.raises(Refusal, match="Git LFS pointer"):
        tables.files(tmp_path / "a.parquet", "parquet")


def test_a_checkpoint_of_a_table_is_no_table(tmp_path):
    put(tmp_path, "train.csv", ".ipynb_checkpoints/train-checkpoint.csv", content="a\n1\n")
    assert tables.files(tmp_path, "csv").splits == {"train": [tmp_path / "train.csv"]}


def test_paths_are_relative_to_the_file_that_names_them(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    assert tables.image_path("1.png", tmp_path / "b/train.csv", tmp_path) == tmp_path / "b/1.png"
    assert tables.image_path("..\\a\\1.png", tmp_path / "b/train.csv", tmp_path) == tmp_path / "a/1.png"
    with pytest.raises(Refusal, match="leads out"):
        tables.image_path("../../1.png", tmp_path / "b/train.csv", tmp_path)


@pytest.mark.parametrize(
    ("paths", "kind"),
    [
        (["train/cat/1.png"], "imagefolder"),
        (["images/1.png", "masks/1.png"], "segfolder"),
        (["JPEGImages/1.jpg", "annotations/1.png"], "segfolder"),
        (["JPEGImages/train/1.jpg", "annotations/train/1.png"], "segfolder"),
        (["JPEGImages/1.jpg", "Annotations/1.xml"], "voc"),
        (["JPEGImages/1.jpg", "SegmentationClass/1.png", "Annotations/1.xml"], "voc"),
        (["__MACOSX/a.csv", "b.jsonl"], "jsonl"),
    ],
)
def test_detected(tmp_path, paths, kind):
    assert detect(put(tmp_path, *paths)) == kind


def test_coco_with_its_annotations_last_is_known_whatever_its_size(tmp_path):
    """Neither `categories` nor `annotations` lies near an end: what their elements hold does."""
    images = [{"id": i, "file_name": f"{i:05}.jpg"} for i in range(4000)]
    boxes = [{"id": i, "image_id": i, "bbox": [1, 1, 9, 9], "category_id": 1} for i in range(4000)]
    content = {"images": images, "categories": [{"id": 1, "name": "screw"}], "annotations": boxes}
    put(tmp_path, "images/00000.jpg")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/train.json").write_text(json.dumps(content))
    assert (tmp_path / "annotations/train.json").stat().st_size > 3 * 65_536 and detect(tmp_path) == "coco"
    (tmp_path / "annotations/train.json").write_text(json.dumps({"rows": images, "found": boxes}))
    assert not coco.is_coco(tmp_path / "annotations/train.json")
