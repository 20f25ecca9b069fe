"""The six priorities of research, as a table: which pages each of them reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

from tunegate.clients.web.page import Page
from tunegate.recipe.card import extract_card
from tunegate.recipe.extract import extract_markdown, extract_script
from tunegate.recipe.links import MAX_PATH, RAW, by_name, of_training, plain_url, relative_scripts, scripts
from tunegate.recipe.walk import Walk

MAX_SCRIPTS = 3  # of an author's links, and of a search's results
MAX_FOLDERS = 2
COMMITS = "https://api.github.com/repos/{repo}/commits/main"
_SHA = re.compile(r"[0-9a-f]{40}")


def _own(walk: Walk, path: str = "") -> str:
    """A file of the model's own repository, at the revision of this run."""
    return f"{walk.hub}/{walk.model_id}/resolve/{quote(walk.model_revision, safe='')}/{path}"


def _card(walk: Walk) -> None:
    if page := walk.fetch(_own(walk, "README.md"), 1):
        walk.card = extract_card(page.text, walk.head, walk.adapted)
        inside = relative_scripts(page.text, _own(walk))
        walk.card.scripts = walk.card.scripts._replace(files=by_name([*inside, *walk.card.scripts.files]))
        walk.take(page, 1, walk.card.extraction)


def _library(walk: Walk, path: str, priority: int) -> Page | None:
    return walk.fetch(f"{RAW}{walk.sources.repo}/{_revision(walk)}/{path}", priority)


def _revision(walk: Walk) -> str:
    """main's SHA, else the tag of the version that this run pins."""
    repo = walk.sources.repo
    name, commits = repo.split("/")[1], COMMITS.format(repo=repo)
    if commits not in walk.pages and not any(tried.url == commits for tried in walk.tried):
        walk.fetch(commits, 0)
        if (sha := _sha(walk, commits)) is None:
            walk.notes.append(
                f"{name}'s main could not be resolved to a commit: the tag v{walk.versions[name]} stands in"
            )
        else:
            walk.asides.append(f"{name}'s main is {sha}")
    return _sha(walk, commits) or f"v{walk.versions[name]}"


def _sha(walk: Walk, commits: str) -> str | None:
    try:
        sha = json.loads(walk.pages[commits][0].text)["sha"]
        return sha if _SHA.fullmatch(sha) else None
    except (KeyError, ValueError, TypeError, RecursionError):
        return None


def _example(walk: Walk) -> None:
    if not walk.sources.examples:
        walk.asides.append(f"{walk.sources.repo} has no example script for {walk.task}")
    for path in walk.sources.examples:
        if page := _library(walk, path, 2):
            head = walk.head
            walk.take(
                page,
                2,
                extract_markdown(page.text, head, walk.adapted)
                if path.endswith(".md")
                else extract_script(page.url, page.text, head, walk.adapted),
            )


def _author(walk: Walk) -> None:
    """The scripts and notebooks that the card links, those in the folders that it links, else the repository's own."""
    given = scripts(walk.links)
    files = [*(walk.card.scripts.files if walk.card else []), *given.files]
    folders = [*(walk.card.scripts.folders if walk.card else []), *given.folders]
    for link, why in (walk.card.scripts.apart if walk.card else []) + given.apart:
        walk.miss(link, 3, why)
    for folder in folders[:MAX_FOLDERS] if len(files) < MAX_SCRIPTS else []:
        if page := walk.fetch(folder, 3):
            files += _listed(page.text)
    files = by_name(files) or _own_scripts(walk)
    if not files:
        walk.asides.append("the card links no author's script, and the repository holds none (.py or .ipynb)")
    for url in files[:MAX_SCRIPTS]:
        if page := walk.fetch(url, 3):
            walk.take(page, 3, extract_script(url, page.text, walk.head, walk.adapted))
    if len(files) > MAX_SCRIPTS:
        walk.asides.append(
            f"the author has {len(files)} scripts; {MAX_SCRIPTS} were read, those named after training first"
        )


def _listed(text: str) -> list[str]:
    """GitHub's listing of a folder -> the raw URLs of its scripts that are named after training."""
    try:
        urls = [
            item["download_url"] for item in json.loads(text) if item["type"] == "file" and of_training(item["name"])
        ]
        return [url for url in urls if url.startswith(RAW)]
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return []


def _own_scripts(walk: Walk) -> list[str]:
    """Scripts named after training in the model's own repository, which its card may not link."""
    page = walk.fetch(f"{walk.hub}/api/models/{walk.model_id}/revision/{quote(walk.model_revision, safe='')}", 3)
    try:
        names = [item["rfilename"] for item in json.loads(page.text)["siblings"]] if page else []
        return by_name([plain_url(_own(walk), name) for name in names if of_training(name) and len(name) <= MAX_PATH])
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return []


def _docs(walk: Walk) -> None:
    for path in walk.sources.docs:
        if page := _library(walk, path, 4):
            walk.take(page, 4, extract_markdown(page.text, walk.head, walk.adapted))


def _paper(walk: Walk) -> None:
    """Recorded only: no slot is read out of an abstract."""
    papers = walk.papers()
    if not papers:
        walk.asides.append("the card names no arXiv paper")
    for paper in papers[:2]:
        if page := walk.fetch(f"https://arxiv.org/abs/{paper}", 5):
            walk.titles[page.url] = _title(page.text)


def _title(html: str) -> str:
    from bs4 import BeautifulSoup

    try:
        soup = BeautifulSoup(html[:200_000], "html.parser")
        tag = soup.find("meta", attrs={"name": "citation_title"})
        text = str(tag.get("content", "")) if tag else soup.title.get_text() if soup.title else ""
    except (RecursionError, ValueError, AssertionError):
        text = ""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:200]


def _search(walk: Walk) -> None:
    """Models of the same task and type on the Hub that carry a training script."""
    url = f"{walk.hub}/api/models?pipeline_tag={walk.task}&sort=downloads&limit=10&full=true"
    url += f"&filter={quote(walk.model_type, safe='')}" if walk.model_type else ""
    if not (page := walk.fetch(url, 6)):
        return
    scripts = _scripts(page.text, walk)
    if not scripts:
        walk.miss(url, 6, "no model of this task and type carries a training script")
    for script in scripts[:MAX_SCRIPTS]:
        if found := walk.fetch(script, 6):
            walk.take(found, 6, extract_script(script, found.text, walk.head, walk.adapted))


def _scripts(text: str, walk: Walk) -> list[str]:
    try:
        models = json.loads(text)
        files = [
            (m["id"], m.get("sha") or "main", s["rfilename"])
            for m in models
            for s in m.get("siblings") or []
            if m["id"] != walk.model_id
        ]
        return [
            plain_url(f"{walk.hub}/", f"{repo}/resolve/{sha}/{name}")
            for repo, sha, name in files
            if of_training(name) and len(repo + sha + name) <= MAX_PATH
        ]
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return []


class Rung(NamedTuple):
    priority: int
    name: str
    always: bool  # fetched even when every slot is filled already
    walk: Callable[[Walk], None]


RUNGS = (
    Rung(1, "model card", True, _card),
    Rung(2, "example script", True, _example),
    Rung(3, "author's script linked from the card", True, _author),  # always: on method details it outranks the example
    Rung(4, "task docs", True, _docs),
    Rung(5, "paper", False, _paper),
    Rung(6, "search", False, _search),
)
