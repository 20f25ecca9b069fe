"""A model card: its metadata, its tables and lists of hyperparameters, its code, and where it points.

Front matter is read by YAML, code by its syntax tree, commands by shlex. Of prose only links, versions of libraries and
hyperparameters in a list or table count; and words on the method, by which a list or table is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from tunegate.plain_yaml import PlainLoader
from tunegate.recipe import needs
from tunegate.recipe.extract import SCRIPT_OBJECTIVES, extract_markdown, outside_fences
from tunegate.recipe.links import Scripts, links, paper_ids, scripts
from tunegate.recipe.pyfacts import Extraction, Head, SlotFinding
from tunegate.recipe.pytrainings import a_form_of_adamw
from tunegate.recipe.trainings import Adapter, Objective, Start, Training
from tunegate.recipe.values import hyperparameter, is_name, known, lora_settings, number

MAX_FRONT_MATTER = 64 * 1024  # characters; also bounds what the YAML parser may be given
MAX_LINE = 2000  # characters; a longer line is no row of a table that people wrote
MAX_PROSE = 1_000_000  # characters that are searched for a word on the method
CARD_OBJECTIVES: dict[str, Objective] = {"sft": "supervised", **SCRIPT_OBJECTIVES}
_OTHER_OBJECTIVE = re.compile(r"\b(?:dpo|grpo|orpo|kto|ppo|rloo|rlhf|reward|rewards)\b", re.I)
_ADAPTED = re.compile(r"\bq?lora\b|\bpeft\b", re.I)
_QUANTIZED = re.compile(r"\bqlora\b|\bload_in_[48]bit\b|\bbitsandbytes\b|\bBitsAndBytesConfig\b|\b[48]-bit\b", re.I)
# What people call it in a table -> the keyword.
SPOKEN_KEYWORDS = {
    "batch": "batch_size",
    "initial_learning_rate": "learning_rate",
    "peak_learning_rate": "learning_rate",
    "number_of_epochs": "num_train_epochs",
    "training_epochs": "num_train_epochs",
    "warmup": "warmup_steps",
    "lr_scheduler": "lr_scheduler_type",
    "learning_rate_scheduler": "lr_scheduler_type",
    "scheduler": "lr_scheduler_type",
    "optimizer": "optim",
    "gradient_accumulation": "gradient_accumulation_steps",
    "gradient_clipping": "max_grad_norm",
    "max_sequence_length": "max_length",
    "lora_rank": "lora_r",
    "rank": "lora_r",
    "alpha": "lora_alpha",
    "lora_target_modules": "target_modules",
}


@dataclass
class Card:
    """What a card says."""

    extraction: Extraction
    tags: list[str] = field(default_factory=list)
    scripts: Scripts = field(default_factory=lambda: Scripts([], [], []))
    papers: list[str] = field(default_factory=list)  # arXiv ids


def extract_card(text: str, head: Head, adapted: bool = False) -> Card:
    found = extract_markdown(text, head, adapted)
    metadata, problem = front_matter(text)
    if problem:
        found.problems.append(problem)
    found.add("metrics", _metrics(metadata), None)
    prose = outside_fences(text)
    records = [record for pairs in (trainer_list(prose), *tables(prose)) if (record := _record(pairs, text, metadata))]
    own = records[:1] if trainer_list(prose) else []  # Trainer's own record is more exact than an example command
    found.trainings = [*own, *found.trainings, *records[len(own) :]]
    found.finetunes |= any(training.start != "scratch" for training in records)
    found.settle(adapted)
    if own:
        found.findings["hyperparameters"] = SlotFinding("hyperparameters", own[0].values, own[0].lines)
    for pairs in (trainer_list(prose), *tables(prose)):
        values, where = _read(pairs)
        found.add("lora", lora_settings(values), where)
    _versions(prose, found)
    tags = metadata.get("tags")
    tags = [tag for tag in tags if isinstance(tag, str) and len(tag) <= 80][:100] if isinstance(tags, list) else []
    urls = links(text)
    return Card(found, tags, scripts(urls), paper_ids([*tags, *urls]))


def front_matter(text: str) -> tuple[dict[str, Any], str]:
    """(metadata, "") or ({}, why it could not be read). A card without front matter is no problem: ({}, "")."""
    lines = text[:MAX_FRONT_MATTER].removeprefix("\ufeff").splitlines()
    if not lines or lines[0].strip() != "---":
        return {}, ""
    end = next((i for i, line in enumerate(lines[1:], 1) if line.strip() == "---"), None)
    if end is None:
        return {}, f"front matter is not closed within {MAX_FRONT_MATTER // 1024} kB"
    try:
        data = yaml.load("\n".join(lines[1:end]), Loader=PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}, "front matter is not valid YAML"
    return (data, "") if isinstance(data, dict) else ({}, "front matter is not a mapping")


def _metrics(metadata: dict[str, Any]) -> list[str]:
    """`metrics:`, else the types of metric that the results under `model-index:` give."""
    named = metadata.get("metrics")
    named = named if isinstance(named, list) else []
    try:
        results = [result for model in metadata.get("model-index") or [] for result in model.get("results") or []]
        named = named or [metric.get("type") for result in results for metric in result.get("metrics") or []]
    except (TypeError, AttributeError):
        pass
    return list(dict.fromkeys(name for name in named if is_name(name) and name != "loss"))[:8]


Pairs = list[tuple[int, str, str]]  # line, name, value: as written


def trainer_list(lines: list[tuple[int, str]]) -> Pairs:
    """The `- name: value` list that Trainer writes under "Training hyperparameters" into a card."""
    pairs: Pairs = []
    under = False
    for index, line in lines:
        if line.startswith("#"):
            if under and pairs:  # a second list is of a second training
                break
            under = line.strip("# ").lower() == "training hyperparameters"
        elif under and line.startswith(("- ", "* ")):
            name, _, value = line[2:].partition(":")
            pairs.append((index, name.strip(), value.strip()))
    return pairs


def tables(lines: list[tuple[int, str]]) -> list[Pairs]:
    """Tables of `| learning rate | 5e-5 |` rows, and those with names for a header and one row of values; each by itself."""
    found: list[Pairs] = []
    for rows in _tables(lines):
        (first, header), *body = rows
        across = len(header) > 2 and len(body) == 1 and len(body[0][1]) == len(header)
        pairs = [(body[0][0], *pair) for pair in zip(header, body[0][1], strict=True)] if across else []
        found.append(pairs or [(index, cells[0], cells[1]) for index, cells in rows if len(cells) == 2])
    return [pairs for pairs in found if pairs]


def _read(pairs: Pairs) -> tuple[dict[str, Any], tuple[int, int] | None]:
    """(settings by the names that they were written under, their lines); the first of a name counts."""
    values: dict[str, Any] = {}
    where = [index for index, name, value in pairs if _taken(values, name, value)]
    return values, (where[0], where[-1]) if where else None


def _record(pairs: Pairs, text: str, metadata: dict[str, Any]) -> Training | None:
    """The training that one list or table of a card states, with what the card says of its method."""
    written, where = _read(pairs)
    values = dict(filter(None, (hyperparameter(*pair) for pair in written.items())))
    if not values:
        return None
    named = {known(_key(name)): value for _, name, value in pairs if known(_key(name))}
    unread = [key for key, value in named.items() if key not in values and not a_form_of_adamw(key, _bare(value))]
    raw = {_key(name): value for _, name, value in pairs}
    devices, accumulated = _devices(raw, values)
    if accumulated:
        values["gradient_accumulation_steps"] = accumulated
    return Training(
        values=values,
        unread=unread,
        lines=where,
        start=_start(text, metadata),
        objective=_objective(text, metadata),
        adapter=_adapter(text, metadata, bool(lora_settings(written))),
        devices=devices,
    )


def _devices(raw: dict[str, str], values: dict[str, Any]) -> tuple[int | None, int | None]:
    """(devices, passes for one step), as far as the record's total batch and its parts agree; (None, None) otherwise."""
    batch, passes = values.get("per_device_train_batch_size"), values.get("gradient_accumulation_steps")
    devices = _count(raw.get("num_devices")) or (None if "distributed_type" in raw else 1)
    total = _count(raw.get("total_train_batch_size"))
    if not total or not batch:
        return devices, passes
    if devices is None:
        devices = total // (batch * (passes or 1))
    passes = passes or total // (batch * devices or 1)
    return (devices, passes) if batch * passes * devices == total else (None, None)


def _count(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and 0 < len(text) < 7 and int(text) else None


def _start(text: str, metadata: dict[str, Any]) -> Start | None:
    """Trainer writes "fine-tuned version of [base](link)", with no name where there was no base; or "trained from scratch"."""
    if match := re.search(r"fine-tuned version of \[([^\]\n]{0,200})\]", text[:MAX_PROSE]):
        return "pretrained" if match[1].strip() not in ("", "None") else "scratch"
    if re.search(r"trained from scratch", text[:MAX_PROSE], re.I):
        return "scratch"
    base = metadata.get("base_model")
    return "pretrained" if base and isinstance(base, (str, list)) else None


def _objective(text: str, metadata: dict[str, Any]) -> Objective | None:
    """By the tags that TRL writes; without one, supervised unless the card speaks of another objective."""
    tags = _words(metadata)
    named = {objective for tag, objective in CARD_OBJECTIVES.items() if tag in tags}
    spoken = _OTHER_OBJECTIVE.search(text[:MAX_PROSE])
    if not named:
        return None if spoken else "supervised"
    return named.pop() if len(named) == 1 else None


def _adapter(text: str, metadata: dict[str, Any], states_lora: bool) -> Adapter | None:
    """An adapter where the metadata or the record itself says so; where only the prose does, it is not clear."""
    tags = _words(metadata)
    quantized = "qlora" in tags or _QUANTIZED.search(text[:MAX_PROSE])
    if states_lora or tags & {"peft", "lora", "qlora"}:
        return "qlora" if quantized else "lora"
    return None if quantized or _ADAPTED.search(text[:MAX_PROSE]) else "none"


def _words(metadata: dict[str, Any]) -> set[str]:
    """The card's tags and its library, in small letters."""
    tags = metadata.get("tags")
    tags = [*(tags if isinstance(tags, list) else [tags]), metadata.get("library_name")]
    return {tag.lower() for tag in tags if isinstance(tag, str)}


def _tables(lines: list[tuple[int, str]]) -> list[list[tuple[int, list[str]]]]:
    """Neighboring lines with bars -> rows of (line, cells), without the line of dashes."""
    found: list[list[tuple[int, list[str]]]] = []
    last = 0
    for index, line in lines:
        if "|" not in line or len(line) > MAX_LINE:
            continue
        cells = [cell.strip(" *`_") for cell in line.strip().strip("|").split("|")]
        if index != last + 1 or not found:
            found.append([])
        last = index
        if any(cell.strip(":- ") for cell in cells):
            found[-1].append((index, cells))
    return [rows for rows in found if rows][:50]


def _taken(values: dict[str, Any], name: str, value: str) -> bool:
    """Put one written setting among the values, if it is one and its value is sane."""
    key = _key(name)
    given: Any = number(_bare(value) if known(key) == "optim" else value.strip("*` "))
    if key in ("target_modules", "lora_target_modules"):
        given = [module.strip("[]\"'` ") for module in value.split(",")]
    if key in values or not (hyperparameter(key, given) or lora_settings({key: given})):
        return False
    values[key] = given
    return True


def _key(name: str) -> str:
    key = "_".join(name.lower().replace("-", " ").replace("(", " ").replace(")", " ").split())[:60]
    return SPOKEN_KEYWORDS.get(key, key)


def _bare(value: str) -> str:
    """ "Use adamw_torch with betas=…" -> adamw_torch"""
    return value.strip("*` ").removeprefix("Use ").split(" ")[0]


def _versions(lines: list[tuple[int, str]], found: Extraction) -> None:
    """What the card asks for anywhere, and the list that Trainer writes under "Framework versions"."""
    under = False
    for _, line in lines:
        if line.startswith("#"):
            under = line.strip("# ").lower() == "framework versions"
        elif under and line.startswith(("- ", "* ")) and (version := needs.framework_version(line[2:])):
            found.written_with.setdefault(*version)
        for name, specifier in needs.named_in(line).items():
            found.requires.setdefault(name, specifier)
