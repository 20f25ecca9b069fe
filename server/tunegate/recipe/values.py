"""Which values may leave a fetched page: names, numbers in sane ranges, known words. Everything else stays behind.

Pages are written by strangers and read by agents, so free text never becomes a slot's value.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from tunegate.recipe import renames

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,79}")
_WORD = re.compile(r"[A-Za-z0-9_.+-]{1,40}")
MAX_ITEMS = 32


class Range(NamedTuple):
    kind: type
    low: float
    high: float


# TrainingArguments keyword -> what a sane value is. Batch sizes are samples per device, learning rates per step.
NUMBERS = {
    "learning_rate": Range(float, 1e-9, 1.0),
    "weight_decay": Range(float, 0.0, 1.0),
    "warmup_steps": Range(float, 0.0, 1e6),  # below 1: a share of all steps
    "num_train_epochs": Range(float, 0.01, 1000),
    "max_steps": Range(int, 1, 10_000_000),
    "per_device_train_batch_size": Range(int, 1, 8192),
    "per_device_eval_batch_size": Range(int, 1, 8192),
    "gradient_accumulation_steps": Range(int, 1, 8192),
    "label_smoothing_factor": Range(float, 0.0, 0.99),
    "max_grad_norm": Range(float, 0.0, 1000),
    "adam_beta1": Range(float, 0.0, 0.99999),
    "adam_beta2": Range(float, 0.0, 0.999999),
    "adam_epsilon": Range(float, 1e-12, 0.1),
    "max_length": Range(int, 16, 1_000_000),  # tokens; this and the next are TRL's
    "beta": Range(float, 0.0, 100.0),
    "num_generations": Range(int, 2, 256),
    "max_completion_length": Range(int, 1, 100_000),
    "temperature": Range(float, 0.01, 10.0),
}
LORA = {"r": Range(int, 1, 1024), "lora_alpha": Range(float, 0.1, 4096), "lora_dropout": Range(float, 0.0, 0.9)}
LORA_NAMES = ("target_modules", "modules_to_save")
LORA_SWITCHES = ("use_dora", "use_rslora")
# What a processor's from_pretrained or constructor is given: sizes are a number, a list, or {"shortest_edge": 800}.
SIZE_KEYS = (
    "size",
    "crop_size",
    "pad_size",
    "max_image_size",
    "min_pixels",
    "max_pixels",
    "size_divisor",
    "patch_size",
)
SWITCHES = (
    "do_resize",
    "do_center_crop",
    "do_rescale",
    "do_normalize",
    "do_pad",
    "do_convert_rgb",
    "do_convert_annotations",
    "do_reduce_labels",
    "do_image_splitting",
)
PROCESSOR = {
    "ignore_index": Range(int, -1000, 65535),
    "rescale_factor": Range(float, 1e-6, 1.0),
    "resample": Range(int, 0, 5),
    "num_labels": Range(int, 1, 100_000),
    "image_mean": Range(float, -10, 255),
    "image_std": Range(float, 1e-6, 255),
    **dict.fromkeys(SIZE_KEYS, Range(int, 1, 100_000_000)),
}
WORDS = {
    "lr_scheduler_type": (
        "linear",
        "cosine",
        "cosine_with_restarts",
        "polynomial",
        "constant",
        "constant_with_warmup",
        "inverse_sqrt",
        "reduce_lr_on_plateau",
        "cosine_with_min_lr",
        "warmup_stable_decay",
    ),
    "optim": ("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop", "adamw_bnb_8bit"),
}
# Names that other generations of the library, other scripts and model cards use for the same thing.
ALIASES = {
    "lr": "learning_rate",
    "max_epochs": "num_train_epochs",
    "accumulate_grad_batches": "gradient_accumulation_steps",
    "gradient_clip_val": "max_grad_norm",
    "epochs": "num_train_epochs",
    "num_epochs": "num_train_epochs",
    "train_batch_size": "per_device_train_batch_size",
    "batch_size": "per_device_train_batch_size",
    "eval_batch_size": "per_device_eval_batch_size",
    "val_batch_size": "per_device_eval_batch_size",
    "num_warmup_steps": "warmup_steps",
    "lr_scheduler_warmup_steps": "warmup_steps",
    "lr_scheduler_warmup_ratio": "warmup_steps",
    "label_smoothing": "label_smoothing_factor",
    "smoothing": "label_smoothing_factor",
    "clip_grad": "max_grad_norm",
    **{row.old: row.new for row in renames.TABLE if row.of in renames.OF_TRAINER and row.new in (*NUMBERS, *WORDS)},
}


def known(name: str) -> str | None:
    """A keyword or one of its aliases (dashes as on a command line allowed) -> the TrainingArguments keyword."""
    name = name.lstrip("-").replace("-", "_")
    name = ALIASES.get(name, name)
    return name if name in NUMBERS or name in WORDS else None


def hyperparameter(name: str, value: Any) -> tuple[str, int | float | str] | None:
    """(keyword, clean value), or None when the name is unknown or the value is no sane number or known word."""
    keyword = known(name)
    if row := renames.find(name, *renames.OF_TRAINER):
        try:
            value = renames.carried(row, value)
        except renames.NoCounterpart:
            return None
    if keyword in WORDS:
        word = value.rsplit(".", 1)[-1].lower() if isinstance(value, str) else None
        return (keyword, word) if word in WORDS[keyword] else None
    if keyword is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    kind, low, high = NUMBERS[keyword]
    if name.endswith("ratio"):
        high = 0.999
    if not low <= value <= high or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if kind is int:
        return (keyword, int(value)) if value == int(value) else None
    return keyword, value


def lora_settings(given: Any) -> dict[str, Any]:
    """LoraConfig keywords (or a command line's, `lora_r`) -> those with a sane value: r, lora_alpha, lora_dropout, target_modules."""
    clean: dict[str, Any] = {}
    for name, value in given.items() if isinstance(given, dict) else ():
        name = name.removeprefix("lora_") if name in ("lora_r", "lora_target_modules") else name
        if name in LORA_NAMES:
            modules = [value] if isinstance(value, str) else value
            if isinstance(modules, list) and 0 < len(modules) <= MAX_ITEMS and all(map(_module, modules)):
                clean[name] = value
        elif name in LORA_SWITCHES and isinstance(value, bool):
            clean[name] = value
        elif name in LORA and isinstance(value, (int, float)) and not isinstance(value, bool):
            kind, low, high = LORA[name]
            if low <= value <= high and (kind is float or value == int(value)):
                clean[name] = kind(value)
    return clean


def processor_settings(given: Any) -> dict[str, Any]:
    """Keywords of an image processor -> those with a sane value. `reduce_labels` is `do_reduce_labels` since long."""
    clean: dict[str, Any] = {}
    for name, value in given.items() if isinstance(given, dict) else ():
        name = "do_reduce_labels" if name == "reduce_labels" else name
        if name in SWITCHES:
            if isinstance(value, bool):
                clean.setdefault(name, value)
        elif name in PROCESSOR and _measured(value, PROCESSOR[name]):
            clean.setdefault(name, value)
    return clean


def _measured(value: Any, allowed: Range) -> bool:
    """A number in its range, or a list or mapping of a few."""
    if isinstance(value, dict):
        value = list(value.values()) if all(map(is_name, value)) else []
    numbers = value if isinstance(value, list) else [value]
    return 0 < len(numbers) <= 4 and all(
        isinstance(n, (int, float))
        and not isinstance(n, bool)
        and allowed.low <= n <= allowed.high
        and (allowed.kind is float or n == int(n))
        for n in numbers
    )


def _module(name: Any) -> bool:
    return isinstance(name, str) and (name == "all-linear" or _SYMBOL.fullmatch(name) is not None)


def number(text: str) -> int | float | str:
    """Text from a command line or a card -> a number if it is one, else the text itself."""
    if len(text) > 24:
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def is_symbol(value: Any) -> bool:
    return isinstance(value, str) and _SYMBOL.fullmatch(value) is not None


def literal(value: Any, depth: int = 0) -> Any:
    """A Python literal -> JSON data of numbers, booleans, null, short words, and flat containers of them.

    Raises ValueError for anything else (sentences, code in a string, huge or nested data).
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and abs(value) <= 1e12:  # NaN and infinity compare false
        return value
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    if isinstance(value, (list, tuple)) and len(value) <= MAX_ITEMS and depth < 2:
        return [literal(item, depth + 1) for item in value]
    if isinstance(value, dict) and len(value) <= MAX_ITEMS and depth < 2 and all(is_name(key) for key in value):
        return {key: literal(item, depth + 1) for key, item in value.items()}
    raise ValueError("not a plain value")
