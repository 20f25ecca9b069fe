"""What research found and the user asked for, made to fit: the scaffold's config keys and today's keywords. Pure.

A page's value is taken where config.yaml has a key for it; code of a page never is. What is not taken is said, with its URL.
Hyperparameters are those of one training (recipe/trainings.py), or the scaffold's. The user's own value always stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from tunegate import config as config_module
from tunegate.config import RunConfig
from tunegate.errors import ToolFailure
from tunegate.project import render
from tunegate.project.adopt_training import batch, judged, short, shown, unfit
from tunegate.recipe import renames
from tunegate.recipe.trainings import Training
from tunegate.tasks import TASKS

# training_arguments that no project can have -> what to do instead
NEVER = {
    **dict.fromkeys(
        ("hub_token", "push_to_hub_token"),
        "a secret may not stand in a file: remove it, and set HF_TOKEN where the server runs",
    ),
    **dict.fromkeys(
        ("eval_strategy", "evaluation_strategy", "eval_on_start", "load_best_model_at_end", "metric_for_best_model"),
        "train.py only trains, run_eval.py measures afterwards: remove it",
    ),
    **dict.fromkeys(
        ("hub_model_id", "push_to_hub_model_id", "push_to_hub_organization"),
        "push_hub pushes, when gate 5 is open: remove it, and set hf_model_repo",
    ),
}


MAX_REFUSED = 4  # trainings that are named one by one; meta/recipe.md names them all


class Found(NamedTuple):
    """Config keys as the recipe has them, each with the page that says so; and what it says beyond them."""

    values: dict[str, Any]
    urls: dict[str, str]
    left: list[str]


def current_arguments(config: RunConfig, given: dict[str, Any]) -> tuple[RunConfig, list[str]]:
    """config with its training_arguments under today's names, and a note for each change. One that has a key of its own in
    config.yaml moves there. given: the keys that this call sets. Raises ToolFailure(invalid_config), which names them all.
    """
    asked = config.training_arguments
    problems = [f"{name}: {NEVER[name]}" for name in asked if name in NEVER]
    if not problems:  # values may be quoted from here on
        of = ("TrainingArguments", render.arguments_class(config))
        found, notes, problems = renames.current(asked, *of)
        moved = {key: found.pop(key) for key in set(found) - set(asked) if key in RunConfig.model_fields}
        problems += [
            f"{key} is {given[key]!r} and, under an older name, {value!r}: remove one"
            for key, value in moved.items()
            if key in given and given[key] != value
        ]
    if problems:
        raise ToolFailure("invalid_config", "training_arguments: " + "; ".join(problems))
    if found == asked:
        return config, []
    values = {**config.model_dump(), **moved, "training_arguments": found}
    return config_module.validate(values, "training_arguments"), notes


def from_recipe(config: RunConfig, recipe: dict[str, Any], model: dict[str, Any]) -> Found:
    """The slots of fetch_recipe's facts -> values for this config's keys. model: probe_model's facts."""
    found = Found({}, {}, [])
    _hyperparameters(found, config, recipe)
    for name, read in ADOPTERS.items():
        slot = recipe["slots"].get(name) or {}
        if slot.get("value") is not None:
            read(found, slot["value"], Context(config, slot, recipe.get("sources") or [], model))
    return found


def report(found: Found, before: RunConfig, after: RunConfig) -> list[str]:
    """For the user, in few words: what came from research, what someone had set otherwise, and what was not rendered."""
    taken: dict[str, list[str]] = {}
    kept: dict[str, list[str]] = {}
    for key, value in found.values.items():
        now = after.training_arguments.get(key) if key not in RunConfig.model_fields else getattr(after, key)
        was = before.training_arguments.get(key) if key not in RunConfig.model_fields else getattr(before, key)
        said = kept if was is not None and was != value else taken
        said.setdefault(found.urls[key], []).append(f"{key} = {short(now if said is taken else value)}")
    notes = [f"from research: {', '.join(items)} ({url})" for url, items in taken.items()]
    notes += [f"set otherwise here, so not taken: {', '.join(items)} ({url})" for url, items in kept.items()]
    return notes + found.left


# The slots, one by one -------------------------------------------------------------------------------------------------


class Context(NamedTuple):
    config: RunConfig
    slot: dict[str, Any]
    sources: list[dict[str, Any]]  # of the research
    model: dict[str, Any]

    @property
    def url(self) -> str:
        return (self.slot.get("source") or {}).get("url", "no page")

    @property
    def task(self) -> str:
        return self.config.task


def _keys(about: Context) -> dict[str, Any]:
    """The training keys that this task and method have."""
    return render.training_defaults(about.task, about.config.training_method)


def _take(found: Found, key: str, value: Any, url: str) -> None:
    found.values[key], found.urls[key] = value, url


def _hyperparameters(found: Found, config: RunConfig, recipe: dict[str, Any]) -> None:
    """Those of the first training that fits this run, as a whole; else none, and the scaffold's stay."""
    stated = judged(config, recipe)
    fits = next((training for training, why in stated if why is None), None)
    refused = stated[: next((index for index, (_, why) in enumerate(stated) if why is None), len(stated))]
    for training, why in refused[:MAX_REFUSED]:
        found.left.append(f"hyperparameters not adopted: {shown(training.values)}: {why} ({training.url})")
    if len(refused) > MAX_REFUSED:
        found.left.append(
            f"hyperparameters of {len(refused) - MAX_REFUSED} more trainings not adopted: see meta/recipe.md"
        )
    if fits:
        _adopt(found, config, fits)


def _adopt(found: Found, config: RunConfig, training: Training) -> None:
    """Their number of epochs or steps is not taken: it belongs to their dataset, and n_epochs is the user's."""
    keys = (*render.training_defaults(config.task, config.training_method), *render.RECIPE_ARGUMENTS)
    others = []
    for key, value in {**training.values, **batch(training, config)}.items():
        if why := unfit(key, value):
            found.left.append(f"hyperparameters not adopted: {key} = {short(value)}: {why} ({training.url})")
        elif key in keys:
            _take(found, key, value, training.url)
        else:
            others.append(f"{key} = {short(value)}")
    if others:
        found.left.append(f"hyperparameters not taken: {', '.join(others)} ({training.url})")


def _lora(found: Found, value: Any, about: Context) -> None:
    """lora_r is the user's: alpha keeps its ratio to the recipe's r. Names of modules only where the card or the author's
    script says them: they are this model's."""
    config = about.config
    if not config.adapted or "lora_target_modules" not in _keys(about):
        return
    if "lora_alpha" in value:
        _take(found, "lora_alpha", value["lora_alpha"] * config.lora_r / value.get("r", config.lora_r), about.url)
    if "lora_dropout" in value:
        _take(found, "lora_dropout", value["lora_dropout"], about.url)
    if "target_modules" in value:
        if (about.slot.get("source") or {}).get("priority") in (0, 1, 3):
            _take(found, "lora_target_modules", value["target_modules"], about.url)
        else:
            found.left.append(f"lora: target_modules not taken: another model's ({about.url})")


# Steps that every scaffold takes, in its own way or through the model's processor.
COMMON_STEPS = {
    "ToTensor", "ToImage", "ToDtype", "ToPILImage", "PILToTensor", "ConvertImageDtype", "ToTensorV2", "Compose", "Lambda", "convert",
    "ToRGB", "Normalize", "Resize", "resize", "CenterCrop", "crop", "RandomCrop", "SmallestMaxSize", "LongestMaxSize", "PadIfNeeded",
    "Pad", "thumbnail", "NoOp", "create_transform",
}  # fmt: skip
CROPS = ("RandomResizedCrop", "create_transform")
FLIPS = ("RandomHorizontalFlip", "HorizontalFlip")
SIZED = ("Resize", "RandomResizedCrop", "RandomCrop", "CenterCrop", "create_transform")
# Models that take images of any size, having no learned embedding for each position.
ANY_SIZE = {
    "convnext", "convnextv2", "resnet", "regnet", "efficientnet", "mobilenet_v1", "mobilenet_v2", "mobilevitv2", "segformer",
    "poolformer", "focalnet", "pvt_v2", "mask2former", "maskformer", "glpn",
}  # fmt: skip


def _train_transforms(found: Found, value: Any, about: Context) -> None:
    steps = _steps(value)
    if "crop_scale_min" not in _keys(about):  # a task that does not augment
        return _not_rendered(
            found, "train_transforms", [step for step in steps if step["name"] not in COMMON_STEPS], about
        )
    crops = [step for step in steps if step["name"] in CROPS]
    for step in crops[:1]:
        _crop(found, step, about)
    _flip(found, steps, crops, about)
    _size(found, steps, about)
    _normalization(found, steps, about)
    others = [step for step in steps if step["name"] not in (*COMMON_STEPS, *CROPS, *FLIPS) or _augments(step)]
    _not_rendered(found, "train_transforms", others, about)


def _eval_transforms(found: Found, value: Any, about: Context) -> None:
    """Evaluation goes through the model's own processor: what a page does otherwise is only said."""
    _not_rendered(found, "eval_transforms", [step for step in _steps(value) if step["name"] not in COMMON_STEPS], about)


def _steps(value: Any) -> list[dict[str, Any]]:
    """The steps of a pipeline in one form: name, args, kwargs."""
    steps = [step for step in value if isinstance(step, dict)] if isinstance(value, list) else []
    return [
        {
            "name": step["name"].rsplit(".", 1)[-1],
            "args": step["args"] if isinstance(step.get("args"), list) else [],
            "kwargs": step["kwargs"] if isinstance(step.get("kwargs"), dict) else {},
        }
        for step in steps
        if isinstance(step.get("name"), str)
    ]


def _given(step: dict[str, Any], name: str, position: int | None = None) -> Any:
    """A step's argument by its keyword or, else, its position."""
    if position is not None and name not in step["kwargs"]:
        return step["args"][position] if position < len(step["args"]) else None
    return step["kwargs"].get(name)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _crop(found: Found, step: dict[str, Any], about: Context) -> None:
    """The smallest share of the area that a crop keeps. A library's default, which the page does not say, is not taken."""
    scale = _given(step, "scale", 1 if step["name"] == "RandomResizedCrop" else None)
    low = scale[0] if isinstance(scale, list) and scale else None
    if not _number(low) or not 0 < low <= 1:
        found.left.append(
            f"train_transforms: {step['name']} states no scale: crop_scale_min is the scaffold's ({about.url})"
        )
    else:
        side = about.task == "object-detection"  # where crop_scale_min is of each side
        _take(found, "crop_scale_min", round(math.sqrt(low), 3) if side else low, about.url)


def _flip(found: Found, steps: list[dict], crops: list[dict], about: Context) -> None:
    """Mirroring, if the page does; none, if the page crops at random without it, and was read to the end."""
    chances = [_given(step, "p", 0) for step in steps if step["name"] in FLIPS]
    chances += [
        _given(step, "hflip") for step in steps if step["name"] == "create_transform" and "hflip" in step["kwargs"]
    ]
    if chances:
        _take(found, "horizontal_flip", chances[0] != 0, about.url)
        if _number(chances[0]) and chances[0] not in (0, 0.5):
            found.left.append(f"train_transforms: a flip has a chance of 0.5 here, not {chances[0]} ({about.url})")
    elif any(step["name"] == "RandomResizedCrop" for step in crops) and not _is_cut_short(about):
        _take(found, "horizontal_flip", False, about.url)


def _is_cut_short(about: Context) -> bool:
    """The page has a transform that could not be read: it may be the flip."""
    return any(source["url"] == about.url and source.get("transforms_unread") for source in about.sources)


def _size(found: Found, steps: list[dict], about: Context) -> None:
    """The side of the images, where the page states one that is not the processor's and the model takes it."""
    sizes = [_side(step) for step in steps if step["name"] in SIZED]
    side = next((size for size in reversed(sizes) if size), None)
    if side is None or side in _own_sides(about.model) or "image_size" in found.values:
        return
    if about.model.get("model_type") in ANY_SIZE and 16 <= side <= 4096 and about.task != "object-detection":
        _take(found, "image_size", side, about.url)
    else:
        found.left.append(f"images of {side} pixels not taken: the model's own size stays ({about.url})")


def _side(step: dict[str, Any]) -> int | None:
    for name, position in (("size", 0), ("input_size", None), ("height", 0), ("img_size", None)):
        value = _given(step, name, position)
        value = value[-1] if isinstance(value, list) and value and len(set(map(str, value[-2:]))) == 1 else value
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _own_sides(model: dict[str, Any]) -> set[int]:
    """Every side that the model's processor and config name."""
    processor = model.get("processor") or {}
    sides: set[int] = set()
    for size in (processor.get("crop_size"), processor.get("size"), model.get("image_size")):
        values = size.values() if isinstance(size, dict) else size if isinstance(size, list) else [size]
        sides |= {value for value in values if isinstance(value, int)}
    return sides


def _normalization(found: Found, steps: list[dict], about: Context) -> None:
    """A note alone: images are scaled as the weights know them, by the model's processor."""
    processor = about.model.get("processor") or {}
    for step in steps:
        for name, position, key in (
            (("mean", 0, "image_mean"), ("std", 1, "image_std")) if step["name"] == "Normalize" else ()
        ):
            theirs, own = _given(step, name, position), processor.get(key)
            if not (isinstance(theirs, list) and isinstance(own, list) and all(map(_number, [*theirs, *own]))):
                continue
            if len(theirs) != len(own) or any(abs(a - b) > 0.002 for a, b in zip(theirs, own, strict=True)):
                found.left.append(
                    f"train_transforms: Normalize's {name} {theirs} not taken: the processor's {own} is what the weights know ({about.url})"
                )


def _augments(step: dict[str, Any]) -> bool:
    """timm's create_transform with more than cropping and mirroring."""
    return step["name"] == "create_transform" and any(
        step["kwargs"].get(key) for key in ("auto_augment", "color_jitter", "re_prob")
    )


def _not_rendered(found: Found, slot: str, steps: list[dict], about: Context) -> None:
    if names := list(dict.fromkeys(step["name"] for step in steps)):
        found.left.append(f"{slot} not rendered: {', '.join(names)[:200]} ({about.url})")


OURS_TO_SET = (
    "do_reduce_labels",
    "do_resize",
    "do_rescale",
    "do_normalize",
)  # by the scaffold's masks, or the processor's own


def _processor_kwargs(found: Found, value: Any, about: Context) -> None:
    """Only a size has a key here; the rest is the model's own processor's business."""
    for key, given in value.items() if isinstance(value, dict) else ():
        url = (about.slot.get("origins") or {}).get(key, about.url)
        side = given.get("shortest_edge") or given.get("height") if isinstance(given, dict) else given
        if key == "size" and isinstance(side, int) and "image_size" in _keys(about):
            _size(found, _steps([{"name": "Resize", "args": [side]}]), about)
        elif key not in OURS_TO_SET:
            found.left.append(f"processor keyword not rendered: {key} = {short(given)} ({url})")


PLAIN = {"default_data_collator", "DefaultDataCollator", "default_collate"}


def _collator(found: Found, value: Any, about: Context) -> None:
    name = value.get("name") if isinstance(value, dict) else value
    if not isinstance(name, str):
        return
    collator = TASKS[about.task].collator
    returns = set(value.get("returns") or []) if isinstance(value, dict) else set()
    alike = name in collator.same | PLAIN or (returns and returns <= collator.keys)
    if not alike:
        more = f", which makes {', '.join(sorted(returns - collator.keys))[:100]}," if returns - collator.keys else ""
        found.left.append(f"collator not rendered: {name}{more} ({about.url}); the scaffold's {collator.does}")


def _metrics(found: Found, value: Any, about: Context) -> None:
    names = [name for name in value if isinstance(name, str)] if isinstance(value, list) else []
    if others := [name for name in names if name.lower() not in TASKS[about.task].metrics_named]:
        found.left.append(f"metrics not computed: {', '.join(others)} ({about.url})")


ADOPTERS: dict[str, Callable[[Found, Any, Context], None]] = {
    "lora": _lora,
    "processor_kwargs": _processor_kwargs,
    "train_transforms": _train_transforms,
    "eval_transforms": _eval_transforms,
    "collator": _collator,
    "metrics": _metrics,
}
