"""Which task a model is for. The head of its architecture decides; the argument, the tag and the type fill in where it is silent."""

from __future__ import annotations

from typing import Any, Literal

from tunegate import tasks
from tunegate.clients.hub import RepoInfo
from tunegate.errors import NextCall, ToolFailure
from tunegate.probe.model.repo_files import text
from tunegate.tasks import architectures

TaskSource = Literal["argument", "architecture", "pipeline_tag", "model_type"]

# Tags that say what a backbone without a head was pretrained for, not what it can be trained for.
HEADLESS_TAGS = ("image-feature-extraction", "feature-extraction", "zero-shot-image-classification", "any-to-any")
GENERIC = ("image-segmentation", "mask-generation")  # tags that may mean several of our tasks


def tag_of(info: RepoInfo) -> str | None:
    """The repository's pipeline tag, as the Hub or its card names it."""
    return (info.pipeline_tag or text(info.card.get("pipeline_tag")) or "")[:60] or None


def is_foreign(tag: str | None) -> bool:
    """Whether the tag names a task that is not one of ours, in any words."""
    known = {
        *tasks.SUPPORTED,
        *HEADLESS_TAGS,
        *GENERIC,
        *(name for spec in tasks.TASKS.values() for name in spec.same_tags),
    }
    return bool(tag) and tag not in known


def decide_task(info: RepoInfo, config: dict[str, Any], names: list[str], asked: str | None) -> tuple[str, TaskSource]:
    """(task, how it was found). names: config.json's architectures.

    Raises out_of_scope (a head for another task), invalid_input (`asked` contradicts the head), ambiguous (several tasks
    are possible and nothing tells which).
    """
    model_type, name, tag = config["model_type"], names[0] if names else "", tag_of(info)
    serves, foreign = architectures.of_class(name, has_vision=isinstance(config.get("vision_config"), dict))
    could = architectures.of_type(model_type)
    if asked:
        return _as_asked(info, name or model_type, serves, foreign, could, asked), "argument"
    if foreign:
        raise out_of_scope(f"model_id = {info.id!r} is a {name}, made for {foreign}")
    if serves:
        return _by_head(info, name, serves, tag)
    if is_foreign(tag):
        raise out_of_scope(f"model_id = {info.id!r} is tagged {tag!r}")
    if tag in tasks.SUPPORTED:
        return tag, "pipeline_tag"
    if not name and (only := _only(could, model_type, config)):
        return only, "model_type"
    if could:
        raise _ask(info, f"a backbone without a head ({name or model_type}, tag {tag})", could)
    raise out_of_scope(f"model_id = {info.id!r} ({name or model_type}, tag {tag}) shows no task")


def _as_asked(
    info: RepoInfo, name: str, serves: tuple[str, ...], foreign: str | None, could: tuple[str, ...], asked: str
) -> str:
    """The user's task, if the head serves it or transformers can build such a head on this type's weights."""
    if asked in serves or asked in could or not (serves or foreign or is_foreign(tag_of(info))):
        return asked
    if not serves:
        raise out_of_scope(f"model_id = {info.id!r} is a {name}, made for {foreign or tag_of(info)}")
    raise ToolFailure(
        "invalid_input",
        f"task = {asked!r} contradicts model_id = {info.id!r}, a {name} made for {' or '.join(serves)}: "
        f"leave task out, or give a model made for {asked}",
    )


def _by_head(info: RepoInfo, name: str, serves: tuple[str, ...], tag: str | None) -> tuple[str, TaskSource]:
    if len(serves) == 1:
        return serves[0], "architecture"
    if tag in serves:
        return tag, "pipeline_tag"
    raise _ask(info, f"a {name}, which serves {', '.join(serves)}", serves)


def _only(could: tuple[str, ...], model_type: str, config: dict[str, Any]) -> str | None:
    """The task that a config without architectures can only mean. A model that sees is one for images and text."""
    if len(could) == 1:
        return could[0]
    one_class = {tuple(architectures.classes(architectures.auto_class(task, model_type), model_type)) for task in could}
    if "image-text-to-text" in could and (len(one_class) == 1 or isinstance(config.get("vision_config"), dict)):
        return "image-text-to-text"
    return None


def _ask(info: RepoInfo, what: str, choices: tuple[str, ...]) -> ToolFailure:
    """`ambiguous`, with the choice first that the repository's name speaks for."""
    words = info.id.lower()
    named = [task for task in choices if task.split("-")[0] in words]
    first = named[0] if len(named) == 1 else choices[0]
    why = f"the repository's name says {first.split('-')[0]}" if len(named) == 1 else "names the task"
    others = [f"task={task!r}" for task in choices if task != first]
    return ToolFailure(
        "ambiguous",
        f"model_id = {info.id!r} is {what}: say what to train it for, e.g. task={first!r}"
        + (f" (or {', '.join(others)})" if others else ""),
        next=NextCall(tool="probe_model", arguments={"model_id": info.id, "task": first}, why=why),
    )


def out_of_scope(what: str) -> ToolFailure:
    return ToolFailure(
        "out_of_scope",
        f"{what}: no task of tunegate's. Choose a model for one of {', '.join(tasks.SUPPORTED)}",
    )


def remarks(tag: str | None, names: list[str], task: str, source: TaskSource) -> list[str]:
    """What the user should know about how the task was found."""
    found = []
    if tag and tag not in (task, *HEADLESS_TAGS, *tasks.TASKS[task].same_tags):
        how = {"architecture": "its architecture says", "argument": "you said", "model_type": "its model_type says"}
        found.append(f"the repository is tagged {tag!r}; {how.get(source, 'its head serves')} {task}")
    if not names and source != "argument":
        found.append(f"config.json names no architecture: {task} was read from its {source}")
    if names and task not in architectures.of_class(names[0], has_vision=task == "image-text-to-text")[0]:
        if not (task == "text-generation" and "image-text-to-text" in architectures.of_class(names[0])[0]):
            found.append(f"{names[0]} has no head for {task}: training starts it at random")
    return found
