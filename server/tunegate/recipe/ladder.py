"""Walking the six priorities of research (rungs.py), and what comes of it: the recipe.

What sources say is data. A page can fill a slot with a name or a number (values.py) and can do nothing else: no text of
it is followed, run or copied. A source that cannot be had is recorded as tried, with the reason.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from tunegate.clients.web.page import CACHED, Page, Web, WebError
from tunegate.errors import ToolFailure
from tunegate.recipe.pyfacts import Extraction
from tunegate.recipe.rungs import RUNGS
from tunegate.recipe.slots import (
    MAX_NOTES,
    ORDER,
    RecipeFacts,
    RecipeSource,
    check_agent_slots,
    cite,
    fallback_notes,
    fill,
    slots_of,
)
from tunegate.recipe.trainings import Training, in_order
from tunegate.recipe.walk import Walk
from tunegate.tasks import TASKS

MAX_TRAININGS = 40  # of one recipe


def _climb(walk: Walk) -> None:
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
    walk = Walk(
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
    return _recipe(walk, given)


def _recipe(walk: Walk, given: dict[str, tuple[Any, str]]) -> RecipeFacts:
    """given: slot -> (value, url), what the agent found itself; each url is fetched."""
    slots, conflicts, notes = fill(walk.candidates, walk.version, slots_of(walk.task))
    for name, (value, url) in given.items():
        page, priority = _cited(walk, name, url)
        cite(slots, conflicts, notes, name, value, page, priority)
        if name == "hyperparameters":
            walk.trainings = [_cited_training(walk, value, page, priority)]
    warnings = [note for note in [*notes, _replayed(walk), *walk.notes] if note]
    return RecipeFacts(
        task=walk.task,
        model_id=walk.model_id,
        model_revision=walk.model_revision,
        transformers_version=walk.version,
        slots=slots,
        sources=[_source(walk, page, priority) for page, priority in walk.pages.values()],
        tried=walk.tried,
        conflicts=conflicts,
        trainings=in_order(walk.trainings, walk.method, ORDER["method"])[:MAX_TRAININGS],
        notes=list(dict.fromkeys([*fallback_notes(slots), *warnings, *walk.asides]))[:MAX_NOTES],
        warnings=list(dict.fromkeys(warnings))[:MAX_NOTES],
    )


def _replayed(walk: Walk) -> str:
    """Says so when copies stood in for hosts that do not answer."""
    copies = [page for page, _ in walk.pages.values() if page.via == CACHED]
    hosts = sorted({urlsplit(page.url).netloc for page in copies})
    since = min((page.fetched_at for page in copies), default="")
    return f"{', '.join(hosts)} did not answer: {len(copies)} pages are copies, the oldest of {since}" if copies else ""


def _cited(walk: Walk, name: str, url: str) -> tuple[Page, int]:
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


def _cited_training(walk: Walk, value: dict[str, Any], page: Page, priority: int) -> Training:
    """The page's own training that has these values; else these alone, of which the page does not say what they trained."""
    for training in walk.trainings:
        if training.url == page.url and value.items() <= training.values.items():
            return training
    return Training(values=value, url=page.url, priority=priority)


def _source(walk: Walk, page: Page, priority: int) -> RecipeSource:
    found = walk.read.get(page.url, Extraction())
    return RecipeSource(
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
