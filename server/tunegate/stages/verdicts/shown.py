"""What people look at: the data before training, samples and the report."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from tunegate import tasks
from tunegate.config import RunConfig
from tunegate.rundir import Run
from tunegate.stages.verdicts.read import read_json

N_SAMPLES = 5
DATA_PAGE = "reports/data.html"


def infer(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    folder, suffix = run.at("reports/inference_samples"), tasks.TASKS[config.task].sample_suffix
    complete = [
        path.name.split("_")[0]
        for path in sorted(folder.glob("*_meta.json"))
        if all(
            (folder / path.name.replace("meta.json", end)).is_file() for end in (f"input.{suffix}", f"pred.{suffix}")
        )
        and "prediction" in json.loads(path.read_text())
    ]
    pictures = [path for path in folder.glob("*.jpg") if not _is_jpeg(path.read_bytes())]
    problems = [f"{path.name} is not a JPEG" for path in pictures[:1]]
    expected = min(N_SAMPLES, read_json(run, "data/meta.json")["n_eval"])
    if len(complete) < expected:
        problems.append(f"{len(complete)} of {expected} inference samples have input, prediction and meta files")
    return {"samples": len(complete)}, problems


def _is_jpeg(content: bytes) -> bool:
    return content.startswith(b"\xff\xd8\xff") and content.endswith(b"\xff\xd9") and len(content) > 200


def report(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    """Both files are whole, tell the numbers of the evaluations, and ask nothing of any other place."""
    page, paper = run.at("reports/report.html").read_text(), run.at("reports/report.pdf").read_bytes()
    problems: list[str] = []
    metric = tasks.metric(config.task, config.training_method)
    problems += _not_a_page("reports/report.html", page)
    if not paper.startswith(b"%PDF-") or b"%%EOF" not in paper[-64:]:
        problems.append("reports/report.pdf is not a whole PDF")
    subject = re.search(rb"/Subject \((.*?)\)\n?\s*(?:/|>>)", paper, re.S)
    for kind in ("eval", *(() if config.skip_baseline else ("baseline",))):
        number = f"{read_json(run, f'reports/{kind}_results.json')[metric]:.4f}"
        problems += [f"reports/report.html does not show {metric} {number} ({kind})"] if number not in page else []
        named = subject and re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)".encode(), subject[1])
        problems += [] if named else [f"reports/report.pdf does not show {metric} {number} ({kind})"]
    return {"html_kb": len(page) // 1000, "pdf_kb": len(paper) // 1000}, problems


def data_page(run: Run) -> tuple[dict, list[str], list[str]]:
    """(facts, notes, problems) of what prepare drew of its rows, for the user to look at before anything is trained."""
    path = run.at(DATA_PAGE)
    if not path.is_file():
        return {}, [], [f"{DATA_PAGE} is missing, the picture of the data: render the project again"]
    told, page = read_json(run, "reports/data.json"), path.read_text()
    notes = [f"{DATA_PAGE} shows no rows: {told['without_rows']}"] if told["without_rows"] else []
    notes += [f"{DATA_PAGE} could not draw all: {told['problems'][0]}"] if told["problems"] else []
    facts = {"page": DATA_PAGE, "page_rows": told["rows"], "drawn_with": told["drawn_with"]}
    return facts, notes, _not_a_page(DATA_PAGE, page)


def _not_a_page(name: str, page: str) -> list[str]:
    """Why it is no page that can be opened without a second thought: whole, and nothing in it runs or fetches."""
    whole = page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    foreign = _Foreign(page).found
    return ([] if whole else [f"{name} is not a whole HTML page"]) + (
        [f"{name} holds {foreign[0]}: a page of a run runs nothing and fetches nothing"] if foreign else []
    )


class _Foreign(HTMLParser):
    """What a page holds beyond text, tables and pictures of its own."""

    TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "span", "img",
            "table", "tr", "th", "td", "ul", "li", "a", "pre"}  # fmt: skip
    ATTRIBUTES = {
        "src": "data:image/",
        "href": "https://",
        "alt": "",
        "class": "",
        "lang": "",
        "charset": "",
    }  # and how its value begins

    def __init__(self, page: str):
        super().__init__()
        self.found: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [] if tag in self.TAGS else [f"<{tag}>"]
        for name, value in attrs:
            if name not in self.ATTRIBUTES or not (value or "").startswith(self.ATTRIBUTES[name]):
                self.found.append(f"{name}={(value or '')[:40]!r}")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "style" and re.search(r"@import|url\(", data, re.I):
            self.found.append("a stylesheet that fetches")
