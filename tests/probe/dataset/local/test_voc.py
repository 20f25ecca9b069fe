from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.probe.dataset import probe_dataset
from tests.tiny import png
from tunegate.clients.hub import Hub
from tunegate.errors import ToolFailure


def xml(name: str, *objects: tuple[str, tuple], difficult: int = 0) -> str:
    boxes = "".join(
        f"<object><name>{kind}</name><difficult>{difficult}</difficult><bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin><xmax>{b[2]}</xmax><ymax>{b[3]}</ymax></bndbox></object>"
        for kind, b in objects
    )
    return (
        f"<annotation><filename>{name}</filename><size><width>64</width><height>48</height></size>{boxes}</annotation>"
    )


OBJECTS = (("cat", (1, 1, 30, 20)), ("dog", (20.5, 10, 63, 47)), ("cat", (5, 5, 9, 9)))


def voc(root: Path, count: int = 4, annotations: str = "Annotations", images: str = "JPEGImages") -> Path:
    for folder in (annotations, images):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        (root / annotations / f"{i}.xml").write_text(xml(f"{i}.png", *OBJECTS))
        (root / images / f"{i}.png").write_bytes(png(64, 48))
    return root


def sets(root: Path, kind: str = "Main", **names: str) -> Path:
    (root / "ImageSets" / kind).mkdir(parents=True, exist_ok=True)
    for name, text in names.items():
        (root / "ImageSets" / kind / f"{name}.txt").write_text(text)
    return root


def probe(path, task="object-detection", **arguments):
    return probe_dataset(Hub("http://127.0.0.1:9"), local_path=str(path), task=task, **arguments)


def refused(path, **arguments):
    with pytest.raises(ToolFailure) as caught:
        probe(path, **arguments)
    assert caught.value.code == "rejected"
    return caught.value.failure.message


def test_boxes_and_names(tmp_path):
    facts = probe(voc(tmp_path))
    assert (facts.local_format, facts.splits, facts.class_names) == ("voc", {"train": 4}, ["cat", "dog"])
    assert facts.label_histogram == {"cat": 8, "dog": 4} and facts.label_complete
    assert (facts.boxes.format, facts.boxes.boxes, facts.boxes.outside) == ("xyxy", 12, 0)
    assert "file format prescribes it" in facts.boxes.evidence


def test_image_sets_are_the_splits(tmp_path):
    root = sets(voc(tmp_path), train="0\n1 \n", val="2\n", trainval="0\n1\n2\n", cat_train="0 1\n1 -1\n")
    facts = probe(root)
    assert (facts.splits, facts.eval_split) == ({"train": 2, "validation": 1}, "validation")
    assert any("1 annotated images are in no image set" in w for w in facts.warnings)
    facts = probe(sets(voc(tmp_path / "b"), trainval="0\n1\n9\n", test="3\n"))
    assert facts.splits == {"train": 2, "test": 1} and any("1 names without" in w for w in facts.warnings)
    assert probe(sets(voc(tmp_path / "c"), train="x\n")).splits == {"train": 4}


@pytest.mark.parametrize(
    ("annotations", "images"), [("", ""), ("labels", "images"), ("VOC2012/Annotations", "VOC2012/JPEGImages")]
)
def test_other_places_of_the_files(tmp_path, annotations, images):
    assert probe(voc(tmp_path, annotations=annotations, images=images)).boxes.boxes == 12


def test_split_folders_may_repeat_names(tmp_path):
    voc(voc(tmp_path, annotations="train", images="train"), count=2, annotations="val", images="val")
    facts = probe(tmp_path)
    assert facts.splits == {"train": 4, "validation": 2} and facts.duplicates.exact_overlap == 2


def test_a_file_name_that_went_stale_is_found_by_the_xmls_own(tmp_path):
    root = voc(tmp_path)
    (root / "Annotations/0.xml").write_text(xml("C:\\old\\IMG_1.JPG", *OBJECTS))
    (root / "Annotations/9.xml").write_text(xml("nowhere.png", *OBJECTS))
    facts = probe(root)
    assert facts.splits == {"train": 4} and any("image that is not there" in w and "9" in w for w in facts.warnings)


def test_bombs_and_damage_are_passed_over_and_said(tmp_path):
    root = voc(tmp_path)
    (root / "Annotations/a.xml").write_text('<!DOCTYPE x [<!ENTITY a "b">]><annotation>&a;</annotation>')
    (root / "Annotations/b.xml").write_text("<annotation><object>")
    (root / "Annotations/c.xml").write_text("<annotation>" + " " * (1 << 20) + "</annotation>")
    (root / "Annotations/d.xml").write_text("<other/>")
    facts = probe(root)
    assert facts.splits == {"train": 4} and facts.boxes.boxes == 12
    assert [any(word in w for w in facts.warnings) for word in ("entities", "readable XML", "larger than")] == [
        True
    ] * 3


def test_boxes_without_numbers_are_degenerate(tmp_path):
    root = voc(tmp_path)
    (root / "Annotations/0.xml").write_text(xml("0.png", ("cat", ("", "x", 3, 4)), ("dog", (5, 5, 20, 20))))
    assert probe(root).boxes.degenerate == 1


def test_nothing_usable(tmp_path):
    root = voc(tmp_path)
    for path in (root / "JPEGImages").iterdir():
        path.unlink()
    assert "no image was found" in refused(root)
    for path in (root / "Annotations").iterdir():
        path.write_text("<annotation")
    assert "VOC annotation" in refused(root)


def test_masks(tmp_path):
    root = sets(voc(tmp_path), "Segmentation", train="0\n1\n", val="2\n")
    assert "no masks" in refused(root, task="semantic-segmentation")
    (root / "SegmentationClass").mkdir()
    mask = Image.new("P", (64, 48), 0)
    mask.putpalette([i for value in range(256) for i in (value, 0, 255 - value)])
    mask.paste(15, (4, 4, 20, 20))
    mask.paste(255, (20, 4, 22, 20))
    for i in range(3):
        mask.save(root / f"SegmentationClass/{i}.png")
    facts = probe(root, task="semantic-segmentation")
    assert (facts.splits, facts.masks.values, facts.masks.ignore_index) == (
        {"train": 2, "validation": 1},
        [0, 15, 255],
        255,
    )
