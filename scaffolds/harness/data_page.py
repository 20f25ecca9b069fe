# Copyright (c) 2026, NVIDIA CORPORATION.  All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""reports/data.html: the prepared data as the model will see them, for a person to look at before anything is trained.

A dozen rows of each split, by the transforms and the collator of data.py (show_data.py knows how they are drawn), the
classes, sizes and lengths, and what is left out. reports/data.json says how the page was made.

A row that cannot be made a batch ends the script: the same row would end a training. Where the model's processor
cannot be had, the page is written without rows, and says why; so is any part of it that cannot be drawn.
"""

import json
import os
import random
from collections import Counter
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from huggingface_hub import hf_hub_download

from harness import html_page, local_data, tiles
from harness.data_numbers import MEASURED, SAMPLED, class_histogram, left_out, measures, spread
from harness.html_page import bullets, table, text
from harness.project import REPORTS, ROOT, load_split, write_json

PAGE = "data.html"
SHOWN = 12  # rows of a split
MOST = 400  # characters below a row
ROOM = 1_800_000  # bytes that all pictures together may have
DRAWN_WITH = ("model_id", "model_revision", "image_size", "crop_scale_min", "horizontal_flip", "max_length")


def write(cfg, meta):
    """Write the page of data/train and data/eval. meta: what data/meta.json will say of them.

    Raises SystemExit on a row that no batch can be made of.
    """
    splits = {split: load_split(split) for split in ("train", "eval")}
    seen = rows_as_seen(cfg, meta, splits)
    name = f"Data of {model_name(cfg)}: {source(cfg)}"
    parts = [
        f"<h1>{text(name)}</h1>",
        "<p class=small>The data as the model will see them. Look for what no rule finds: wrong names, boxes beside "
        "their objects, mirrored writing, answers that are cut or missing, one kind of row only.</p>",
        table((), about(cfg, meta)),
    ]
    for title, make in (
        ("Rows read and left out", lambda: left_out(meta)),
        ("Files left out", lambda: files_left_out(cfg)),
        ("The probe warned", lambda: warned(cfg)),
        ("Training rows", lambda: shown(seen, "train", cfg)),
        ("Evaluation rows", lambda: shown(seen, "eval", cfg)),
        ("Classes", lambda: class_histogram(cfg, meta)),
        ("Sizes and lengths", lambda: measures(seen, splits)),
    ):
        try:
            body = make()
        except Exception as error:  # a part of a page is no reason to train nothing
            seen.problems.append(f"{title}: {said(error)}")
            body = f"<p class=lost>This part could not be drawn ({text(said(error))}).</p>"
        parts += [f"<h2>{title}</h2>{body}"] if body else []
    save(html_page.whole(name, parts, STYLE))
    counts = {split: len(found) for split, found in seen.tiles.items()}
    facts = {"rows": counts, "without_rows": seen.without, "problems": seen.problems}
    write_json(REPORTS / "data.json", {**facts, "drawn_with": {key: cfg[key] for key in DRAWN_WITH if key in cfg}})
    print(f"reports/{PAGE}: {counts['train']} training and {counts['eval']} evaluation rows to look at")


def save(page):
    """Write, then rename. What is no text (half a character of UTF-16) becomes a question mark."""
    REPORTS.mkdir(exist_ok=True)
    temporary = REPORTS / f".{PAGE}.tmp"
    temporary.write_bytes(page.encode("utf-8", "replace"))
    os.replace(temporary, REPORTS / PAGE)


def said(error):
    """An error in a line; where it names no reason, its kind."""
    lines = str(error).encode("utf-8", "replace").decode().strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


# ---- the rows


@dataclass
class Seen:
    """What could be seen with the model's processor. tiles: split -> Tiles. counts: split -> {what: a number of each
    row}. without: why there are no rows. problems: what could not be drawn."""

    tiles: dict = field(default_factory=lambda: {"train": [], "eval": []})
    counts: dict = field(default_factory=dict)
    without: str | None = None
    problems: list = field(default_factory=list)


def rows_as_seen(cfg, meta, splits):
    seen = Seen()
    try:
        if not Path(cfg["model_id"]).is_dir():
            hf_hub_download(cfg["model_id"], "config.json", revision=cfg["model_revision"])
        draw = import_module("show_data")  # here: torch and transformers, for nothing where the model is not
        processor = import_module("model").load_processor(cfg)
        readers = {split: draw.reader(split, dataset, cfg, processor) for split, dataset in splits.items()}
    except (Exception, SystemExit) as error:
        seen.without = said(error)
        return seen
    random.seed(cfg["seed"])  # of augmentation
    for split, dataset in splits.items():
        sampled = spread(len(dataset), SAMPLED)
        classes = draw.classes(dataset.select(sampled))
        for index in chosen(sampled, classes, cfg["seed"]):
            seen.tiles[split].append(tile_of(draw, readers[split], dataset, index, split, meta, seen.problems))
        several = classes and max(map(len, classes)) > 1
        seen.counts[split] = {"objects in an image": [len(found) for found in classes]} if several else {}
        try:
            seen.counts[split] |= draw.lengths(dataset.select(spread(len(dataset), MEASURED)), processor)
        except Exception as error:
            seen.problems.append(f"lengths of {split}: {said(error)}")
    return seen


def tile_of(draw, read, dataset, index, split, meta, problems):
    batch = batch_of(read, index, split)
    try:
        tile = draw.tile(batch, dataset[index], meta)
    except Exception as error:  # of the drawing: the batch is there
        problems.append(f"row {index} of {split}: {said(error)}")
        tile = tiles.Tile(f"could not be drawn ({said(error)})")
    tile.number, tile.caption = index, tile.caption[:MOST]
    return tile


def batch_of(read, index, split):
    try:
        return read(index)
    except Exception as error:
        raise SystemExit(
            f"row {index} of data/{split} cannot be made a batch, which would end the training too: {said(error)}"
        ) from error


def chosen(sampled, classes, seed):
    """Which of the sampled rows are shown. classes: those of each; the next row is always of a class that was shown
    least."""
    if not classes:
        return [sampled[i] for i in spread(len(sampled), SHOWN)]
    waiting, often, found = list(zip(sampled, map(set, classes), strict=True)), Counter(), []
    random.Random(seed).shuffle(waiting)
    while waiting and len(found) < SHOWN:
        row = min(waiting, key=lambda one: min((often[name] for name in one[1]), default=SHOWN // 2))
        waiting.remove(row)
        found.append(row[0])
        often.update(row[1])
    return sorted(found)


def shown(seen, split, cfg):
    if seen.without:
        return f"<p class=lost>No rows are shown: {text(seen.without)}</p>"
    room = ROOM // max(1, sum(len(tile.pictures) for rows in seen.tiles.values() for tile in rows))
    found = seen.tiles[split]
    texts = any(tile.texts for tile in found)
    wide = any(one.width > 1.5 * tiles.SIDE for tile in found for one in tile.pictures)
    body = "".join(tile_html(tile, room) for tile in found)
    grid = "rows" if texts else "pairs" if wide else "tiles"
    return f"<p class=small>{how_read(split, cfg, texts)}</p><div class={grid}>{body}</div>"


def how_read(split, cfg, texts):
    """What the rows of a split went through. HTML: there are no words of others in it."""
    marked, method = "<span class=learned>Marked</span>", cfg["training_method"]
    if texts and method == "grpo":
        return "The model writes its own answers to these; rewards.py scores them, by the columns named below each."
    if texts and method == "dpo":
        return f"Both answers to each prompt. {marked}: what is made likelier (chosen), or less likely (rejected)."
    if texts:
        learned = f"{marked} tokens are learned, all others only read."
        return learned if split == "train" else "As the model is measured; what is marked, it has to predict."
    if split == "train":
        return "By the transform and the collator of training. They are augmented anew each time that they are read."
    return "As the model is measured: nothing is augmented."


def tile_html(tile, room):
    images = "".join(html_page.picture(tiles.jpeg(one, room), "jpeg", tile.caption) for one in tile.pictures)
    return (
        "<div class=tile>"
        + (f"<div class=images>{images}</div>" if images else "")
        + "".join(f"{heading(what)}<pre>{runs_html(runs)}</pre>" for what, runs in tile.texts)
        + f"<p>{text(tile.caption)} <span class=number>{tile.number}</span></p></div>"
    )


def heading(what):
    return f"<p>{text(what)}</p>" if what else ""


def runs_html(runs):
    return "".join(f"<span class=learned>{text(run)}</span>" if learned else text(run) for run, learned in runs)


# ---- the numbers


def model_name(cfg):
    return Path(cfg["model_id"]).name if Path(cfg["model_id"]).is_absolute() else cfg["model_id"]


def source(cfg):
    """Without the folders above it: the page may be shown to others."""
    return cfg["dataset_id"] or Path(cfg["local_dataset_path"] or "data").name


def about(cfg, meta):
    held_out = f"split {cfg['eval_split']}" if cfg["eval_split"] else f"held out of {meta['train_split']}"
    drawn = ", ".join(f"{key} {cfg[key]}" for key in DRAWN_WITH[2:] if cfg.get(key) is not None)
    rows = (
        f"{meta['n_train']:,} to learn from (of {meta['train_split']}), {meta['n_eval']:,} to measure on ({held_out})"
    )
    revision = f" at {cfg['model_revision'][:12]}" if cfg["model_revision"] else ""
    return [
        ("Task", f"{cfg['task']}, {cfg['training_method']}"),
        ("Model", f"{model_name(cfg)}{revision}"),
        ("Rows", rows),
        *([("Classes", f"{len(meta['class_names'])}")] if meta["class_names"] else []),
        *([("Settings", drawn)] if drawn else []),
        *(
            [("In both", f"{meta['seen_in_training']:,} evaluation rows are training rows too")]
            if meta.get("seen_in_training")
            else []
        ),
    ]


def warned(cfg):
    """What the probe said of the data, where it was asked."""
    path = ROOT / "meta" / "dataset.json"
    found = json.loads(path.read_text(encoding="utf-8"))["facts"].get("warnings") if path.exists() else []
    return bullets(without_folders(found, cfg)) if found else ""


def files_left_out(cfg):
    """What the probe did not list: no row of it was read here."""
    path = local_data.MANIFEST
    found = json.loads(path.read_text(encoding="utf-8")).get("left_out") if path.exists() else []
    return bullets(without_folders(found, cfg)) if found else ""


def without_folders(sentences, cfg):
    """The sentences without the folders above a local dataset."""
    path = Path(cfg["local_dataset_path"]).expanduser() if cfg["local_dataset_path"] else None
    return [one.replace(str(path), path.name) if path else one for one in sentences]


STYLE = (
    html_page.STYLE
    + """
body { max-width: 1080px }
.tiles, .pairs { display: grid; gap: 1.1rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)) }
.pairs { grid-template-columns: repeat(auto-fill, minmax(28rem, 1fr)) }
.rows .tile { margin: 0 0 1.2rem }
.tile { background: var(--soft); border-radius: 6px; overflow: hidden }
.tile p { margin: .35rem .6rem .5rem; font-size: .9rem; overflow-wrap: anywhere }
.images { display: flex; flex-wrap: wrap; gap: 3px }
.images img { flex: 1 1 0; min-width: 0; width: 100%; object-fit: contain; background: none }
.rows .images img { flex: 0 0 auto; width: auto; max-height: 16rem }
.learned { background: rgba(37, 99, 235, .22); border-bottom: 2px solid var(--blue) }
.lost { color: var(--red) }
.number { color: var(--gray); float: right }
.bars { width: 100%; table-layout: fixed }
.bars td:first-child { color: var(--ink) }
.bars td { position: relative; padding: .15rem .9rem .15rem 0 }
.bar { display: inline-block; vertical-align: middle; height: .8rem; background: var(--blue) }
.bar { border-radius: 2px; margin-right: .4rem }
"""
    + "".join(f".w{i} {{ width: calc({i}% * .75) }}\n" for i in range(1, 101))
)
