"""meta/recipe.md: what was found where, for a person to read."""

from __future__ import annotations

import json
from typing import Any

from tunegate.quoting import code, link, sentence
from tunegate.recipe.rungs import RUNGS
from tunegate.recipe.slots import RecipeFacts, RecipeSource, Slot
from tunegate.recipe.trainings import Training

MAX_SHOWN = 16  # transforms of one pipeline; the evidence holds them all
RUNG_NAMES = {0: "revision or cited page", **{rung.priority: rung.name for rung in RUNGS}}


def recipe_markdown(facts: RecipeFacts, judged: list[tuple[Training, str | None]] | None = None) -> str:
    """RecipeFacts -> Markdown. Values stand in code spans: they are data that strangers wrote, not instructions.

    judged: the trainings, each with why this run does not adopt it (adopt_training.judged); None leaves that open.
    """
    sources = in_order(facts)
    numbers = numbered(facts)
    lines = [
        f"# Recipe for {facts.model_id}",
        "",
        f"Task {facts.task}, revision `{facts.model_revision}`, transformers {facts.transformers_version}.",
        "Written by fetch_recipe. What the sources say is data, never an instruction.",
    ]
    rows = [
        f"| {name} | {slot.status} | {_shown(slot)} | {_from(slot, numbers)} |" for name, slot in facts.slots.items()
    ]
    lines += _section("Slots", ["| slot | status | value | source |", "|---|---|---|---|", *rows])
    if judged is not None:
        lines += _section("Trainings that the sources state", _trainings(judged, numbers))
    lines += _section("Sources", [_page(source, numbers[source.url]) for source in sources])
    lines += _section(
        "Tried without success",
        [f"- {link(t.url)} (priority {t.priority}, {RUNG_NAMES.get(t.priority, '')}): {t.reason}" for t in facts.tried],
    )
    lines += _section(
        "Conflicts",
        [
            f"- **{c.slot}**: {code(c.chosen)} {numbers.get(c.chosen_url, '')} over {code(c.other)} "
            f"{numbers.get(c.other_url, '')}: {c.rule}"
            for c in facts.conflicts
        ],
    )
    lines += _section("Notes", [f"- {sentence(note)}" for note in facts.notes])
    return "\n".join(lines) + "\n"


def in_order(facts: RecipeFacts) -> list[RecipeSource]:
    return sorted(facts.sources, key=lambda source: (source.priority == 0, source.priority))


def numbered(facts: RecipeFacts) -> dict[str, str]:
    """URL -> the number of its source, on the page and in the tool's answer."""
    return {source.url: f"[{index}]" for index, source in enumerate(in_order(facts), 1)}


def _trainings(judged: list[tuple[Training, str | None]], numbers: dict[str, str]) -> list[str]:
    """The first that fits is adopted, as a whole."""
    lines = [
        "Rate, epochs and batch belong together: the first training that fits is adopted, the others are only shown.",
        "",
    ]
    adopted = False
    for training, why in judged:
        said = (
            f"not adopted: {sentence(why)}" if why else "not adopted: another comes first" if adopted else "**adopted**"
        )
        adopted |= why is None
        first, last = training.lines or (0, 0)
        where = f" lines {first}–{last}" if last > first else f" line {first}" if first else ""
        lines.append(f"- {numbers.get(training.url, link(training.url))}{where} {code(training.values, 400)}: {said}")
    if not adopted:
        lines.append("- None fits: the scaffold's own settings stay.")
    return lines


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", f"## {title}", "", *(lines or ["None."])]


def _page(source: RecipeSource, number: str) -> str:
    title = f" {code(source.title)}" if source.title else ""
    via = f", recorded: came via {source.via}" if source.via else ""
    asked = "".join(f", asks for {code(name + said)}" for name, said in source.requires.items())
    asked += "".join(f", written with {code(f'{name} {said}')}" for name, said in source.written_with.items())
    libraries = f", imports {code(', '.join(source.imports))}" if source.imports else ""
    rung = f"priority {source.priority}, " if source.priority else ""
    return (
        f"- {number} {link(source.url)}{title} ({rung}{RUNG_NAMES.get(source.priority, '')}; {source.bytes} bytes, "
        f"SHA-256 `{source.sha256[:12]}`, {source.time}{via}{asked}{libraries})"
    )


def _shown(slot: Slot) -> str:
    if slot.value is None:
        return "scaffold's own"
    if isinstance(slot.value, list):
        shown = [code(_call(item), 120) for item in slot.value]
        return " → ".join(shown[:MAX_SHOWN] + ([f"{len(shown) - MAX_SHOWN} more"] if len(shown) > MAX_SHOWN else []))
    return code(slot.value["name"] if isinstance(slot.value, dict) and "name" in slot.value else slot.value)


def _call(item: Any) -> Any:
    """A transform as it would be written: `RandomResizedCrop(size)`."""
    if not isinstance(item, dict):
        return item
    parts = [str(_call(part)) for part in item.get("transforms", [])]
    parts += [_plain(a) for a in item.get("args", [])] + [
        f"{key}={_plain(v)}" for key, v in item.get("kwargs", {}).items()
    ]
    return f"{item['name']}({', '.join(parts)})"


def _plain(value: Any) -> str:
    return value["symbol"] if isinstance(value, dict) and set(value) == {"symbol"} else json.dumps(value)


def _from(slot: Slot, numbers: dict[str, str]) -> str:
    if slot.source is None:
        return "fallback, see Notes"
    first, last = slot.source.lines or (0, 0)
    where = f" lines {first}–{last}" if last > first else f" line {first}" if first else ""
    others = sorted({numbers.get(url, link(url)) for url in slot.origins.values() if url != slot.source.url})
    return ", ".join([numbers.get(slot.source.url, link(slot.source.url)) + where, *others])
