"""The six priorities of research, as a table, and walking them.

What sources say is data. A page can fill a slot with a name or a number (values.py) and can do nothing else: no text of
it is followed, run or copied. A source that cannot be had is recorded as tried, with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from tunegate.clients.web.page import CACHED, Page, Web, WebError
from tunegate.errors import ToolFailure
from tunegate.recipe import needs, renames
from tunegate.recipe.card import Card, extract_card
from tunegate.recipe.extract import extract_markdown, extract_script
from tunegate.recipe.links import MAX_PATH, RAW, by_name, of_training, paper_ids, plain_url, relative_scripts, scripts
from tunegate.recipe.pyfacts import Extraction
from tunegate.recipe.slots import (
    MAX_NOTES,
    ORDER,
    SELDOM,
    Candidate,
    Origin,
    RecipeFacts,
    Source,
    Tried,
    check_agent_slots,
    cite,
    fallback_notes,
    fill,
    slots_of,
)
from tunegate.recipe.trainings import Training, in_order, other_method
from tunegate.tasks import TASKS, VARIANTS, variant
from tunegate.tasks.spec import RecipeSources

OF_FINE_TUNING = ("hyperparameters", "train_transforms")  # what a training from scratch does much more strongly
MAX_SCRIPTS = 3  # of an author's links, and of a search's results
MAX_FOLDERS = 2
MAX_TRAININGS = 40  # of one recipe
RATES = ("hyperparameters", "lora")  # what no stranger's page may set
ADAPTING = ("lora", "qlora", "dpo", "grpo")  # methods that train a LoRA adapter
_SHA = re.compile(r"[0-9a-f]{40}")
COMMITS = "https://api.github.com/repos/{repo}/commits/main"


@dataclass
class _Walk:
    """One walk: what was asked for, and what came of it so far."""

    web: Web
    task: str
    method: str | None
    model_id: str
    model_revision: str
    hub: str
    versions: dict[str, str]
    model_type: str | None
    links: list[str]
    card: Card | None = None
    pages: dict[str, tuple[Page, int]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    tried: list[Tried] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    trainings: list[Training] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what the user should hear
    asides: list[str] = field(default_factory=list)  # what only the record needs
    read: dict[str, Extraction] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)

    @property
    def sources(self) -> RecipeSources:
        return VARIANTS[variant(self.task, self.method)].sources

    @property
    def head(self) -> tuple[str, ...]:
        return TASKS[self.task].heads

    @property
    def adapted(self) -> bool:
        return self.method in ADAPTING

    @property
    def version(self) -> str:
        return self.versions["transformers"]

    def fetch(self, url: str, priority: int) -> Page | None:
        """The page, or None after recording why not. A host that did not answer once is not asked again."""
        if url in self.pages:
            return self.pages[url][0]
        host = urlsplit(url).netloc
        page = self.web.recall(url) if host in self.down else None
        if host in self.down and page is None:
            self.miss(url, priority, f"not asked: {host} did not answer before")
            return None
        try:
            page = page or self.web.get(url)
        except WebError as error:
            self.down |= {host} if error.unreachable else set()
            self.miss(url, priority, error.reason)
            return None
        self.pages[url] = (page, priority)
        return page

    def miss(self, url: str, priority: int, reason: str) -> None:
        self.tried.append(Tried(url=url[:500], priority=priority, reason=reason[:300]))

    def take(self, page: Page, priority: int, found: Extraction) -> None:
        """Turn what a page says into candidates, and what it could not say into notes."""
        self.read[page.url] = found
        source = {"url": page.url, "priority": priority}
        stated = in_order([t.model_copy(update=source) for t in found.trainings], self.method, ORDER["method"])
        self.trainings += stated
        for finding in found.findings.values():
            if priority == 6 and finding.slot in RATES:
                self.asides.append(f"{page.url} is a stranger's page: its {finding.slot} were not taken")
                continue
            if finding.slot in OF_FINE_TUNING and priority in (3, 6) and not found.finetunes:
                self.notes.append(
                    f"{page.url} is not seen to start from pretrained weights: its {finding.slot} were not taken"
                )
                continue
            fits = True
            if finding.slot == "hyperparameters" and stated:
                finding = finding._replace(value=stated[0].values, lines=stated[0].lines)
                fits = other_method(stated[0], self.method) is None
            origin = Origin(url=page.url, sha256=page.sha256, priority=priority, lines=finding.lines)
            self.candidates.append(Candidate(finding.slot, finding.value, origin, fits))
        self.asides += [f"{page.url}: {problem}" for problem in found.problems[:10]]
        if found.outdated and self.version.split(".")[0] not in ("3", "4"):
            rows = [renames.find(name, *renames.OF_TRAINER) for name in sorted(found.outdated)]
            old = "; ".join(f"{row.old}, since {row.since}: {renames.advice(row)}" for row in rows)
            self.notes.append(f"{page.url} passes what is renamed or gone (installed signatures go first): {old}")
        if gap := needs.note(found.requires, found.written_with, self.versions):
            self.notes.append(f"{page.url} {gap}: installed signatures go first")

    def papers(self) -> list[str]:
        """arXiv ids that the card, its tags or the given links name."""
        return list(dict.fromkeys([*(self.card.papers if self.card else []), *paper_ids(self.links)]))

    def complete(self) -> bool:
        return {candidate.slot for candidate in self.candidates} >= set(slots_of(self.task)) - {*SELDOM}


def _own(walk: _Walk, path: str = "") -> str:
    """A file of the model's own repository, at the revision of this run."""
    return f"{walk.hub}/{walk.model_id}/resolve/{quote(walk.model_revision, safe='')}/{path}"


def _card(walk: _Walk) -> None:
    if page := walk.fetch(_own(walk, "README.md"), 1):
        walk.card = extract_card(page.text, walk.head, walk.adapted)
        inside = relative_scripts(page.text, _own(walk))
        walk.card.scripts = walk.card.scripts._replace(files=by_name([*inside, *walk.card.scripts.files]))
        walk.take(page, 1, walk.card.extraction)


def _library(walk: _Walk, path: str, priority: int) -> Page | None:
    return walk.fetch(f"{RAW}{walk.sources.repo}/{_revision(walk)}/{path}", priority)


def _revision(walk: _Walk) -> str:
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


def _sha(walk: _Walk, commits: str) -> str | None:
    try:
        sha = json.loads(walk.pages[commits][0].text)["sha"]
        return sha if _SHA.fullmatch(sha) else None
    except (KeyError, ValueError, TypeError, RecursionError):
        return None


def _example(walk: _Walk) -> None:
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


def _author(walk: _Walk) -> None:
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


def _own_scripts(walk: _Walk) -> list[str]:
    """Scripts named after training in the model's own repository, which its card may not link."""
    page = walk.fetch(f"{walk.hub}/api/models/{walk.model_id}/revision/{quote(walk.model_revision, safe='')}", 3)
    try:
        names = [item["rfilename"] for item in json.loads(page.text)["siblings"]] if page else []
        return by_name([plain_url(_own(walk), name) for name in names if of_training(name) and len(name) <= MAX_PATH])
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return []


def _docs(walk: _Walk) -> None:
    for path in walk.sources.docs:
        if page := _library(walk, path, 4):
            walk.take(page, 4, extract_markdown(page.text, walk.head, walk.adapted))


def _paper(walk: _Walk) -> None:
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


def _search(walk: _Walk) -> None:
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


def _scripts(text: str, walk: _Walk) -> list[str]:
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
    walk: Callable[[_Walk], None]


RUNGS = (
    Rung(1, "model card", True, _card),
    Rung(2, "example script", True, _example),
    Rung(3, "author's script linked from the card", True, _author),  # always: on method details it outranks the example
    Rung(4, "task docs", True, _docs),
    Rung(5, "paper", False, _paper),
    Rung(6, "search", False, _search),
)


def _climb(walk: _Walk) -> None:
    for rung in RUNGS:
        if rung.always or not walk.complete():
            rung.walk(walk)
        else:
            walk.asides.append(f"priority {rung.priority} ({rung.name}) was not needed: every slot has a live source")
    if papers := walk.papers():
        walk.asides.append(
            f"papers that the card names: {', '.join('https://arxiv.org/abs/' + paper for paper in papers[:3])}"
        )


def research(
    web: Web,
    *,
    task: str,
    model_id: str,
    model_revision: str,
    hub_endpoint: str,
    versions: dict[str, str],
    method: str | None = None,
    card_links: list[str] | None = None,
    model_type: str | None = None,
    agent_slots: dict[str, Any] | None = None,
) -> RecipeFacts:
    """Walk the six priorities for one model and fill the recipe's slots.

    `versions` are those that this run pins, of transformers and trl at least.
    `card_links` are links and tags beyond the card's own text (the Hub's `arxiv:` tags, for one). `agent_slots` is
    {slot: {"value", "url"}}. Raises ToolFailure(out_of_scope | invalid_input); an unreachable source is no error.
    """
    if task not in TASKS:
        raise ToolFailure("out_of_scope", f"task = {task!r} has no recipe sources yet: {', '.join(TASKS)}")
    given = check_agent_slots(agent_slots, slots_of(task)) if agent_slots else {}
    walk = _Walk(
        web,
        task,
        method,
        model_id,
        model_revision,
        hub_endpoint.rstrip("/"),
        versions,
        model_type,
        list(card_links or []),
    )
    _climb(walk)
    slots, conflicts, notes = fill(walk.candidates, walk.version, slots_of(task))
    for name, (value, url) in given.items():
        page, priority = _cited(walk, name, url)
        cite(slots, conflicts, notes, name, value, page, priority)
        if name == "hyperparameters":
            walk.trainings = [_cited_training(walk, value, page, priority)]
    warnings = [note for note in [*notes, _replayed(walk), *walk.notes] if note]
    return RecipeFacts(
        task=task,
        model_id=model_id,
        model_revision=model_revision,
        transformers_version=walk.version,
        slots=slots,
        sources=[_source(walk, page, priority) for page, priority in walk.pages.values()],
        tried=walk.tried,
        conflicts=conflicts,
        trainings=in_order(walk.trainings, walk.method, ORDER["method"])[:MAX_TRAININGS],
        notes=list(dict.fromkeys([*fallback_notes(slots), *warnings, *walk.asides]))[:MAX_NOTES],
        warnings=list(dict.fromkeys(warnings))[:MAX_NOTES],
    )


def _replayed(walk: _Walk) -> str:
    """Says so when copies stood in for hosts that do not answer."""
    copies = [page for page, _ in walk.pages.values() if page.via == CACHED]
    hosts = sorted({urlsplit(page.url).netloc for page in copies})
    since = min((page.fetched_at for page in copies), default="")
    return f"{', '.join(hosts)} did not answer: {len(copies)} pages are copies, the oldest of {since}" if copies else ""


def _cited(walk: _Walk, name: str, url: str) -> tuple[Page, int]:
    if url in walk.pages:
        return walk.pages[url]
    try:
        walk.pages[url] = (walk.web.get(url), 0)
    except WebError as error:
        raise ToolFailure(
            "invalid_input",
            f"slots.{name}.url = {url[:200]!r} cannot be fetched ({error.reason}): cite a page that can, "
            "such as one of the sources in meta/recipe.md",
        ) from None
    return walk.pages[url]


def _cited_training(walk: _Walk, value: dict[str, Any], page: Page, priority: int) -> Training:
    """The page's own training that has these values; else these alone, of which the page does not say what they trained."""
    for training in walk.trainings:
        if training.url == page.url and value.items() <= training.values.items():
            return training
    return Training(values=value, url=page.url, priority=priority)


def _source(walk: _Walk, page: Page, priority: int) -> Source:
    found = walk.read.get(page.url, Extraction())
    return Source(
        url=page.url,
        sha256=page.sha256,
        time=page.fetched_at,
        priority=priority,
        bytes=page.size,
        via=page.via,
        title=walk.titles.get(page.url) or None,
        imports=found.imports,
        requires=found.requires,
        written_with=found.written_with,
        transforms_unread=found.transforms_unread,
    )
