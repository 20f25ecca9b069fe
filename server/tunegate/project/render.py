"""A run's config and recipe -> the files of its project. Pure: reads the scaffolds, writes nothing.

scaffolds/harness/             the package beside a project's scripts, copied as it is (project/harness.py)
scaffolds/_shared/             what every task shares: Dockerfile, requirements, README, tests, the copyright header
scaffolds/<task>/              the task's scripts, copied (.py) or rendered (.py.j2), and the defaults of its training keys
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from tunegate import config as config_module
from tunegate import quoting, tasks
from tunegate.config import RunConfig
from tunegate.errors import ToolFailure
from tunegate.evidence import Evidence
from tunegate.knowledge import fixes
from tunegate.paths import data_dir
from tunegate.project import extras, harness
from tunegate.stage_table import STAGES, Stage
from tunegate.tasks import TASKS

FROZEN = (
    "torch",
    "torchvision",
    "triton",
    "pytorch-triton",
    "numpy",
)  # the image's own, built for its CUDA and each other
# They measure: an edit of one of these is never accepted.
MEASURES = ("harness/", "tests/", "in_image.sh", *dict.fromkeys(row.argv[0] for row in STAGES.values() if row.measures))
SHARED = {  # file of the project -> its source in _shared
    "Dockerfile": "Dockerfile.j2",
    ".gitignore": "gitignore.j2",
    ".dockerignore": "dockerignore.j2",
    "README.md": "README.md.j2",
}
REQUIREMENTS = ("requirements-local.txt", "requirements.txt")  # in the order of installation
HEADER = (data_dir("scaffolds") / "_shared/header.txt").read_text()


# Files that only some runs have: (name in the project, which).
SOME: tuple[tuple[str, Callable[[RunConfig], bool]], ...] = (
    ("in_image.sh", lambda config: bool(config.ngc_image)),
    ("rewards.py", lambda config: config.training_method == "grpo"),
    *((row.argv[0], row.applies) for row in STAGES.values() if row.argv and row.argv[0].endswith(".py")),
    *((f"tests/{name}.py", wanted) for name, wanted in extras.TESTS),
)

# TrainingArguments keywords that a recipe may name and that have no key of their own in config.yaml.
RECIPE_ARGUMENTS = ("optim", "max_grad_norm", "adam_beta1", "adam_beta2", "adam_epsilon")
NOT_OF_TRAINING = ("per_device_eval_batch_size", "max_new_tokens")  # defaults that leave the trained model the same
# Keywords that train.py only sets where training_arguments does not.
YIELDING = (
    "bf16",
    "fp16",
    "dataloader_num_workers",
    "dataloader_pin_memory",
    "save_total_limit",
    "save_steps",
    "activation_checkpointing",
    "max_grad_norm",
)

_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# How our own pages write what a run fills in: in what was rendered, none of it may be left.
OWN_MARK = r"<(?:short|output_dir|model_id|dataset_id|hf_model_repo|ngc_image)>"
_PLACEHOLDER = re.compile(
    r"\{\{-?\s*[A-Za-z_][\w.]*(?:\s*\|[^{}]*|\([^{}]*\)|\[[^{}]*\])?\s*-?\}\}"  # a template's expression
    r"|\{%.*?%\}|\{#.*?#\}"  # its statements and comments
    r"|<[A-Z][A-Z0-9_]{2,}>|" + OWN_MARK + r"|\b(?:TODO|FIXME|TBD)\b(?=[:(\s]|$)"  # <PLACEHOLDER>
    r"|\b(?:REPLACE|CHANGE|FILL)_?ME\b|\bYOUR_[A-Z_]+\b",
    re.M,
)


def with_defaults(config: RunConfig, found: dict[str, Any]) -> RunConfig:
    """Fill the training keys that are null: from what research found, else from the scaffold. What is set stays.

    found: config keys, and TrainingArguments keywords of RECIPE_ARGUMENTS. Raises ToolFailure(out_of_scope | invalid_config).
    """
    defaults = training_defaults(config.task, config.training_method)
    filled = {key: found.get(key, value) for key, value in defaults.items() if getattr(config, key) is None}
    further = {key: found[key] for key in RECIPE_ARGUMENTS if key in found}
    return config_module.validate(
        {**config.model_dump(), **filled, "training_arguments": {**further, **config.training_arguments}},
        "render_project",
    )


def filled(before: RunConfig, after: RunConfig) -> dict[str, Any]:
    """What with_defaults set: key, or training_arguments.<keyword> -> value. The next rendering may set it anew."""
    keys = training_defaults(after.task, after.training_method)
    values = {key: getattr(after, key) for key in keys if getattr(before, key) is None}
    more = {name: value for name, value in after.training_arguments.items() if name not in before.training_arguments}
    return {key: value for key, value in values.items() if value is not None} | {
        f"{fixes.ARGUMENTS}{name}": value for name, value in more.items()
    }


def training_defaults(task: str | None, method: str | None = None) -> dict[str, Any]:
    """The scaffold's values of the training keys, for this method. Raises ToolFailure(out_of_scope) for a task without a scaffold."""
    defaults = yaml.safe_load((_folder(task) / "defaults.yaml").read_text())
    by_method = defaults.pop("methods", {})
    defaults.pop("on_gpu", None)
    return {**defaults, **by_method.get(method, {})}


def gpu_arguments(task: str | None) -> dict[str, bool]:
    """TrainingArguments keywords that the scaffold's train.py switches on where there is a GPU, unless training_arguments has them."""
    return yaml.safe_load((_folder(task) / "defaults.yaml").read_text()).get("on_gpu", {})


def plan_defaults(config: RunConfig) -> dict[str, Any]:
    """What this run would be rendered with where config.yaml is silent: of these values the memory estimate is made (fit.plan_of)."""
    return {**training_defaults(config.task, config.training_method), **gpu_arguments(config.task)}


def slot_values(recipe: Evidence | None) -> dict[str, Any]:
    """Slot -> what research found for it, where it found something."""
    slots = recipe.facts["slots"] if recipe else {}
    return {name: slot["value"] for name, slot in slots.items() if slot.get("value") is not None}


def render_files(config: RunConfig, slots: dict[str, Any], places: list[str] | None = None) -> dict[str, str]:
    """Project path -> text, config.yaml apart. slots: the recipe's values by slot name (auto_class is used).

    places: of local data (listed.places); None: the paths that the config names.

    Raises ToolFailure: out_of_scope (no scaffold for the task), invalid_config (a value that cannot be rendered),
    internal (a scaffold that leaves a hole or a file without its header).
    """
    folder = _folder(config.task)
    files = _rendered(config, slots, folder, places)
    own = quoting.without(config, _PLACEHOLDER)  # a folder may be called TODO
    _check(files, files if own == config else _rendered(own, slots, folder))
    if wrong := fixes.forbidden(config, files):
        raise ToolFailure("internal", f"{wrong[0]}; nothing was written: please report this")
    return files


def _rendered(
    config: RunConfig, slots: dict[str, Any], folder: Path, places: list[str] | None = None
) -> dict[str, str]:
    named = [path for path in (config.local_dataset_path, config.local_eval_path) if path]
    values = _values(config, slots) | {"local_mounts": [*map(quoting.bind_mount, named if places is None else places)]}
    templates_of = environment(folder)
    _check_arguments(config, templates_of.get_template("train.py.j2").render({**values, "training_arguments": []}))
    files = {
        name: (path / source).read_text()
        if source.endswith(".py")
        else templates_of.get_template(source).render(values)
        for name, (path, source) in _sources(config, folder).items()
    }
    files |= harness.copied(files) | harness.rendered(config, _fingerprint(config))
    files |= requirements(config.task)
    files["requirements.txt"] = fixes.requirements(config, extras.requirements(config, files["requirements.txt"]))
    return files


def _sources(config: RunConfig, folder: Path) -> dict[str, tuple[Path, str]]:
    """File of the project -> the folder and the name of its source: a template (.j2), or the very file."""
    shared = folder.parent / "_shared"
    wanted = {name for name, when in SOME if when(config)}
    found = {name: (shared, source) for name, source in SHARED.items()}
    found |= {name: (shared, path) for name in wanted for path in (name, f"{name}.j2") if (shared / path).is_file()}
    own = [path.name for pattern in ("*.py", "*.j2") for path in sorted(folder.glob(pattern))]
    found |= {name.removesuffix(".j2"): (folder, name) for name in own}
    return {name: source for name, source in found.items() if name in wanted or name not in dict(SOME)}


def guarded(files: Iterable[str]) -> list[str]:
    """Those of a project's files that measure: an edit of one is never accepted."""
    return [name for name in files if name.startswith(MEASURES)]


def requirements(task: str | None) -> dict[str, str]:
    """File name -> text, in the order in which they must be installed (torch first). The same for every run."""
    _folder(task)
    return {name: (data_dir("scaffolds") / "_shared" / name).read_text() for name in REQUIREMENTS}


def missing_headers(files: dict[str, str]) -> list[str]:
    """The .py files that do not begin with the exact copyright header."""
    return sorted(name for name, text in files.items() if name.endswith(".py") and not text.startswith(HEADER))


def unresolved_placeholders(files: dict[str, str]) -> list[str]:
    """`path:line: what` for everything that still waits to be filled in. The braces of Python's f-strings are none, and
    nothing of harness/ is: it is copied as it is, with the template of a chat in it."""
    found = []
    for name, text in files.items():
        if name.startswith("harness/") and name.endswith(".py"):
            continue
        visible = _without_fstrings(text) if name.endswith(".py") else text
        found += [
            f"{name}:{visible.count(chr(10), 0, match.start()) + 1}: {match[0]}"
            for match in _PLACEHOLDER.finditer(visible)
        ]
    return found


def _folder(task: str | None):
    folder = data_dir("scaffolds") / (task or "")
    if not task or not (folder / "train.py.j2").is_file():
        raise ToolFailure(
            "out_of_scope",
            f"task = {task!r} has no scaffold in this version: it renders "
            f"{', '.join(sorted(path.parent.name for path in data_dir('scaffolds').glob('*/train.py.j2')))}",
        )
    return folder


def environment(folder):
    """Templates of a scaffold folder, and of _shared beside it; an unknown name is an error."""
    import jinja2  # 60 ms, and only this tool needs it

    loader = jinja2.FileSystemLoader([folder, folder.parent / "_shared"])
    return jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _values(config: RunConfig, slots: dict[str, Any]) -> dict[str, Any]:
    _check_image(config)
    return {
        "config": config,
        "adapted": config.adapted,
        "auto_class": _auto_class(config.task, slots),
        "arguments_class": arguments_class(config),
        "metric": tasks.metric(config.task, config.training_method),
        "training_arguments": list(config.training_arguments),
        "gpu_arguments": [name for name in gpu_arguments(config.task) if name not in config.training_arguments],
        "workarounds": fixes.image_lines(config),
        "frozen": FROZEN,
        "online": _in_shell([row for row in STAGES.values() if row.network]),
        "monitored": _in_shell([row for row in STAGES.values() if row.monitored]),
        "dataset": quoting.sentence(f"{config.dataset_id or config.local_dataset_path}"),
    }


def arguments_class(config: RunConfig) -> str:
    """What train.py calls for its settings."""
    return TASKS[config.task].arguments_class.get(config.training_method or "", "TrainingArguments")


def _auto_class(task: str, slots: dict[str, Any]) -> str:
    """The recipe's class if it has this task's head. (A processor always goes through Auto: only that takes backend="pil".)"""
    fallback, head = TASKS[task].auto_classes[0], TASKS[task].heads[0]
    named = slots.get("auto_class")
    return named if isinstance(named, str) and named.isidentifier() and head in named else fallback


def _in_shell(rows: list[Stage]) -> str:
    """The patterns of a shell's `case " $* "` for the commands of these stages: a script with its words, or a module of -m."""
    words = [row.argv[1:2] if row.argv[0] == "-m" else row.argv for row in rows]
    return " | ".join('*" ' + ' "*"'.join(each) + ' "*' for each in words)


def _fingerprint(config: RunConfig) -> list[str]:
    """The config keys that make two trainings the same one. A checkpoint of another training is never continued."""
    own = [key for key in training_defaults(config.task, config.training_method) if key not in NOT_OF_TRAINING]
    first = ["model_id", "model_revision", "training_method", "n_epochs", "seed", "training_arguments"]
    first += ["lora_r"] if config.adapted else []
    return list(dict.fromkeys([*first, *own]))


def _check_arguments(config: RunConfig, bare: str) -> None:
    """training_arguments, each of which becomes a keyword in train.py; bare: train.py without any. Raises ToolFailure(invalid_config)."""
    ours = _own_arguments(bare)
    for name in config.training_arguments:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise ToolFailure(
                "invalid_config", f"training_arguments has {name!r}, which is no name of a keyword: remove it"
            )
        if name in RunConfig.model_fields or name in ours:
            remedy = "set that key of config.yaml instead" if name in RunConfig.model_fields else ours[name]
            raise ToolFailure(
                "invalid_config", f"training_arguments has {name!r}, which train.py sets itself: {remedy}"
            )


def _own_arguments(bare: str) -> dict[str, str]:
    """Keyword of train.py's TrainingArguments(...) that may not be overridden -> what to do instead."""
    calls = [node for node in ast.walk(ast.parse(bare)) if isinstance(node, ast.Call)]
    call = next(call for call in calls if any(given.arg == "output_dir" for given in call.keywords))
    names = [given.arg for given in call.keywords if given.arg not in YIELDING]
    return {
        **dict.fromkeys([*names, "max_steps", "resume_from_checkpoint"], "remove it"),
        "num_train_epochs": "set n_epochs instead",
    }


def _check_image(config: RunConfig) -> None:
    if config.ngc_image is None:
        return
    if not _IMAGE.fullmatch(config.ngc_image) or not _DIGEST.fullmatch(config.ngc_image_digest or ""):
        raise ToolFailure(
            "invalid_config",
            f"ngc_image = {config.ngc_image!r}, ngc_image_digest = {config.ngc_image_digest!r}: an image name and "
            "its sha256:… digest are needed: call pick_ngc_image",
        )


def _without_fstrings(text: str) -> str:
    """The source with each f-string blanked: `{{` there is a brace, and nothing of ours."""
    try:
        nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.JoinedStr)]
    except (SyntaxError, ValueError):
        return text
    lines = [line.encode() for line in text.splitlines(keepends=True)]  # ast counts columns in bytes
    for node in nodes:
        for row in range(node.lineno - 1, node.end_lineno):
            line = lines[row]
            start = node.col_offset if row == node.lineno - 1 else 0
            end = node.end_col_offset if row == node.end_lineno - 1 else len(line.rstrip(b"\r\n"))
            lines[row] = line[:start] + b" " * (end - start) + line[end:]
    return b"".join(lines).decode()


def _check(files: dict[str, str], without_names: dict[str, str]) -> None:
    """without_names: the same files, of a config in which no name looks like a placeholder. Raises ToolFailure(internal)."""
    if missing := missing_headers(files):
        raise ToolFailure(
            "internal",
            f"{missing[0]} would have been written without the copyright header; nothing was: please report this",
        )
    if holes := unresolved_placeholders(without_names):
        raise ToolFailure(
            "internal", f"{holes[0]} is a placeholder that nothing filled; nothing was written: please report this"
        )
