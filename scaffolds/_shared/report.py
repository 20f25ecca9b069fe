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
"""The run on a few pages: reports/report.html (one file, nothing fetched from outside) and reports/report.pdf.

    python report.py

Every number is read from what the other scripts wrote: reports/*_results.json, logs/train.jsonl, data/meta.json,
config.yaml.
"""

import io
import json
import textwrap

import matplotlib
from matplotlib import pyplot
from matplotlib.backends.backend_pdf import PdfPages
from PIL import Image

from harness import RENDERED
from harness.html_page import BLUE, GRAY, INK, RED, bullets, picture, table, text, whole
from harness.project import LOGS, REPORTS, load_config, load_meta

matplotlib.use("Agg")  # no window

METRIC = RENDERED["metric"]
LESS_IS_BETTER = METRIC in ("eval_loss", "abs_rel")
CURVES = {"loss": "loss", "learning_rate": "learning rate", "grad_norm": "gradient norm", "reward": "reward"}
KINDS = {
    "zero-shot": "The baseline is the published model as it is (zero-shot).",
    "random-head": "The baseline is the published model under a new, untrained head: about chance by construction. "
    "To be better than that proves little.",
    "format-limited": "The baseline answers at length where a short answer is wanted (format-limited): part of the "
    "improvement is the form, not the knowledge.",
}
# of config.yaml: shown elsewhere, or long
LEFT_OUT = ("notes", "research_sources", "class_names", "output_dir", "column_map", "training_arguments")
SAMPLE_WIDTH = 720  # pixels, at most, of an embedded picture
MOST, TALLEST = 4.2, 2.7  # inches of height on a PDF page: of a figure, of a sample


def main():
    cfg, meta = load_config(), load_meta()
    tuned, baseline = results("eval"), None if cfg["skip_baseline"] else results("baseline")
    if tuned is None:
        raise SystemExit("reports/eval_results.json is missing: run `python run_eval.py` first")
    report = {
        "title": f"{cfg['model_id']} on {cfg['dataset_id'] or cfg['local_dataset_path'] or 'data'}",
        "about": about(cfg, meta),
        "tuned": tuned,
        "baseline": baseline,
        "scores": scores(tuned, baseline),
        "further": further(tuned, baseline),
        "curves": curves(),
        "samples": samples(),
        "caveats": caveats(cfg, meta, tuned, baseline),
        "settings": [
            (key, shown(value)) for key, value in cfg.items() if key not in LEFT_OUT and value not in (None, [], {})
        ],
        "sources": cfg["research_sources"],
        "notes": cfg["notes"],
    }
    # a $ is a $
    matplotlib.rcParams.update(
        {"text.parse_math": False, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    REPORTS.mkdir(exist_ok=True)
    write("report.html", as_html(report).encode())
    write("report.pdf", as_pdf(report))


def results(name):
    path = REPORTS / f"{name}_results.json"
    return json.loads(path.read_text()) if path.exists() else None


def write(name, content):
    """Write, then rename."""
    temporary = REPORTS / f".{name}.tmp"
    temporary.write_bytes(content)
    temporary.rename(REPORTS / name)
    print(f"reports/{name}: {len(content) / 1000:.0f} kB")


def shown(value):
    return f"{value:g}" if isinstance(value, float) else str(value)


# ---- what is reported


def about(cfg, meta):
    """[(what, value)] on top of the report."""
    names = meta["class_names"]
    source = cfg["dataset_id"] or cfg["local_dataset_path"] or "data"
    held_out = (
        f"split {cfg['eval_split']}"
        if cfg["eval_split"]
        else f"held out of {meta['train_split']} with seed {cfg['seed']}"
    )
    image = f"{cfg['ngc_image']}@{cfg['ngc_image_digest']}" if cfg["ngc_image"] else None
    return [
        (what, value)
        for what, value in (
            ("Task", f"{cfg['task']}, {cfg['training_method']}"),
            ("Model", f"{cfg['model_id']} at {cfg['model_revision'] or 'no fixed revision'}"),
            ("Data", f"{source}{' at ' + cfg['dataset_revision'] if cfg['dataset_revision'] else ''}"),
            ("Rows", f"{meta['n_train']:,} to learn from, {meta['n_eval']:,} to measure on ({held_out})"),
            (
                "Classes",
                f"{len(names)}: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}" if names else None,
            ),
            ("Hardware", f"{cfg['gpu_count']} x {cfg['gpu_name']}" if cfg["gpu_count"] else "CPU"),
            ("Image", image),
            ("Training", training_in_short()),
        )
        if value
    ]


def training_in_short():
    path = REPORTS / "train.json"
    if not path.exists():
        return None
    train = json.loads(path.read_text())
    speed = f"{train['samples_per_second']} samples a second"
    return f"{train['global_step']} steps in {train['seconds']:,.0f} s, {speed}, {train['sessions']} session(s)"


def scores(tuned, baseline):
    """[(name, value, [low, high] or None)]: the baseline, the tuned model, and the controls of either."""
    rows = [(f"baseline ({baseline['kind']})", baseline[METRIC], baseline["interval"])] if baseline else []
    rows.append(("tuned", tuned[METRIC], tuned["interval"]))
    controls = {**((baseline or {}).get("controls") or {}), **(tuned.get("controls") or {})}
    return rows + [
        (f"control: {name.replace('_', ' ')}", value, None) for name, value in controls.items() if comparable(name)
    ]


def comparable(control):
    """Whether a control is in the metric's own unit: that of the answers is in exact_match, beside a loss."""
    return METRIC != "eval_loss" or not control.endswith("_exact_match")


def further(tuned, baseline):
    """[(name, baseline, tuned)]: the numbers beside the metric, those of single classes last."""
    known = (METRIC, "n", "seconds")
    numbers = [
        (name.replace("_", " "), (baseline or {}).get(name), value)
        for name, value in tuned.items()
        if name not in known and is_number(value)
    ]
    for name, value in tuned.items():
        if isinstance(value, dict) and name.startswith("per_class"):
            of_class = ((baseline or {}).get(name) or {}).get
            numbers += [
                (f"{name.removeprefix('per_class_').replace('_', ' ')} of {label}", of_class(label), score)
                for label, score in value.items()
            ]
        elif name == "controls":
            numbers += [
                (f"control: {control.replace('_', ' ')}", None, score)
                for control, score in value.items()
                if not comparable(control)
            ]
    return numbers


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def curves():
    """{title: (steps, values)} of what was logged."""
    path = LOGS / "train.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    found = {
        title: [(row["step"], row[name]) for row in rows if is_number(row.get(name))] for name, title in CURVES.items()
    }
    return {title: tuple(zip(*points, strict=False)) for title, points in found.items() if points}


def samples():
    """[(number, input, prediction)]: pictures as JPEG bytes, or texts."""
    folder, found = REPORTS / "inference_samples", []
    for path in sorted(folder.glob("*_meta.json")):
        stem = path.name.removesuffix("_meta.json")
        pair = [next(folder.glob(f"{stem}_{part}.*"), None) for part in ("input", "pred")]
        if all(pair):
            found.append(
                (stem, *(one.read_text(encoding="utf-8") if one.suffix == ".txt" else thumbnail(one) for one in pair))
            )
    return found


def thumbnail(path):
    with Image.open(path) as image:
        image, scale = image.convert("RGB"), max(1, SAMPLE_WIDTH // 2 // image.width)
        # a tiny one is shown pixel by pixel
        image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
        image.thumbnail((SAMPLE_WIDTH, SAMPLE_WIDTH))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=88)
    return file.getvalue()


def caveats(cfg, meta, tuned, baseline):
    """What must be said beside the numbers."""
    found = (
        [KINDS.get(baseline["kind"], f"The baseline's kind: {baseline['kind']}.")]
        if baseline
        else ["No baseline was measured (skip_baseline)."]
    )
    if baseline and baseline.get("aligned"):
        found.append(
            "The baseline's depth was fitted to the truth of each image, which flatters it; the tuned model is taken "
            "at its word."
        )
    if change := tuned.get("difference"):
        low, high = (-change["high"], -change["low"]) if LESS_IS_BETTER else (change["low"], change["high"])
        if high < 0:
            found.append(
                "The tuned model is worse than the baseline on these rows: the 95 % interval of the difference lies "
                "on the wrong side of 0."
            )
        elif low <= 0:
            found.append("No improvement is shown: the 95 % interval of the difference holds 0.")
    if seen := tuned.get("seen_in_training"):
        found.append(
            f"{seen:,} of the {tuned['n']:,} rows that were measured on are training rows too: the dataset holds them "
            "twice."
        )
    for name, value, _ in scores(tuned, baseline):
        if name.startswith("control") and not (tuned[METRIC] < value if LESS_IS_BETTER else tuned[METRIC] > value):
            found.append(f"The tuned model is not better than the {name}, which knows nothing of the input.")
    found.append(
        "The intervals are bootstrapped over the evaluation rows: they tell what other rows of this kind would have "
        "given, not what another seed would."
    )
    if tuned["n"] < 100:
        found.append(f"Only {tuned['n']} rows were measured on.")
    if not cfg["eval_split"]:
        found.append(
            "The evaluation rows come from the training split: they were never trained on, but near copies of them "
            "may have been."
        )
    found += [f"{count:,} rows were left out: {why}." for why, count in (meta.get("dropped") or {}).items() if count]
    return found


# ---- how it looks


def score_figure(report, width=7.2):
    """Baseline, tuned model and controls on one axis, with their intervals."""
    rows = report["scores"][::-1]
    figure, axes = pyplot.subplots(figsize=(width, 0.6 + 0.34 * len(rows)), layout="constrained")
    for i, (name, value, interval) in enumerate(rows):
        color = BLUE if name == "tuned" else GRAY if name.startswith("baseline") else RED
        if interval:
            axes.plot(interval, (i, i), color=color, linewidth=2.5, alpha=0.45, solid_capstyle="round")
        axes.plot(value, i, "D" if name.startswith("control") else "o", color=color, markersize=6)
        axes.annotate(
            f"{value:.4f}", (value, i), (0, 6), textcoords="offset points", ha="center", fontsize=8, color=color
        )
    axes.set_yticks(range(len(rows)), [textwrap.shorten(name, 40, placeholder="...") for name, *_ in rows])
    axes.set_ylim(-0.6, len(rows) - 0.2)
    axes.margins(x=0.08)
    axes.grid(axis="x", color="#e5e7eb")
    axes.set_axisbelow(True)
    axes.set_xlabel(METRIC + (" (less is better)" if LESS_IS_BETTER else ""))
    return figure


def curve_figure(curves, width=7.2):
    names = list(curves)
    columns = 2 if len(names) in (2, 4) else 3
    lines = -(-len(names) // columns)
    figure, grid = pyplot.subplots(lines, columns, figsize=(width, 2.2 * lines), layout="constrained", squeeze=False)
    for name, axes in zip(names, grid.flat, strict=False):
        steps, values = curves[name]
        smooth = len(values) >= 60 and name != "learning rate"
        axes.plot(steps, values, color=BLUE, linewidth=1, alpha=0.3 if smooth else 1)
        if smooth:
            axes.plot(steps, smoothed(values), color=BLUE, linewidth=1.8)
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_xlabel("step")
        axes.grid(color="#e5e7eb")
    for axes in list(grid.flat)[len(names) :]:
        axes.axis("off")
    return figure


def smoothed(values, share=0.85):
    """An exponential mean, right from the first value on."""
    found, mean, weight = [], 0.0, 0.0
    for value in values:
        mean, weight = share * mean + (1 - share) * value, share * weight + (1 - share)
        found.append(mean / weight)
    return found


def png(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=160)
    pyplot.close(figure)
    return file.getvalue()


def headline(report):
    """(big words, small words)"""
    tuned, baseline, change = report["tuned"], report["baseline"], report["tuned"].get("difference")
    before = f"{baseline[METRIC]:.4f} → " if baseline else ""
    small = f"{METRIC} on {tuned['n']:,} held-out rows"
    if change:
        small += (
            f"; difference {change['value']:+.4f}, 95 % interval [{change['low']:+.4f}, {change['high']:+.4f}], paired"
        )
    return f"{before}{tuned[METRIC]:.4f}", small


def interval_text(interval):
    return f"[{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "–"


def number_text(value):
    return "–" if value is None else f"{value:.4f}" if isinstance(value, float) else f"{value:,}"


def as_html(report):
    big, small = headline(report)
    parts = [
        f"<h1>{text(report['title'])}</h1>",
        f"<p class=big>{text(big)}</p><p class=small>{text(small)}</p>",
        picture(png(score_figure(report)), "png", "baseline, tuned model and controls"),
        table(
            ("", METRIC, "95 % interval"),
            [(name, f"{value:.4f}", interval_text(interval)) for name, value, interval in report["scores"]],
        ),
        "<h2>Read this with the numbers</h2>" + bullets(report["caveats"]),
        "<h2>What was trained</h2>" + table((), report["about"]),
    ]
    if report["curves"]:
        parts.append("<h2>Training</h2>" + picture(png(curve_figure(report["curves"])), "png", "training curves"))
    if report["samples"]:
        parts.append(
            "<h2>Samples</h2><p class=small>Held-out rows: what the model was given, and what it made of it.</p>"
        )
        parts += [
            f"<div class=pair>{sample_html(before)}{sample_html(after)}</div>"
            for _, before, after in report["samples"]
        ]
    if report["further"]:
        rows = [(name, number_text(before), number_text(after)) for name, before, after in report["further"]]
        parts.append("<h2>Further numbers</h2>" + table(("", "baseline", "tuned"), rows))
    parts.append("<h2>Settings</h2>" + table((), report["settings"]))
    if report["sources"]:
        links = [
            f'<a href="{text(url)}">{text(url)}</a>' if url.startswith("https://") else text(url)
            for url in report["sources"]
        ]
        parts.append("<h2>What was consulted</h2><ul>" + "".join(f"<li>{link}</li>" for link in links) + "</ul>")
    if report["notes"]:
        parts.append("<h2>Notes</h2>" + bullets(report["notes"]))
    return whole(report["title"], parts)


def sample_html(one):
    return f"<pre>{text(one)}</pre>" if isinstance(one, str) else picture(one, "jpeg", "sample")


def as_pdf(report):
    """A4 pages: the result, the curves, the samples, the settings."""
    file, (big, small) = io.BytesIO(), headline(report)
    numbers = "; ".join(f"{name} {value:.4f}" for name, value, _ in report["scores"])
    with PdfPages(
        file, metadata={"Title": ascii_only(report["title"]), "Subject": ascii_only(f"{METRIC}: {numbers}")}
    ) as pages:
        page = Page(pages)
        page.text(report["title"], 15, weight="bold")
        page.text(big, 24, color=BLUE, weight="bold")
        page.text(small, 9, color=GRAY)
        page.image(png(score_figure(report)))
        page.text("Read this with the numbers", 12, weight="bold")
        for one in report["caveats"]:
            page.text(f"•  {one}", 9)
        page.text("What was trained", 12, weight="bold")
        page.rows(report["about"])
        if report["curves"]:
            page.text("Training", 12, weight="bold", keep=2.3)
            page.image(png(curve_figure(report["curves"])))
        if report["samples"]:
            page.text("Samples: what the model was given, and what it made of it", 12, weight="bold", keep=TALLEST)
            for _, before, after in report["samples"]:
                page.pair(before, after)
        if report["further"]:
            page.text("Further numbers (baseline, tuned)", 12, weight="bold", keep=0.6)
            page.rows(
                [(name, f"{number_text(before)}   {number_text(after)}") for name, before, after in report["further"]]
            )
        page.text("Settings", 12, weight="bold", keep=0.6)
        page.rows(report["settings"])
        for title in ("sources", "notes"):
            if report[title]:
                page.text({"sources": "What was consulted", "notes": "Notes"}[title], 12, weight="bold", keep=0.6)
                for one in report[title]:
                    page.text(f"•  {one}", 8)
        page.end()
    return file.getvalue()


def ascii_only(text):
    return text.encode("ascii", "replace").decode()


class Page:
    """An A4 page that is filled from its top and turned when it is full. Inches."""

    WIDTH, HEIGHT, MARGIN = 8.27, 11.69, 0.7

    def __init__(self, pages):
        self.pages, self.figure = pages, None
        self.turn()

    def turn(self):
        self.end()
        self.figure, self.at = pyplot.figure(figsize=(self.WIDTH, self.HEIGHT)), self.MARGIN

    def end(self):
        if self.figure:
            self.pages.savefig(self.figure)
            pyplot.close(self.figure)
            self.figure = None

    def room(self, height):
        if self.at + height > self.HEIGHT - self.MARGIN:
            self.turn()

    def text(self, text, size, left=0.0, keep=0.0, **style):
        """Wrapped lines. keep: inches that must follow on the same page."""
        lines = [
            line
            for part in text.splitlines() or [""]
            for line in textwrap.wrap(part, int((self.WIDTH - 2 * self.MARGIN - left) * 143 / size)) or [""]
        ]
        self.at += size / (55 if size == 12 else 150)  # more above a heading
        self.room(size * 1.4 / 72 + keep)
        for line in lines:
            self.room(size * 1.4 / 72)
            self.figure.text(
                (self.MARGIN + left) / self.WIDTH,
                1 - self.at / self.HEIGHT,
                line,
                size=size,
                va="top",
                **{"color": INK, **style},
            )
            self.at += size * 1.4 / 72

    def rows(self, rows):
        """Two columns."""
        for what, value in rows:
            lines = textwrap.wrap(str(value), 84) or [""]
            names = textwrap.wrap(str(what), 30) or [""]
            self.room(0.17 * max(len(lines), len(names)))
            for column, texts, color in ((0, names, GRAY), (2.2, lines, INK)):
                for i, line in enumerate(texts):
                    self.figure.text(
                        (self.MARGIN + column) / self.WIDTH,
                        1 - (self.at + 0.17 * i) / self.HEIGHT,
                        line,
                        size=8.5,
                        va="top",
                        color=color,
                    )
            self.at += 0.17 * max(len(lines), len(names)) + 0.02

    def image(self, content, left=0.0, width=None):
        """A picture in the page's width, or in `width` from `left` on; returns its height."""
        with Image.open(io.BytesIO(content)) as opened:
            picture = opened.convert("RGB")
        width = width or self.WIDTH - 2 * self.MARGIN
        height = width * picture.height / picture.width
        most = TALLEST if left or width < self.WIDTH - 2 * self.MARGIN else MOST
        if height > most:
            width, height = width * most / height, most
        if not left:
            self.room(height)
        axes = self.figure.add_axes(
            (
                (self.MARGIN + left) / self.WIDTH,
                1 - (self.at + height) / self.HEIGHT,
                width / self.WIDTH,
                height / self.HEIGHT,
            )
        )
        axes.imshow(picture, interpolation="lanczos" if picture.width > 200 else "nearest", aspect="auto")
        axes.axis("off")
        if not left:
            self.at += height + 0.08
        return height

    def pair(self, before, after):
        """Input and prediction side by side."""
        half = (self.WIDTH - 2 * self.MARGIN - 0.2) / 2
        if isinstance(before, str):
            sides = [
                [line for part in side.splitlines() for line in textwrap.wrap(part, 58) or [""]][:40]
                for side in (before, after)
            ]
            self.room(0.15 * max(map(len, sides)) + 0.15)
            for left, lines in zip((0, half + 0.2), sides, strict=False):
                self.figure.text(
                    (self.MARGIN + left) / self.WIDTH,
                    1 - self.at / self.HEIGHT,
                    "\n".join(lines),
                    size=8,
                    va="top",
                    family="DejaVu Sans",
                )
            self.at += 0.15 * max(map(len, sides)) + 0.15
            return
        heights = []
        for content in (before, after):
            with Image.open(io.BytesIO(content)) as opened:
                heights.append(min(TALLEST, half * opened.height / opened.width))
        self.room(max(heights))
        top = self.at
        self.image(after, half + 0.2, half)
        self.image(before, 0.0, half)
        self.at = top + max(heights) + 0.15


if __name__ == "__main__":
    main()
