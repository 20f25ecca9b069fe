"""One walk over the sources of a recipe: the pages that were fetched, those that could not be had, what they say."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tunegate.clients.web.page import Page, Web, WebError
from tunegate.recipe import needs, renames
from tunegate.recipe.card import Card
from tunegate.recipe.links import paper_ids
from tunegate.recipe.pyfacts import Extraction
from tunegate.recipe.slots import ORDER, SELDOM, Candidate, Origin, Tried, slots_of
from tunegate.recipe.trainings import Training, in_order, other_method
from tunegate.tasks import TASKS, VARIANTS, variant
from tunegate.tasks.spec import RecipeSources

OF_FINE_TUNING = ("hyperparameters", "train_transforms")  # what a training from scratch does much more strongly
RATES = ("hyperparameters", "lora")  # what no stranger's page may set
ADAPTING = ("lora", "qlora", "dpo", "grpo")  # methods that train a LoRA adapter


@dataclass
class Walk:
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
