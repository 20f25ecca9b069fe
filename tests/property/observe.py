"""What a prepared project holds, row by row and in a batch, for the truth to be compared with. Runs in the stage environment."""

from __future__ import annotations

import json
import random

import numpy as np
from PIL import Image

BLOCK, BITS = 8, 8  # as pictures.py draws them
SHADES = 22  # by which the brightness of a region may differ between a row and a batch


def prepared(task, method, truth):
    """{meta, rows: split -> observations, batch: problems}"""
    from harness.project import REPORTS, load_config, load_meta, load_split

    cfg, meta = load_config(), load_meta()
    splits = {name: load_split(name) for name in ("train", "eval")}
    look = OF_TASK[task]
    rows = {name: look(dataset, cfg, meta, truth, method) for name, dataset in splits.items()}
    random.seed(0)
    settings = {**cfg, "horizontal_flip": False, "crop_scale_min": 1.0}
    batch = (
        BATCH[task](splits["train"].select(range(min(6, len(splits["train"])))), settings, meta)
        if task in BATCH
        else []
    )
    return {"meta": meta, "rows": rows, "batch": batch + of_page(REPORTS / "data.json")}


def of_page(path):
    """What could not be drawn on the page of the data; nothing where it was not drawn."""
    told = json.loads(path.read_text()) if path.exists() else {"problems": [], "without_rows": None}
    return [f"reports/data.html: {problem}" for problem in [*told["problems"], told["without_rows"]] if problem]


# --- pictures


def key_of(image):
    """The number of the bar code; None where there is none, as on a picture that is turned."""
    pixels = np.asarray(image.convert("L"))
    if pixels.shape[0] < BLOCK or pixels.shape[1] < BLOCK * BITS:
        return None
    bits = [int(pixels[BLOCK // 2, i * BLOCK + BLOCK // 2] > 127) for i in range(BITS)]
    even = all(np.ptp(pixels[2:6, i * BLOCK + 2 : i * BLOCK + 6].astype(int)) < 60 for i in range(BITS))
    return sum(bit << i for i, bit in enumerate(bits[2:])) if bits[:2] == [1, 0] and even else None


def picture(image, truth):
    """{key, differs}: by how much the picture differs from what has to be seen, in shades of gray."""
    key = key_of(image)
    path = truth / f"{key}.png"
    if key is None or not path.exists():
        return {"key": None, "differs": 255.0}
    ours, theirs = np.asarray(image.convert("RGB").convert("L")).astype(int), np.asarray(Image.open(path)).astype(int)
    return {"key": key, "differs": float(abs(ours - theirs).mean()) if ours.shape == theirs.shape else 255.0}


def classified(dataset, cfg, meta, truth, method):
    return [{**picture(row["image"], truth), "value": meta["class_names"][row["label"]]} for row in dataset]


def detected(dataset, cfg, meta, truth, method):
    names = meta["class_names"]
    return [
        {
            **picture(row["image"], truth),
            "value": [
                [names[c], x, y, x + w, y + h] for c, (x, y, w, h) in zip(row["categories"], row["boxes"], strict=True)
            ],
        }
        for row in dataset
    ]


def segmented(dataset, cfg, meta, truth, method):
    """value: [true id, stored name, pixels] for each pair that occurs."""
    from data import IGNORED

    names, found = [*meta["class_names"]], []
    for row in dataset:
        one, ids = picture(row["image"], truth), np.asarray(row["mask"]).astype(int)
        pairs = []
        if one["key"] is not None:
            true = np.asarray(Image.open(truth / f"{one['key']}_mask.png")).astype(int)
            if true.shape == ids.shape:
                values, counts = np.unique(true * 1000 + ids, return_counts=True)
                pairs = [
                    [int(v // 1000), None if v % 1000 == IGNORED else names[v % 1000], int(n)]
                    for v, n in zip(values, counts, strict=True)
                ]
        found.append({**one, "value": pairs})
    return found


def measured(dataset, cfg, meta, truth, method):
    """value: [largest error in meters, share of pixels of which only one side knows the depth]"""
    from data import meters

    found = []
    for row in dataset:
        one, depth = picture(row["image"], truth), meters(row["depth"])
        value = None
        if one["key"] is not None:
            true = np.asarray(Image.open(truth / f"{one['key']}_depth.tif"))
            if true.shape == depth.shape:
                known = (true > 0) & (depth > 0)
                value = [float(abs(true - depth)[known].max(initial=0)), float(((true > 0) != (depth > 0)).mean())]
        found.append({**one, "value": value})
    return found


def outlined(dataset, cfg, meta, truth, method):
    """value: [name, left, top, right, bottom, crowd, share of its box that is filled]"""
    from data import run_lengths
    from pycocotools import mask as coco_mask

    found = []
    for row in dataset:
        objects, value = row["objects"], []
        for counts, category, crowd in zip(objects["mask"], objects["category"], objects["iscrowd"], strict=True):
            lengths = run_lengths(counts, row["image"].size)
            x, y, w, h = coco_mask.toBbox(lengths).tolist()
            value.append(
                [
                    meta["class_names"][category],
                    x,
                    y,
                    x + w,
                    y + h,
                    int(crowd),
                    float(coco_mask.area(lengths)) / max(1, w * h),
                ]
            )
        found.append({**picture(row["image"], truth), "value": value})
    return found


# --- texts


def read(dataset, cfg, meta, truth, method):
    from data import encode
    from model import load_processor

    tokenizer = load_processor(cfg)
    if method == "dpo":
        found = []
        for row in dataset:
            (prompt, chosen), (_, rejected) = (
                encode(row["prompt"], row[name], tokenizer) for name in ("chosen", "rejected")
            )
            found.append(
                {
                    "value": {
                        "prompt": tokenizer.decode(prompt),
                        "chosen": tokenizer.decode(chosen),
                        "rejected": tokenizer.decode(rejected),
                    }
                }
            )
        return found
    from data import train_view

    found = []
    for row in train_view(dataset, tokenizer):
        learned = [token for token in row["labels"] if token != -100]
        found.append({"value": {"whole": tokenizer.decode(row["input_ids"]), "learned": tokenizer.decode(learned)}})
    return found


def asked(dataset, cfg, meta, truth, method):
    """value: images (their numbers, None for one that is not as it has to be seen), the text as the model reads it, the answer."""
    from data import MASKED, Collate, example
    from model import load_processor

    processor, found = load_processor(cfg), []
    for row in dataset:
        seen = [picture(image, truth) for image in row["images"]]
        one = example(row["images"], row["prompt"], row["answers"][0], processor)
        batch = Collate(processor)([one])
        ids, labels = batch["input_ids"][0], batch["labels"][0]
        text = processor.tokenizer.decode(ids)
        found.append({
            "differs": max((one["differs"] for one in seen), default=255.0),
            "value": {"images": [one["key"] for one in seen], "text": text, "learned": processor.tokenizer.decode(labels[labels != MASKED])},
        })  # fmt: skip
    return found


# --- batches: what is learned lies where the picture shows it, as in the row


def shade(pixels, region):
    return float(np.asarray(pixels, float)[region].mean())


def gray(image):
    return np.asarray(image.convert("RGB")).astype(float).mean(2)


def compared(what, ours, theirs):
    return (
        [] if abs(ours - theirs) <= SHADES else [f"{what}: brightness {theirs:.0f} in the row, {ours:.0f} in the batch"]
    )


def inner(left, top, right, bottom, shape):
    """The middle of a box as slices."""
    height, width = shape
    x, y = (right - left) / 4, (bottom - top) / 4
    low, high = max(0, round(left + x)), max(0, round(top + y))
    return slice(high, max(high + 1, round(min(height, bottom - y)))), slice(
        low, max(low + 1, round(min(width, right - x)))
    )


def batch_of_labels(dataset, cfg, meta):
    from data import collate, eval_view, train_view
    from model import load_processor

    processor = load_processor(cfg)
    view = train_view(dataset, cfg, processor)
    batch = collate([view[i] for i in range(len(dataset))])
    found = [] if batch["labels"].tolist() == dataset["label"][:] else ["labels of the batch are not those of the rows"]
    for row, pixels in zip(dataset, batch["pixel_values"], strict=True):
        image, body = gray(row["image"]), pixels.float().mean(0).numpy()
        sides = [
            part[
                round(0.45 * len(part)) : round(0.8 * len(part)),
                round(0.3 * part.shape[1]) : round(0.7 * part.shape[1]),
            ]
            for part in (body, image)
        ]
        found += compared("middle of a picture", *(side.mean() for side in sides))
    view = eval_view(dataset, processor)
    return found + (
        []
        if collate([view[i] for i in range(len(dataset))])["labels"].tolist() == dataset["label"][:]
        else ["eval_view: other labels"]
    )


def batch_of_boxes(dataset, cfg, meta):
    import transformers
    from data import Collate, train_view
    from model import load_processor

    processor, model = (
        load_processor(cfg),
        transformers.DetrForObjectDetection.__new__(transformers.DetrForObjectDetection),
    )
    view, found = train_view(dataset, cfg, processor, model), []
    examples = [view[i] for i in range(len(dataset))]
    batch = Collate(model, processor)(examples)
    for row, example, pixels, labels in zip(dataset, examples, batch["pixel_values"], batch["labels"], strict=True):
        if labels["class_labels"].tolist() != row["categories"]:
            found.append("classes of the batch are not those of the row")
            continue
        image, shown = gray(row["image"]), pixels.float().mean(0).numpy()
        height, width = example["pixel_values"].shape[1:]
        for box, (x, y, w, h) in zip(labels["boxes"].tolist(), row["boxes"], strict=True):
            a, b, c, d = box[0] - box[2] / 2, box[1] - box[3] / 2, box[0] + box[2] / 2, box[1] + box[3] / 2
            ours = shade(shown, inner(a * width, b * height, c * width, d * height, (height, width)))
            found += compared("inside a box", ours, shade(image, inner(x, y, x + w, y + h, image.shape)))
    return found


def batch_of_regions(dataset, cfg, meta):
    """Masks and depth: for each value, the brightness of its pixels."""
    import data
    from model import load_processor

    view, found = data.train_view(dataset, cfg, load_processor(cfg)), []
    batch = data.collate([view[i] for i in range(len(dataset))])
    for row, pixels, labels in zip(dataset, batch["pixel_values"], batch["labels"], strict=True):
        shown, image, labels = pixels.float().mean(0).numpy(), gray(row["image"]), labels.numpy()
        true = np.asarray(row["mask"]) if "mask" in row else data.meters(row["depth"])
        if true.shape != image.shape:
            true = np.asarray(Image.fromarray(true).resize(row["image"].size, Image.Resampling.NEAREST))
        true, empty = (true, 255) if "mask" in row else (np.where(true > 0, true, data.MASKED), data.MASKED)
        below = np.arange(len(image))[:, None] > BLOCK * 1.6
        lower = np.arange(len(labels))[:, None] > BLOCK * 1.6 * len(labels) / len(image) + 6
        for value in np.unique(true):
            theirs, ours = (true == value) & below, (labels == value) & lower
            if value != empty and theirs.mean() > 0.08 and ours.any():
                found += compared(f"pixels of {value}", shade(shown, ours), shade(image, theirs))
    return found


def batch_of_objects(dataset, cfg, meta):
    from data import collate, decoded, train_view
    from model import load_processor

    view, found = train_view(dataset, cfg, load_processor(cfg)), []
    batch = collate([view[i] for i in range(len(dataset))])
    for row, pixels, masks, labels in zip(
        dataset, batch["pixel_values"], batch["mask_labels"], batch["class_labels"], strict=True
    ):
        theirs, categories = decoded(row["objects"], row["image"].size)
        if len(masks) != len(theirs) or labels.tolist() != categories.tolist():
            found.append("objects of the batch are not those of the row")
            continue
        image, shown = gray(row["image"]), pixels.float().mean(0).numpy()
        for ours, mask in zip(masks.numpy(), theirs, strict=True):
            if 0.05 < mask.mean() < 0.5:
                found += compared("pixels of an object", shade(shown, ours), shade(image, mask))
    return found


OF_TASK = {
    "image-classification": classified,
    "object-detection": detected,
    "semantic-segmentation": segmented,
    "depth-estimation": measured,
    "instance-segmentation": outlined,
    "panoptic-segmentation": outlined,
    "text-generation": read,
    "image-text-to-text": asked,
}
BATCH = {
    "image-classification": batch_of_labels,
    "object-detection": batch_of_boxes,
    "semantic-segmentation": batch_of_regions,
    "depth-estimation": batch_of_regions,
    "instance-segmentation": batch_of_objects,
    "panoptic-segmentation": batch_of_objects,
}
