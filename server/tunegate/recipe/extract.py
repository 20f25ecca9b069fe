"""Documents -> what they say: Markdown with code fences, notebooks, scripts. (Model cards: card.py.)

Code is read by its syntax tree (pyfacts), shell commands by shlex.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import textwrap
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tunegate.recipe import needs
from tunegate.recipe.pyfacts import Extraction, Head, extract_python, extract_tree
from tunegate.recipe.pysource import parse
from tunegate.recipe.pytrainings import a_form_of_adamw
from tunegate.recipe.trainings import Objective, Start, Training
from tunegate.recipe.values import hyperparameter, known, lora_settings, number

MAX_FENCES = 200
PYTHON = ("python", "py", "python3", "pycon")
SHELL = ("bash", "sh", "shell", "console", "zsh")
MAX_CELLS = 500
# What a command's script is named after -> what it trains.
SCRIPT_OBJECTIVES: dict[str, Objective] = {
    "dpo": "dpo",
    "grpo": "grpo",
    **dict.fromkeys(("orpo", "kto", "cpo", "ppo", "rloo", "reward", "prm", "gkd", "bco", "nash", "xpo"), "other"),
}
STARTS = ("model_name_or_path", "pretrained_model_name_or_path", "base_model", "finetune", "pretrained")
FROM_NOTHING = ("config_name", "model_type", "config_overrides")
PRETRAINING = ("pretrain", "mim", "mae")
# The example scripts of transformers and TRL.
EXAMPLE = re.compile(
    r"run_(?:image_classification|object_detection|(?:semantic|instance)_segmentation|clm|sft|dpo|grpo)(?:_no_trainer)?\.py"
    r"|(?:sft|dpo|grpo)(?:_vlm)?\.py"
)
LAUNCHER = re.compile(r"\b(?:accelerate launch|torchrun|torch\.distributed|deepspeed|DeepSpeed)\b")


class Fence(NamedTuple):
    language: str
    text: str
    line: int  # of the first line inside the fence, from 1


def fences(text: str) -> list[Fence]:
    """The fenced blocks of a Markdown text; one that is never closed runs to the end, as CommonMark has it.

    Not by markdown-it-py, which finds the same ones: 4 MB of list items, which a stranger's page may be, take it 34 s of CPU.
    """
    found: list[Fence] = []
    inside: list[str] | None = None
    mark, language, start, quoted = "", "", 0, False
    for index, line in enumerate(text.splitlines(), 1):
        if inside is None:
            quoted = line.lstrip().startswith("> ")
        line = line.lstrip().removeprefix(">").removeprefix(" ") if quoted else line
        bare = line.strip()
        if inside is None and bare.startswith(("```", "~~~")):
            mark = bare[: len(bare) - len(bare.lstrip(bare[0]))]
            words = bare[len(mark) :].strip(" {.}").split()
            language, inside, start = (words[0].lower() if words else ""), [], index + 1
        elif inside is not None and bare.startswith(mark) and not bare.strip(mark[0]):
            found.append(Fence(language, textwrap.dedent("\n".join(inside)), start))
            inside = None
        elif inside is not None:
            inside.append(line)
    if inside is not None:
        found.append(Fence(language, textwrap.dedent("\n".join(inside)), start))
    return found[:MAX_FENCES]


def outside_fences(text: str) -> list[tuple[int, str]]:
    """(number, line) of the lines that are in no fence."""
    inside: set[int] = set()
    for fence in fences(text):
        inside |= set(range(fence.line - 1, fence.line + fence.text.count("\n") + 2))
    return [(index, line) for index, line in enumerate(text.splitlines(), 1) if index not in inside]


def extract_markdown(text: str, head: Head, adapted: bool = False) -> Extraction:
    """All Python fences read as one program (later fences use earlier names), then shell fences for command lines.

    adapted: this run trains a LoRA adapter, so commands that do go before those that do not.
    """
    body: list[ast.stmt] = []
    problems: list[str] = []
    commands: list[Command] = []
    requires: dict[str, str] = {}
    parts: list[tuple[int, int]] = []
    for fence in fences(text):
        where = (fence.line, fence.line + fence.text.count("\n"))
        if fence.language in PYTHON:
            try:
                tree = parse(_source(fence.text))
            except ValueError:
                problems.append(f"line {fence.line}: a code block does not parse as Python")
                continue
            body += ast.increment_lineno(tree, fence.line - 1).body
            parts.append(where)
        elif fence.language in SHELL:
            commands += _command(fence, where)
        if fence.language in (*PYTHON, *SHELL):
            requires = {**needs.installed_by(fence.text), **requires}
    found = extract_tree(ast.Module(body=body, type_ignores=[]), head, parts)
    found.problems = problems + found.problems
    found.requires = {**requires, **found.requires}
    _launched_somehow(found, text)
    _add_commands(found, commands, adapted)
    return found


class Command(NamedTuple):
    training: Training
    lora: dict[str, Any]


def _command(fence: Fence, lines: tuple[int, int] | None) -> list[Command]:
    words, values = _first_command(fence.text)
    if not values:
        return []
    lora = lora_settings(values)
    clean = dict(filter(None, (hyperparameter(*pair) for pair in values.items())))
    return [Command(_trained_by(words, clean, lora).model_copy(update={"lines": lines}), lora)]


def _trained_by(words: list[str], values: dict[str, Any], lora: dict[str, Any]) -> Training:
    """A command's words say what it trains: the script's name, the model it names, an adapter, the launcher's processes."""
    options = _options(words)
    script = next(word for word in words if word.endswith(".py")).rsplit("/", 1)[-1]
    objective = next(
        (name for word, name in SCRIPT_OBJECTIVES.items() if word in re.split(r"[_.-]", script)), "supervised"
    )
    adapted = bool(lora) or "use_peft" in options or any(name.startswith("lora_") for name in options)
    quantized = bool({"load_in_4bit", "load_in_8bit"} & set(options))
    unread = [known(name) for name, value in options.items() if known(name) and known(name) not in values]
    given = {known(name): value for name, value in options.items() if known(name)}
    return Training(
        values=values,
        unread=[name for name in unread if not a_form_of_adamw(name, given[name])],
        start=_started_by(script, options),
        objective=objective,
        adapter="qlora" if adapted and quantized else "lora" if adapted else "none",
        devices=_launched(words, options),
    )


def _started_by(script: str, options: dict[str, str]) -> Start | None:
    """The libraries' example scripts fine-tune unless they are given a configuration alone; another script names its model."""
    if any(name in options for name in STARTS):
        return "pretrained"
    if any(name in options for name in FROM_NOTHING) or any(word in script for word in PRETRAINING):
        return "scratch"
    return "pretrained" if EXAMPLE.fullmatch(script) else None


def _launched(words: list[str], options: dict[str, str]) -> int | None:
    """On how many devices; None where the launcher decides by a file or by the machine."""
    before = words[: next(index for index, word in enumerate(words) if word.endswith(".py"))]
    launchers = {"accelerate", "torchrun", "deepspeed", "torch.distributed.launch", "torch.distributed.run", "srun"}
    if not launchers & {word.rsplit("/", 1)[-1] for word in before}:
        return 1
    counts = [options[name] for name in ("num_processes", "nproc_per_node", "num_gpus") if name in options]
    nodes = any(options.get(name, "1") != "1" for name in ("nnodes", "num_machines", "num_nodes"))
    return int(counts[0]) if counts and counts[0].isdigit() and int(counts[0]) > 0 and not nodes else None


def _launched_somehow(found: Extraction, text: str) -> None:
    """Code does not say how many processes run it; where the page speaks of a launcher, nobody knows."""
    if LAUNCHER.search(text):
        found.trainings = [training.model_copy(update={"devices": None}) for training in found.trainings]


def _add_commands(found: Extraction, commands: list[Command], adapted: bool) -> None:
    """Commands for an example script: they fine-tune. A learning rate for LoRA is ten times that for all weights."""
    for training, lora in sorted(commands, key=lambda command: (command.training.adapter != "none") != adapted):
        found.finetunes |= training.start != "scratch"
        found.add("lora", lora, training.lines)
        if training.values:
            found.trainings.append(training)
    found.settle(adapted)


def _source(block: str) -> str:
    """A block with doctest prompts or notebook magics -> its Python alone, line for line."""
    lines = block.splitlines()
    if any(line.lstrip().startswith(">>>") for line in lines):
        lines = [line.lstrip()[4:] if line.lstrip().startswith((">>>", "...")) else "" for line in lines]
    return "\n".join("" if line.lstrip().startswith(("!", "%")) else line for line in lines)


def command_values(text: str) -> dict[str, Any]:
    """`python run.py --learning_rate 2e-5` -> {"learning_rate": 2e-05}: the first command of a block that has any.

    Names are the command's own, values checked: hyperparameters and LoRA settings.
    """
    return _first_command(text)[1]


def _first_command(text: str) -> tuple[list[str], dict[str, Any]]:
    """(its words, its values) of the first command that sets something; ([], {}) when none does."""
    for line in text.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line.strip().removeprefix("$ "), comments=True)
        except ValueError:
            continue
        if not any(word.endswith(".py") for word in words):
            continue
        values: dict[str, Any] = {}
        for name, text_value in _options(words).items():
            given = number(text_value)
            if hyperparameter(name, given) or lora_settings({name: given}):
                values.setdefault(name, given)
        if values:
            return words, values
    return [], {}


def _options(words: list[str]) -> dict[str, str]:
    """`--name value`, `--name=value` and `--name` -> {name: value or what follows}; the first of a name counts."""
    options: dict[str, str] = {}
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            options.setdefault(name.lstrip("-").replace("-", "_"), value if equals else following)
    return options


def extract_notebook(text: str, head: Head) -> Extraction:
    """A notebook's code cells, in order, as one program; line numbers would mean nothing, so there are none."""
    try:
        cells = json.loads(text)["cells"]
        sources = [source for cell in cells[:MAX_CELLS] if (source := _cell(cell))]
    except (ValueError, KeyError, TypeError, RecursionError):
        return Extraction(problems=["is not a notebook"])
    body: list[ast.stmt] = []
    problems = []
    requires: dict[str, str] = {}
    above = 0  # lines of the cells before
    for source in sources:
        requires = {**needs.installed_by(source), **requires}
        try:
            body += ast.increment_lineno(parse(_source(source)), above).body
        except ValueError:
            problems.append("a code cell does not parse as Python")
        above += source.count("\n") + 1
    found = extract_tree(ast.Module(body=body, type_ignores=[]), head)
    found.findings = {slot: finding._replace(lines=None) for slot, finding in found.findings.items()}
    found.trainings = [training.model_copy(update={"lines": None}) for training in found.trainings]
    # lines of cells, which no reader could find
    found.problems = list(dict.fromkeys(problems + [problem.split(": ", 1)[-1] for problem in found.problems]))
    found.requires = {**requires, **found.requires}
    return found


def _cell(cell: Any) -> str:
    """The code of a cell; "" for one without, or of another shape."""
    if not isinstance(cell, dict) or cell.get("cell_type") != "code":
        return ""
    source = cell.get("source")
    lines = source if isinstance(source, list) else [source]
    return "".join(lines) if all(isinstance(line, str) for line in lines) else ""


def extract_script(url: str, text: str, head: Head, adapted: bool = False) -> Extraction:
    """A script or notebook. TRL's scripts say how to call them in their docstring, whose commands count where the code is silent."""
    path = urlsplit(url).path
    if path.endswith(".ipynb") or (not path.endswith(".py") and text.lstrip()[:1] == "{"):  # a gist's URL tells no kind
        return extract_notebook(text, head)
    found = extract_python(text, head)
    found.requires = {**needs.script_block(text), **found.requires}
    _launched_somehow(found, text)
    try:
        docstring = ast.get_docstring(parse(text))
    except ValueError:
        docstring = None
    blocks = [*fences(docstring or ""), *_paragraphs(docstring or "")]
    _add_commands(found, [command for block in blocks for command in _command(block, None)], adapted)
    return found


def _paragraphs(text: str) -> list[Fence]:
    """What stands outside of fences, divided by empty lines: some scripts show their command without a fence."""
    outside = "\n".join(line for _, line in outside_fences(text))
    return [Fence("", part, 1) for part in re.split(r"\n\s*\n", outside) if ".py" in part][:MAX_FENCES]
