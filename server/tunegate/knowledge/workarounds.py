"""The registry of workarounds: what is known to break, a typed rule that says when, and what is done about it.

references/compat-workarounds.md is the page that people read and the only place where the data lies. Which rules match is
decided again whenever a tool learns more: the model (step 1), the hardware and the image (step 2), the user's overrides
(step 4). fixes.py does what the matching ones ask for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tunegate import evidence
from tunegate.config import RunConfig, Scalar
from tunegate.errors import ToolFailure
from tunegate.knowledge.reference_pages import Section, sections
from tunegate.paths import data_dir
from tunegate.rundir import Run

PAGE = "compat-workarounds.md"
TORCH = ("torch", "torchvision", "triton", "numpy")  # a container brings its own; no fix may pin another
ENV_SEEN = ("HF_HUB_DISABLE_XET", "HF_HUB_OFFLINE")  # what a rule may ask of the server's environment; never a secret
FieldName = Annotated[
    str, Field(pattern=r"^(task|training_method|platform|(model|gpu|image|host|versions|env)\.[A-Za-z0-9_.-]+)$")
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Condition(_Strict):
    """One test on one field of the context. A field that the context lacks (or null) fails every test but `exists: false`."""

    field: FieldName
    op: Literal["eq", "in", "contains", "lt", "gte", "exists"]
    value: Scalar | list[Scalar] = True

    @model_validator(mode="after")
    def _value_fits(self) -> Condition:
        if (self.op == "in") != isinstance(self.value, list) or (
            self.op == "exists" and not isinstance(self.value, bool)
        ):
            raise ValueError(
                f"{self.field} {self.op} {self.value!r}: `in` takes a list, `exists` true or false, the others one value"
            )
        return self

    def holds(self, context: dict[str, Any]) -> bool:
        found = context.get(self.field)
        if self.op == "exists":
            return (found is not None) == self.value
        return found is not None and _TESTS[self.op](found, self.value)


class Detect(_Strict):
    """Every condition of `all` and, if there are any, at least one of `any`."""

    all: list[Condition] = []
    any: list[Condition] = []

    @model_validator(mode="after")
    def _not_empty(self) -> Detect:
        if not (self.all or self.any):
            raise ValueError("a rule without conditions would match every run")
        return self

    def matches(self, context: dict[str, Any]) -> bool:
        return all(c.holds(context) for c in self.all) and (not self.any or any(c.holds(context) for c in self.any))


class Forbidden(_Strict):
    """A file of the project that may not exist, or, with `text`, a text that no line of it may hold (comments apart)."""

    file: str
    text: str | None = None


class Fix(_Strict):
    """What is done about it, by kind:

    rule         a way in which the scaffolds are written; `forbids` is what the project's files may not hold
    config       `values`: config.yaml key (or training_arguments.<keyword>) -> value, set where nobody else set one
    requirement  `values`: package -> version, pinned in requirements.txt
    env          `values`: environment variables of every stage
    dockerfile   `lines`: instructions for the image, after the dependencies and before the code
    """

    kind: Literal["dockerfile", "requirement", "config", "env", "rule"]
    values: dict[str, Scalar] = {}
    lines: list[Annotated[str, Field(pattern=r"^(RUN|ENV) [^\n]+$")]] = []
    forbids: list[Forbidden] = []

    @model_validator(mode="after")
    def _content_fits(self) -> Fix:
        held = {name for name in ("values", "lines", "forbids") if getattr(self, name)}
        allowed = {"rule": {"forbids"}, "dockerfile": {"lines"}}.get(self.kind, {"values"})
        if held - allowed or (self.kind != "rule" and not held):
            raise ValueError(
                f"fix of kind {self.kind!r} holds {sorted(held) or 'nothing'} instead of {sorted(allowed)}"
            )
        _check_values(self.kind, self.values)
        return self


def _check_values(kind: str, values: dict[str, Scalar]) -> None:
    for name, value in values.items():
        key = name.removeprefix("training_arguments.")
        if kind == "config" and key == name and name not in RunConfig.model_fields:
            raise ValueError(f"fix: config.yaml has no key {name!r}")
        if kind == "requirement" and (name in TORCH or not re.fullmatch(r"\d+(\.\d+)*", str(value))):
            raise ValueError(f"fix: {name}: {value!r} is no version to pin, or a package that belongs to the image")
        if kind == "env" and not re.fullmatch(r"[A-Z][A-Z0-9_]*=[A-Za-z0-9_.:/-]*", f"{name}={value}"):
            raise ValueError(f"fix: {name}={value} is no environment variable with a plain value")


class Workaround(_Strict):
    id: str
    title: str
    symptom: str
    cause: str
    holds_for: str
    applied: str = Field(description="what is done, as the run's notes tell it")
    references: list[str] = Field(min_length=1)
    detect: Detect
    fix: Fix


class Matching(list[Workaround]):
    """The workarounds to apply; `skipped` are those that match too and that the user turned off."""

    skipped: list[Workaround]


@cache
def load() -> list[Workaround]:
    """The whole registry, read on first use. Raises ValueError (a defect of the page) naming the section."""
    return [_workaround(section) for section in sections(PAGE)]


def _workaround(section: Section) -> Workaround:
    labels, urls = {key.replace(" ", "_"): text for key, text in section.labels.items()}, section.urls("references")
    try:
        return Workaround.model_validate(
            {**labels, **section.data, "id": section.id, "title": section.title, "references": urls}
        )
    except ValueError as error:
        raise ValueError(f"{PAGE}, section {section.id!r}: {error}") from None


Versions = Callable[
    [dict[str, Any]], dict[str, str | None]
]  # facts of the image -> what runs there instead of the pins


def review(run: Run, config: RunConfig, versions: Versions, **fresh: dict[str, Any]) -> RunConfig:
    """config with `applicable_workarounds` as of now, and a note for each change.

    versions: of the run's platform (platforms.base). fresh: facts (model, host, image) that are not evidence yet; the others are read from the run. Raises
    ToolFailure(invalid_config) for an id in skip_workarounds that does not exist.
    """
    facts = {name: fresh.get(name) or _facts(run, name) for name in ("model", "host", "image")}
    matching = applicable(
        context(config, versions, facts["model"], facts["host"], facts["image"]), config.skip_workarounds
    )
    return config.model_copy(
        update={
            "applicable_workarounds": [w.id for w in matching],
            "notes": [*config.notes, *notes(matching, config)],
        }
    )


def _facts(run: Run, name: str) -> dict[str, Any]:
    found = evidence.read(run, name)
    return found.facts if found else {}


def context(
    config: RunConfig,
    versions: Versions,
    model_facts: dict[str, Any],
    host_facts: dict[str, Any] | None = None,
    image_facts: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What rules can ask, flat: task, platform, model.<fact>, gpu.name, host.<fact>, image.tag, versions.<package>, env.<NAME>.

    The facts are those of the `model`, `host` and `image` evidence; nested mappings become dotted names
    (`model.processor.size`). gpu.compute_capability is the lowest of the GPUs.
    """
    host_facts, image_facts = host_facts or {}, image_facts or {}
    flat = {"task": config.task, "training_method": config.training_method, "platform": config.platform}
    flat |= {"gpu.count": config.gpu_count, "gpu.name": config.gpu_name}
    flat |= {"gpu.driver_major": config.driver_major, "gpu.vram_gb": config.vram_gb_per_gpu}
    flat["gpu.compute_capability"] = _lowest_capability(host_facts) if config.gpu_count else None
    flat |= {f"versions.{name}": version for name, version in pinned_versions().items()}
    flat |= {f"versions.{name}": version for name, version in versions(image_facts).items()}
    flat |= {f"env.{name}": os.environ[name] for name in ENV_SEEN if os.environ.get(name)}
    _flatten("model", model_facts, flat)
    _flatten("host", host_facts, flat)
    _flatten("image", image_facts, flat)
    tag = re.search(r":(\d\d\.\d\d)(-|$)", config.ngc_image or "")
    flat["image.tag"] = tag[1] if tag else None
    heads, kv_heads = (model_facts.get(key) for key in ("num_attention_heads", "num_key_value_heads"))
    if isinstance(heads, int) and isinstance(kv_heads, int):
        flat["model.grouped_query_attention"] = kv_heads < heads
    return flat


def _lowest_capability(host_facts: dict[str, Any]) -> str | None:
    """`7.5` for a T4 beside an A100: the stages run on all of them."""
    gpus = [gpu for gpu in host_facts.get("gpus") or [] if isinstance(gpu, dict)]
    found = [str(gpu["compute_capability"]) for gpu in gpus if gpu.get("compute_capability")]
    return min(found, key=lambda text: _version(text) or (0,), default=None)


def _flatten(prefix: str, value: dict[str, Any], into: dict[str, Any]) -> None:
    for key, item in value.items():
        if isinstance(item, dict):
            _flatten(f"{prefix}.{key}", item, into)
        else:
            into[f"{prefix}.{key}"] = item


def pinned_versions() -> dict[str, str]:
    """Package -> version, from the scaffolds' own `name==version` lines: what the stages will run on."""
    texts = [path.read_text() for path in sorted((data_dir("scaffolds") / "_shared").glob("requirements*.txt"))]
    pins = re.findall(r"^([A-Za-z0-9_.-]+)==([0-9][^\s;#+]*)", "\n".join(texts), re.M)
    return {name.lower(): version for name, version in pins}


def applicable(context: dict[str, Any], skip: list[str]) -> Matching:
    """The workarounds whose rule matches, without `skip`. Raises ToolFailure(invalid_config) for an id that does not exist."""
    known = {workaround.id for workaround in load()}
    unknown = [name for name in skip if name not in known]
    if unknown:
        raise ToolFailure(
            "invalid_config",
            f"skip_workarounds names {unknown[0]!r}, which is no workaround: use ids of {', '.join(sorted(known))}",
        )
    matches = [workaround for workaround in load() if workaround.detect.matches(context)]
    found = Matching(w for w in matches if w.id not in skip)
    found.skipped = [w for w in matches if w.id in skip]
    return found


def notes(matching: Matching, config: RunConfig) -> list[str]:
    """One line for each workaround applied, skipped or no longer applied, without those that config.notes holds already."""
    lines = [f"workaround {w.id}: {w.applied}" for w in matching]
    gone = set(config.applicable_workarounds or []) - {w.id for w in [*matching, *matching.skipped]}
    lines += [f"workaround {name}: does not apply any more" for name in sorted(gone)]
    lines += [
        f"workaround {w.id}: skipped by the user"
        + ("; the scaffold keeps to it until its file is edited" if w.fix.kind == "rule" else "")
        for w in matching.skipped
    ]
    return [line for line in lines if line not in config.notes]


def _contains(found: Any, value: Any) -> bool:
    """A part of a text, or an item of a list; case does not count."""
    if isinstance(found, list):
        return str(value).lower() in [str(item).lower() for item in found]
    return isinstance(found, str) and str(value).lower() in found.lower()


def _compare(found: Any, value: Any) -> int | None:
    """-1, 0 or 1; None when the two cannot be ordered. Text is a version: 5.9 < 5.15, and 2.6.0a0 < 2.6."""
    if isinstance(found, (int, float)) and isinstance(value, (int, float)):
        left, right = found, value
    else:
        left, right = _version(found), _version(value)
        if left is None or right is None:
            return None
    return (left > right) - (left < right)


def _version(value: Any) -> tuple | None:
    parts = re.match(r"v?(\d+(?:\.\d+)*)(\.?(?:a|b|rc|dev)\d*)?", str(value))
    if not parts:
        return None
    numbers = [int(part) for part in parts[1].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return (*numbers, -1) if parts[2] else (*numbers, 0)


_TESTS = {
    "eq": lambda found, value: found == value,
    "in": lambda found, value: found in value,
    "contains": _contains,
    "lt": lambda found, value: _compare(found, value) == -1,
    "gte": lambda found, value: _compare(found, value) in (0, 1),
}
