"""Tars of samples through the probe and prepare_data.py: the pictures, classes and texts that were packed arrive."""

from __future__ import annotations

import io
import json

from PIL import Image

from tests.probe.dataset.local.test_coco import probe
from tests.readers.test_webdataset import pack
from tests.scaffolds.test_prepared_rows import prepared, seen

READ = "found = sorted([r['image'].convert('RGB').getpixel((0, 0))[0], r['label']] for r in rows)"


def shade(value: int, kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 40), (value,) * 3).save(file, kind)
    return file.getvalue()


def test_classes_and_pictures_of_tars(stage_python, tmp_path):
    for split, numbers in (("train", range(20)), ("val", range(20, 24))):
        for part in (0, 1):
            files = {}
            for i in list(numbers)[part::2]:
                files |= {
                    f"{i:03}.png": shade(10 * i, "PNG"),
                    f"{i:03}.json": json.dumps({"label": "no" if i % 2 else "yes"}).encode(),
                }
            pack(tmp_path / f"data/{split}-{part}.tar", **files)
    facts = probe(tmp_path / "data", "image-classification")
    assert (facts.local_format, facts.splits) == ("webdataset", {"train": 20, "validation": 4})
    assert facts.column_map == {"image": "image", "label": "json.label"} and facts.class_names == ["no", "yes"]
    assert facts.label_histogram == {"no": 10, "yes": 10} and facts.duplicates.exact == 0
    config = {key: getattr(facts, key) for key in ("column_map", "class_names", "eval_split")}
    project = prepared(
        tmp_path / "run", stage_python, "image-classification", tmp_path / "data", "webdataset", **config
    )
    assert seen(project, READ) == [[10 * i, 1 - i % 2] for i in range(24)]
    captions = probe(tmp_path / "data", "image-text-to-text", column_map={"caption": "json.label"})
    assert captions.column_reshape == "caption_to_messages"
