"""A YOLO folder through the probe and prepare_data.py: what arrives are the objects that were drawn, turned photos too."""

from __future__ import annotations

import random

import pytest
from PIL import Image, ImageDraw

from tests.probe.dataset.local.test_coco import probe
from tests.readers.test_formats import put
from tests.scaffolds.test_prepared_rows import prepared, seen, store

COLORS = {"bolt": (240, 60, 60), "nut": (60, 240, 60)}
NAMES = list(COLORS)
FOUND = """
found = []
for r in rows:
    pixels = np.asarray(r["image"].convert("RGB")).astype(int)
    if "objects" in r:
        from pycocotools import mask as coco
        masks = [{"size": pixels.shape[:2], "counts": one.encode()} for one in r["objects"]["mask"]]
        objects = [(int(c), coco.decode(m) > 0) for c, m in zip(r["objects"]["category"], masks)]
    else:
        objects = []
        for c, (x, y, w, h) in zip(r["categories"], r["boxes"]):
            inside = np.zeros(pixels.shape[:2], bool)
            inside[round(y):round(y + h), round(x):round(x + w)] = True
            objects.append((c, inside))
    for c, inside in objects:
        colored = pixels[..., c] - pixels[..., 1 - c] > 90
        found.append([float(colored[inside].mean()), float(inside[colored].mean())])
"""


def drawn(root, outlined):
    """Twelve photos, some on their side, with a red bolt or a green nut; three of nothing, one of them without labels."""
    rng = random.Random(0)
    for i in range(15):
        width, height, name = rng.randrange(60, 90), rng.randrange(90, 120), NAMES[i % 2]
        image, number = Image.new("RGB", (width, height), (40, 40, 40)), 4 * NAMES.index(name)
        left, top, right, bottom = 6 + i, 10 + 2 * i, 34 + i, 40 + 2 * i
        folder = "val" if i % 5 == 4 else "train"
        put(root, f"images/{folder}/{i}.jpg", content=b"")
        if i >= 12:
            image.save(root / f"images/{folder}/{i}.jpg")
            if i > 12:
                put(root, f"labels/{folder}/{i}.txt", content="")
            continue
        corners = [(left, top), (right, top), (right, bottom)]
        if outlined:
            ImageDraw.Draw(image).polygon(corners, fill=COLORS[name])
            numbers = [share for x, y in corners for share in (x / width, y / height)]
        else:
            ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), fill=COLORS[name])
            sides = ((left + right) / 2 / width, (top + bottom) / 2 / height)
            numbers = [*sides, (right - left) / width, (bottom - top) / height]
        turn = (None, 6, 8, 3)[i % 4]
        path = root / f"images/{folder}/{i}.jpg"
        store(image, path, turn) if turn else image.save(path, quality=95)
        put(root, f"labels/{folder}/{i}.txt", content=f"{number} {' '.join(map(str, numbers))}\n")
    return put(root, "data.yaml", content="path: .\ntrain: images/train\nval: images/val\nnames: {0: bolt, 4: nut}\n")


@pytest.mark.parametrize("task", ["object-detection", "instance-segmentation"])
def test_objects_arrive_where_they_were_drawn(task, stage_python, tmp_path):
    data = drawn(tmp_path / "data", outlined=task != "object-detection")
    facts = probe(data, task)
    assert facts.splits == {"train": 12, "validation": 3} and facts.class_names == NAMES
    config = {key: getattr(facts, key) for key in ("column_map", "column_reshape", "class_names", "eval_split")}
    project = prepared(tmp_path / "run", stage_python, task, data, "auto", **config, **facts.for_config())
    meta = project.json("data/meta.json")
    assert (meta["n_train"], meta["n_eval"], meta["dropped"], meta["objects_dropped"]) == (12, 3, {}, {})
    classes = {name: {**facts.class_counts["train"].counts}[name] for name in NAMES}
    assert meta["read"]["train"]["classes"] == classes
    shares = seen(project, FOUND)
    assert len(shares) == 12 and all(inside > 0.85 and whole > 0.85 for inside, whole in shares), shares
