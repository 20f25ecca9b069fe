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
from importlib import import_module
from pathlib import Path

from huggingface_hub import hf_hub_download

from harness import html_page, tiles
from harness.data_numbers import SAMPLED, class_histogram, left_out, measures, spread
from harness.html_page import bullets, table, text
from harness.project import REPORTS, ROOT, load_split, write_json

PAGE = "data.html"
SHOWN = 12  # rows of a split
ROOM = 1_800_000  # bytes that all pictures together may have
DRAWN_WITH = ("model_id", "model_revision", "image_size", "crop_scale_min", "horizontal_flip", "max_length")


def write(cfg, meta):
    """Write the page of data/train and data/eval. meta: what data/meta.json will say of them.

    Raises SystemExit on a row that no batch can be made of.
    """
    splits = {split: load_split(split) for split in ("train", "eval")}
    seen, problems = rows_as_seen(cfg, meta, splits)
    parts = [
        f"<h1>{text(title(cfg))}</h1>",
        "<p class=small>The data as the model will see them. Look for what no rule finds: wrong names, boxes beside "
        "their objects, mirrored writing, answers that are cut or missing, one kind of row only.</p>",
        table((), about(cfg, meta)),
    ]
    for heading, make in (
        ("Left out", lambda: left_out(meta)),
        ("The probe warned", lambda: warned(cfg)),
        ("Training rows", lambda: shown(seen, "train")),
        ("Evaluation rows", lambda: shown(seen, "eval")),
        ("Classes", lambda: class_histogram(cfg, meta)),
        ("Sizes and lengths", lambda: measures(seen, splits)),
    ):
        try:
            body = make()
        except Exception as error:  # a part of a page is no reason to train nothing
            problems.append(f"{heading}: {said(error)}")
            body = f"<p class=lost>This part could not be drawn ({text(said(error))}).</p>"
        parts += [f"<h2>{heading}</h2>{body}"] if body else []
    REPORTS.mkdir(exist_ok=True)
    temporary = REPORTS / f".{PAGE}.tmp"
    temporary.write_text(html_page.whole(title(cfg), parts, STYLE), encoding="utf-8")
    os.replace(temporary, REPORTS / PAGE)
    counts = {split: len(seen["tiles"].get(split, ())) for split in splits}
    facts = {"rows": counts, "without_rows": seen["without"], "problems": problems}
    write_json(REPORTS / "data.json", {**facts, "drawn_with": {key: cfg.get(key) for key in DRAWN_WITH if key in cfg}})
    print(f"reports/{PAGE}: {counts['train']} training and {counts['eval']} evaluation rows to look at")


def said(error):
    """An error in a line; where it names no reason, its kind."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


# ---- the rows


def rows_as_seen(cfg, meta, splits):
    """({"tiles": {split: [Tile]}, "lengths": {split: {what: numbers}}, "objects": {split: numbers}, "without": why
    there are no rows, or None}, what could not be drawn)"""
    seen, problems = {"tiles": {}, "lengths": {}, "objects": {}, "without": None}, []
    try:
        if not Path(cfg["model_id"]).is_dir():
            hf_hub_download(cfg["model_id"], "config.json", revision=cfg["model_revision"])
        draw = import_module("show_data")  # here: torch and transformers, for nothing where the model is not
        processor = import_module("model").load_processor(cfg)
        readers = {split: draw.reader(split, dataset, cfg, processor) for split, dataset in splits.items()}
    except (Exception, SystemExit) as error:
        return {**seen, "without": said(error)}, problems
    random.seed(cfg["seed"])  # of augmentation
    for split, dataset in splits.items():
        classes = draw.classes(dataset)
        seen["objects"][split] = [len(found) for found in classes] if classes else []
        seen["tiles"][split] = []
        for index in chosen(len(dataset), classes, cfg["seed"]):
            batch = batch_of(readers[split], index, split)
            try:
                tile = draw.tile(batch, dataset[index], meta)
            except Exception as error:
                problems.append(f"row {index} of {split}: {said(error)}")
                tile = tiles.Tile(f"row {index} could not be drawn ({said(error)})")
            tile.number = index
            seen["tiles"][split].append(tile)
        seen["lengths"][split] = draw.lengths(dataset.select(spread(len(dataset), SAMPLED)), processor)
    return seen, problems


def batch_of(read, index, split):
    try:
        return read(index)
    except Exception as error:
        raise SystemExit(
            f"row {index} of data/{split} cannot be made a batch, which would end the training too: {said(error)}"
        ) from error


def chosen(length, classes, seed):
    """Which rows are shown. classes: those of each row; the next row is always one of a class that was shown least."""
    if not classes:
        return spread(length, SHOWN)
    waiting, often, found = random.Random(seed).sample(range(length), min(length, SAMPLED)), Counter(), []
    while waiting and len(found) < SHOWN:
        index = min(waiting, key=lambda one: min((often[name] for name in classes[one]), default=SHOWN))
        waiting.remove(index)
        found.append(index)
        often.update(set(classes[index]))
    return sorted(found)


def shown(seen, split):
    if seen["without"]:
        return f"<p class=lost>No rows are shown: {text(seen['without'])}</p>"
    room = ROOM // max(1, sum(len(tile.pictures) for rows in seen["tiles"].values() for tile in rows))
    found = seen["tiles"][split]
    how = {
        "train": "By the transform and the collator of training; pictures are augmented anew each time that a row is "
        "read.",
        "eval": "As the model is measured: nothing is augmented.",
    }[split]
    texts = any(tile.texts for tile in found)
    wide = any(one.width > 1.5 * tiles.SIDE for tile in found for one in tile.pictures)
    learned = "<span class=learned>Marked</span> is learned, all else only read." if texts else ""
    body = "".join(tile_html(tile, room) for tile in found)
    grid = "rows" if texts else "pairs" if wide else "tiles"
    return f"<p class=small>{how} {learned}</p><div class={grid}>{body}</div>"


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


def title(cfg):
    return f"Data of {cfg['model_id'].rstrip('/').rpartition('/')[2]}: {source(cfg)}"


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
        ("Model", f"{cfg['model_id'] if cfg['dataset_id'] else Path(cfg['model_id']).name}{revision}"),
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
    """What the probe said of the data, where it was asked; without the folders of a local dataset."""
    path = ROOT / "meta" / "dataset.json"
    found = json.loads(path.read_text(encoding="utf-8"))["facts"].get("warnings") if path.exists() else None
    folder = str(Path(cfg["local_dataset_path"]).expanduser()) if cfg["local_dataset_path"] else None
    return bullets(one.replace(folder, Path(folder).name) if folder else one for one in found) if found else ""


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
