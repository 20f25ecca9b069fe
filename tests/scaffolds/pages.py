"""Reads reports/data.html as a person sees it: the tiles of each split with their pictures and marked texts, and the bars."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from PIL import Image

TITLES = {"Training rows": "train", "Evaluation rows": "eval"}


@dataclass
class Shown:
    """A row. texts: of each block, all of its text; marked: the parts that are learned."""

    caption: str = ""
    number: int = -1
    pictures: list[Image.Image] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    marked: list[str] = field(default_factory=list)


class DataPage(HTMLParser):
    """rows: split -> [Shown]; tables: heading -> lines of cells; `text`: all that is written."""

    def __init__(self, project):
        super().__init__()
        self.rows: dict[str, list[Shown]] = {"train": [], "eval": []}
        self.tables: dict[str, list[list[str]]] = {}
        self.text, self.heading, self.within = "", "", []
        self.html = (project.path / "reports/data.html").read_text(encoding="utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "img":
            content = base64.b64decode(given["src"].removeprefix("data:image/jpeg;base64,"))
            self.row.pictures.append(Image.open(io.BytesIO(content)).convert("RGB"))
            return
        self.within.append((tag, given.get("class")))
        if self.within[-1] == ("div", "tile"):
            self.rows[TITLES[self.heading]].append(Shown())
        elif tag == "pre":
            self.row.texts.append("")
        elif tag == "h2":
            self.heading = ""
        elif tag == "tr":
            self.tables.setdefault(self.heading, []).append([])
        elif tag in ("td", "th"):
            self.tables[self.heading][-1].append("")

    def handle_endtag(self, tag):
        while self.within.pop()[0] != tag:
            pass

    def handle_data(self, data):
        tags = [tag for tag, _ in self.within]
        self.text += "" if "style" in tags else data
        if "h2" in tags:
            self.heading += data
        elif "td" in tags or "th" in tags:
            self.tables[self.heading][-1][-1] += data
        elif "pre" in tags:
            self.row.texts[-1] += data
            self.row.marked += [data] if self.within[-1] == ("span", "learned") else []
        elif ("span", "number") in self.within:
            self.row.number = int(data)
        elif ("div", "tile") in self.within and tags[-1] == "p" and data.strip():
            self.row.caption = data.strip()

    @property
    def row(self) -> Shown:
        return self.rows[TITLES[self.heading]][-1]

    def bars(self, heading: str, first: str) -> dict[str, list[int]]:
        """{what a line is of: its numbers} of the table that begins with `first`; nothing counted is 0."""
        lines = self.tables[heading]
        start = next(i for i, line in enumerate(lines) if line[0] == first)
        found = {}
        for line in lines[start + 1 :]:
            if line[1:2] == ["training"]:
                break
            found[line[0]] = [int(re.sub(r"\D", "", cell) or 0) for cell in line[1:]]
        return found


def near(pixel, color, by=60) -> bool:
    return all(abs(one - other) <= by for one, other in zip(pixel, color, strict=True))


def hue(pixel) -> str:
    """Which of red, green and blue a pixel is most."""
    return ("red", "green", "blue")[max(range(3), key=lambda channel: pixel[channel])]
