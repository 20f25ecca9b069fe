"""A model card: its metadata, its tables and lists of hyperparameters, its code, and where it points.

Front matter is read by YAML, code by its syntax tree, commands by shlex. Of prose only links, versions of libraries and
hyperparameters in a list or table count.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from tunegate.recipe import needs
from tunegate.recipe.extract import extract_markdown, outside_fences
from tunegate.recipe.links import Scripts, links, paper_ids, scripts
from tunegate.recipe.pyfacts import Extraction, Head
from tunegate.recipe.values import hyperparameter, is_name, known, lora_settings, number

MAX_FRONT_MATTER = 64 * 1024  # characters; also bounds what the YAML parser may be given
MAX_LINE = 2000  # characters; a longer line is no row of a table that people wrote
# What people call it in a table -> the keyword.
SPOKEN = {
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
    for read in (trainer_list, tables):  # Trainer's own record of a fine-tuning is more exact than an example command
        values, where = read(prose)
        settings = dict(filter(None, (hyperparameter(*pair) for pair in values.items())))
        if settings:
            found.finetunes = True
            found.findings.pop("hyperparameters", None) if read is trainer_list else None
            found.add("hyperparameters", settings, where)
        found.add("lora", lora_settings(values), where)
    _versions(prose, found)
    tags = metadata.get("tags")
    tags = [tag for tag in tags if isinstance(tag, str) and len(tag) <= 80][:100] if isinstance(tags, list) else []
    urls = links(text)
    return Card(found, tags, scripts(urls), paper_ids([*tags, *urls]))


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without aliases, with which a few lines can stand for gigabytes."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(None, None, "aliases are not read", self.peek_event().start_mark)
        return super().compose_node(parent, index)


def front_matter(text: str) -> tuple[dict[str, Any], str]:
    """(metadata, "") or ({}, why it could not be read). A card without front matter is no problem: ({}, "")."""
    lines = text[:MAX_FRONT_MATTER].removeprefix("\ufeff").splitlines()
    if not lines or lines[0].strip() != "---":
        return {}, ""
    end = next((i for i, line in enumerate(lines[1:], 1) if line.strip() == "---"), None)
    if end is None:
        return {}, f"front matter is not closed within {MAX_FRONT_MATTER // 1024} kB"
    try:
        data = yaml.load("\n".join(lines[1:end]), Loader=_PlainLoader)
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


def trainer_list(lines: list[tuple[int, str]]) -> tuple[dict[str, Any], tuple[int, int] | None]:
    """The `- name: value` list that Trainer writes under "Training hyperparameters" into a card."""
    values: dict[str, Any] = {}
    where: list[int] = []
    under = False
    for index, line in lines:
        if line.startswith("#"):
            under = line.strip("# ").lower() == "training hyperparameters"
        elif under and line.startswith(("- ", "* ")):
            name, _, value = line[2:].partition(":")
            if _taken(values, name.strip(), value.strip()):
                where.append(index)
    return values, (where[0], where[-1]) if where else None


def tables(lines: list[tuple[int, str]]) -> tuple[dict[str, Any], tuple[int, int] | None]:
    """Tables of `| learning rate | 5e-5 |` rows, and those with names for a header and one row of values."""
    values: dict[str, Any] = {}
    where: list[int] = []
    for rows in _tables(lines):
        (first, header), *body = rows
        across = len(header) > 2 and len(body) == 1 and len(body[0][1]) == len(header)
        pairs = [(body[0][0], *pair) for pair in zip(header, body[0][1], strict=True)] if across else []
        pairs = pairs or [(index, *cells) for index, cells in rows if len(cells) == 2]
        where += [index for index, name, value in pairs if _taken(values, name, value)]
    return values, (where[0], where[-1]) if where else None


def _tables(lines: list[tuple[int, str]]) -> list[list[tuple[int, list[str]]]]:
    """Neighbouring lines with bars -> rows of (line, cells), without the line of dashes."""
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
    key = "_".join(name.lower().replace("-", " ").replace("(", " ").replace(")", " ").split())[:60]
    key = SPOKEN.get(key, key)
    value = value.strip("*` ")
    if known(key) == "optim":  # "Use adamw_torch with betas=…", "OptimizerNames.ADAMW_TORCH"
        value = value.removeprefix("Use ").split(" ")[0]
    given: Any = number(value)
    if key in ("target_modules", "lora_target_modules"):
        given = [module.strip("[]\"'` ") for module in value.split(",")]
    if key in values or not (hyperparameter(key, given) or lora_settings({key: given})):
        return False
    values[key] = given
    return True


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
