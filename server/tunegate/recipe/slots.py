"""The recipe's slots: what research must fill, whose word counts, and what happens where nobody says anything.

Two kinds of slot. `api`: names in a library; the signatures installed decide first (check_api proves them), then the
newer library. `method`: how to train; the author's script goes before the card, the generic example and the docs.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from tunegate import tasks
from tunegate.clients.web.page import Page
from tunegate.errors import ToolFailure
from tunegate.recipe.trainings import Training
from tunegate.recipe.values import ALIASES, hyperparameter, is_name, literal, lora_settings, processor_settings

SLOTS: dict[str, Literal["api", "method"]] = {
    "auto_class": "api",
    "processor_class": "api",
    "processor_kwargs": "method",
    "train_transforms": "method",
    "eval_transforms": "method",
    "collator": "method",
    "metrics": "method",
    "hyperparameters": "method",
    "lora": "method",
}
OF_IMAGES = ("processor_class", "processor_kwargs", "train_transforms", "eval_transforms")
ORDER = {"api": (2, 4, 1, 3, 6), "method": (3, 1, 2, 4, 6)}  # priorities, first word first
RULES = {
    "api": "API calls follow the installed signatures, then the newer library (example, docs, card, author, search)",
    "method": "method details follow the author's script, then card, example, docs, search",
}
BY_KEYWORD = ("hyperparameters", "lora", "processor_kwargs")  # each keyword may come from another source
SELDOM = ("processor_kwargs",)  # most models need none, so nothing further is searched for their sake
# Auto classes that transformers 5 no longer has -> what they are called now.
RENAMED_IN_5 = {"AutoModelForVision2Seq": "AutoModelForImageTextToText", "AutoModelWithLMHead": "AutoModelForCausalLM"}
MAX_CONFLICTS = 60
MAX_NOTES = 100


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Origin(_Model):
    """The page that a slot's value was read from."""

    url: str
    sha256: str
    priority: int
    lines: tuple[int, int] | None = None


class Slot(_Model):
    value: JsonValue = Field(None, description="what the source says, as data; null: the scaffold's own choice")
    source: Origin | None = None
    status: Literal["live", "scaffold", "agent"]
    origins: dict[str, str] = Field(default_factory=dict, description="keyword -> URL, one by one")


class RecipeSource(_Model):
    """A page fetched by the tool."""

    url: str
    sha256: str
    time: str
    priority: int = Field(description="1-6 as in rungs.RUNGS; 0: only resolved a revision, or was cited by the agent")
    bytes: int
    via: str | None = Field(
        None, description="loopback base, if a recorded web answered for the host; cache, if a copy stood in for it"
    )
    title: str | None = None
    imports: list[str] = Field(default_factory=list, description="libraries that its code imports")
    requires: dict[str, str] = Field(default_factory=dict, description="library -> the versions that it asks for")
    written_with: dict[str, str] = Field(default_factory=dict, description="library -> the version that its author had")
    transforms_unread: bool = Field(False, description="one of its transforms is not a plain call and was left out")


class Tried(_Model):
    url: str
    priority: int
    reason: str


class Conflict(_Model):
    """Two sources that differ: the value taken, the other, and the rule that decided."""

    slot: str
    chosen: JsonValue
    chosen_url: str
    other: JsonValue
    other_url: str
    rule: str


class RecipeFacts(_Model):
    task: str
    model_id: str
    model_revision: str
    transformers_version: str
    slots: dict[str, Slot]
    sources: list[RecipeSource]
    tried: list[Tried]
    conflicts: list[Conflict]
    notes: list[str]
    trainings: list[Training] = Field(
        default_factory=list,
        description="the hyperparameters of each training that a page states, the best fitting first",
    )
    warnings: list[str] = Field(default_factory=list, description="those of the notes that the user should hear")


class Candidate(NamedTuple):
    slot: str
    value: Any
    origin: Origin
    fits: bool = True  # hyperparameters: of a training of our method


def slots_of(task: str) -> list[str]:
    """The slots that a task's recipe has."""
    absent = () if task in tasks.ADAPTED else ("lora",)
    return [name for name in SLOTS if name not in (*absent, *(() if task in tasks.VISION else OF_IMAGES))]


def fallback_notes(slots: dict[str, Slot]) -> list[str]:
    """A sentence for each slot that falls back to the scaffold. What decides is its status."""
    return [
        f"fallback to scaffold — no live source for {name}" for name, slot in slots.items() if slot.status == "scaffold"
    ]


def fill(
    candidates: list[Candidate], transformers_version: str, wanted: list[str]
) -> tuple[dict[str, Slot], list[Conflict], list[str]]:
    """Candidates -> (every slot, conflicts, notes). What nobody fills falls back to the scaffold."""
    notes: list[str] = []
    candidates = [_current(candidate, transformers_version, notes) for candidate in candidates]
    slots: dict[str, Slot] = {}
    conflicts: list[Conflict] = []
    for name in wanted:
        kind = SLOTS[name]
        ranked = sorted(
            (c for c in candidates if c.slot == name),
            key=lambda c, kind=kind: (not c.fits, ORDER[kind].index(c.origin.priority)),
        )
        if not ranked:
            slots[name] = Slot(status="scaffold")
        elif name in BY_KEYWORD:
            slots[name] = _merged(name, ranked, conflicts)
        else:
            slots[name] = Slot(value=ranked[0].value, source=ranked[0].origin, status="live")
            for other in ranked[1:]:
                if gist(other.value) != gist(ranked[0].value):
                    conflicts.append(
                        _conflict(name, ranked[0].value, ranked[0].origin.url, other.value, other.origin.url)
                    )
    return slots, conflicts[:MAX_CONFLICTS], notes


def _current(candidate: Candidate, version: str, notes: list[str]) -> Candidate:
    """Feature extractors became image processors in transformers 5, and auto classes were renamed: the installed library goes
    before the page."""
    old = candidate.value
    if SLOTS.get(candidate.slot) != "api" or version.startswith(("3.", "4.")):
        return candidate
    extractor = old.endswith("FeatureExtractor")
    new = old.removesuffix("FeatureExtractor") + "ImageProcessor" if extractor else RENAMED_IN_5.get(old, old)
    if new == old:
        return candidate
    notes.append(f"{candidate.origin.url} uses {old}, in transformers {version} {new}: installed signatures go first")
    return candidate._replace(value=new)


def _merged(slot: str, ranked: list[Candidate], conflicts: list[Conflict]) -> Slot:
    """Keyword by keyword, each from the best source that names it; hyperparameters, which belong together, from one alone."""
    value: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for candidate in ranked:
        for keyword, number in candidate.value.items():
            if keyword not in value and slot == "hyperparameters" and candidate is not ranked[0]:
                continue
            if keyword not in value:
                value[keyword], origins[keyword] = number, candidate.origin.url
            elif number != value[keyword]:
                conflicts.append(
                    _conflict(f"{slot}.{keyword}", value[keyword], origins[keyword], number, candidate.origin.url)
                )
    return Slot(value=value, source=ranked[0].origin, status="live", origins=origins)


def _conflict(slot: str, chosen: Any, chosen_url: str, other: Any, other_url: str) -> Conflict:
    return Conflict(
        slot=slot,
        chosen=gist(chosen),
        chosen_url=chosen_url,
        other=gist(other),
        other_url=other_url,
        rule=RULES[SLOTS[slot.split(".")[0]]],
    )


def gist(value: Any) -> Any:
    """What two sources are compared by: of transforms and collators the names."""
    if isinstance(value, list):
        return [item["name"] if isinstance(item, dict) else item for item in value]
    return value["name"] if isinstance(value, dict) and "name" in value else value


# What the agent may fill itself ------------------------------------------------------------------------------------

SLOT_FORMS = {
    "train_transforms": 'a list of transforms such as [{"name": "RandomResizedCrop", "args": [224]}]',
    "eval_transforms": 'a list of transforms such as [{"name": "Resize", "args": [224]}]',
    "collator": "the name of a collator",
    "metrics": 'a list of metric names such as ["accuracy"]',
    "processor_kwargs": 'keywords of an image processor such as {"size": {"height": 512, "width": 512}, "do_reduce_labels": true}',
    "lora": 'LoraConfig keywords such as {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}',
    "hyperparameters": 'TrainingArguments keywords with sane numbers, such as {"learning_rate": 5e-5}',
}


def check_agent_slots(agent_slots: Any, wanted: list[str]) -> dict[str, tuple[Any, str]]:
    """The tool's `slots` argument -> {slot: (clean value, url)}. Raises ToolFailure(invalid_input)."""
    if not isinstance(agent_slots, dict):
        raise ToolFailure(
            "invalid_input", 'slots must be a mapping such as {"collator": {"value": "collate_fn", "url": "https://…"}}'
        )
    clean = {}
    for name, given in agent_slots.items():
        if name not in wanted:
            raise ToolFailure("invalid_input", f"slots names {str(name)[:40]!r}: the slots are {', '.join(wanted)}")
        if not isinstance(given, dict) or set(given) != {"value", "url"} or not isinstance(given["url"], str):
            raise ToolFailure(
                "invalid_input", f'slots.{name} must be {{"value": …, "url": "https://…"}}: cite the page that says so'
            )
        clean[name] = (_agent_value(name, given["value"]), given["url"])
    return clean


def _agent_value(slot: str, value: Any) -> Any:
    """The agent's value in the slot's own form. Raises ToolFailure(invalid_input)."""
    try:
        if slot in ("lora", "processor_kwargs"):
            read = lora_settings if slot == "lora" else processor_settings
            if (clean := read(value)) and len(clean) == len(value):
                return clean
        elif slot == "hyperparameters":
            pairs = [hyperparameter(key, item) for key, item in value.items()]
            if pairs and all(pairs):
                return dict(pairs)
        elif slot.endswith("_transforms"):
            if isinstance(value, list) and 0 < len(value) <= 32:
                return [_agent_step(item) for item in value]
        elif slot == "metrics":
            if isinstance(value, list) and 0 < len(value) <= 8 and all(map(is_name, value)):
                return value
        else:
            name = value["name"] if slot == "collator" and isinstance(value, dict) else value
            if is_name(name):
                return {"name": name, "kind": "function" if name.islower() else "class"} if slot == "collator" else name
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    raise ToolFailure(
        "invalid_input", f"slots.{slot}.value = {str(value)[:80]!r}: give {SLOT_FORMS.get(slot, 'the name of a class')}"
    )


def _agent_step(item: Any) -> dict:
    """Raises ValueError, KeyError or TypeError for anything but a name or {name, args, kwargs, library}."""
    step = {"name": item} if isinstance(item, str) else dict(item)
    if (
        not is_name(step["name"])
        or set(step) - {"name", "args", "kwargs", "library"}
        or not is_name(step.get("library", "torchvision"))
    ):
        raise ValueError("not a transform")
    if not isinstance(step.get("args", []), list) or not isinstance(step.get("kwargs", {}), dict):
        raise ValueError("args is a list, kwargs a mapping")
    return {key: part if key in ("name", "library") else literal(part) for key, part in step.items()}


def not_on_page(slot: str, value: Any, text: str) -> list[str]:
    """Which of a value's identifying names and numbers do not occur in the page that is cited for them."""
    names = set(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", text))
    if slot not in BY_KEYWORD:
        items = value if isinstance(value, list) else [value]
        return [name for name in map(gist, items) if name not in names]
    numbers = {float(n) for n in re.findall(r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", text[:1_000_000]) if len(n) < 25}
    missing = []
    for keyword, item in value.items():
        spellings = {keyword, *(alias for alias, name in ALIASES.items() if name == keyword)}
        if not _said(item, names, numbers) or not spellings & names:
            missing.append(f"{keyword}={item}")
    return missing


def _said(item: Any, names: set[str], numbers: set[float]) -> bool:
    if isinstance(item, dict):
        return set(item) <= names and all(_said(part, names, numbers) for part in item.values())
    if isinstance(item, list):
        return all(_said(part, names, numbers) for part in item)
    if isinstance(item, bool):
        return bool({str(item), str(item).lower()} & names)
    return item in names if isinstance(item, str) else float(item) in numbers


def cite(
    slots: dict[str, Slot],
    conflicts: list[Conflict],
    notes: list[str],
    name: str,
    value: Any,
    page: Page,
    priority: int,
) -> None:
    """Put the agent's value into its slot, if the page that it cites says so. Raises ToolFailure(invalid_input)."""
    if missing := not_on_page(name, value, page.text):
        raise ToolFailure(
            "invalid_input",
            f"slots.{name}: {', '.join(missing[:5])} does not occur in {page.url}: "
            "cite the page that names it, or leave the slot to the scaffold",
        )
    before = slots[name]
    if before.status == "live" and gist(before.value) != gist(value):
        conflicts.append(
            Conflict(
                slot=name,
                chosen=gist(value),
                chosen_url=page.url,
                other=gist(before.value),
                other_url=before.source.url if before.source else "",
                rule="filled by the agent, who cites the page",
            )
        )
    slots[name] = Slot(value=value, source=Origin(url=page.url, sha256=page.sha256, priority=priority), status="agent")
    notes.append(f"{name} was filled by the agent, citing {page.url}")


def gate_problems(facts: RecipeFacts) -> list[str]:
    """Which slot has neither a URL that the tool fetched nor a logged fallback; empty when gate 3 holds."""
    fetched = {(source.url, source.sha256) for source in facts.sources}
    problems = []
    for name in slots_of(facts.task):
        slot = facts.slots.get(name)
        if slot is None:
            problems.append(f"{name}: not researched")
        elif slot.status == "scaffold":
            if slot.value is not None or slot.source is not None:
                problems.append(f"{name}: falls back to the scaffold, yet has a value or a page of its own")
        elif slot.value is None or slot.source is None or (slot.source.url, slot.source.sha256) not in fetched:
            problems.append(f"{name}: no page that fetch_recipe fetched stands behind it")
    return problems
