"""Documents -> what they say: Markdown with code fences, notebooks, scripts. (Model cards: card.py.)

Code is read by its syntax tree (pyfacts), shell commands by shlex.
"""

from __future__ import annotations

import ast
import json
import shlex
import textwrap
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tunegate.recipe import needs
from tunegate.recipe.pyfacts import Extraction, Head, extract_python, extract_tree
from tunegate.recipe.pysource import parse
from tunegate.recipe.values import hyperparameter, lora_settings, number

MAX_FENCES = 200
PYTHON = ("python", "py", "python3", "pycon")
SHELL = ("bash", "sh", "shell", "console", "zsh")
MAX_CELLS = 500


class Fence(NamedTuple):
    language: str
    text: str
    line: int  # of the first line inside the fence, from 1


def fences(text: str) -> list[Fence]:
    """The fenced blocks of a Markdown text; one that is never closed runs to the end, as CommonMark has it."""
    found: list[Fence] = []
    inside: list[str] | None = None
    mark, language, start = "", "", 0
    for index, line in enumerate(text.splitlines(), 1):
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
    for fence in fences(text):
        if fence.language in PYTHON:
            try:
                tree = parse(_source(fence.text))
            except ValueError:
                problems.append(f"line {fence.line}: a code block does not parse as Python")
                continue
            body += ast.increment_lineno(tree, fence.line - 1).body
        elif fence.language in SHELL:
            commands += _command(fence, (fence.line, fence.line + fence.text.count("\n")))
        if fence.language in (*PYTHON, *SHELL):
            requires = {**needs.installed_by(fence.text), **requires}
    found = extract_tree(ast.Module(body=body, type_ignores=[]), head)
    found.problems = problems + found.problems
    found.requires = {**requires, **found.requires}
    _add_commands(found, commands, adapted)
    return found


class Command(NamedTuple):
    values: dict[str, Any]
    lines: tuple[int, int] | None
    adapts: bool  # it trains a LoRA adapter


def _command(fence: Fence, lines: tuple[int, int] | None) -> list[Command]:
    values = command_values(fence.text)
    return [Command(values, lines, "--use_peft" in fence.text or bool(lora_settings(values)))] if values else []


def _add_commands(found: Extraction, commands: list[Command], adapted: bool) -> None:
    """Commands for an example script: they fine-tune. A learning rate for LoRA is ten times that for all weights."""
    for values, lines, _ in sorted(commands, key=lambda command: command.adapts != adapted):
        found.finetunes = True
        found.add("lora", lora_settings(values), lines)
        found.add("hyperparameters", dict(filter(None, (hyperparameter(*pair) for pair in values.items()))), lines)


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
    for line in text.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line.strip().removeprefix("$ "), comments=True)
        except ValueError:
            continue
        if not any(word.endswith(".py") for word in words):
            continue
        values: dict[str, Any] = {}
        for word, following in zip(words, [*words[1:], ""], strict=True):
            name, equals, value = word.partition("=")
            name = name.lstrip("-").replace("-", "_") if name.startswith("--") else ""
            given = number(value if equals else following)
            if hyperparameter(name, given) or lora_settings({name: given}):
                values.setdefault(name, given)
        if values:
            return values
    return {}


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
    for source in sources:
        requires = {**needs.installed_by(source), **requires}
        try:
            body += parse(_source(source)).body
        except ValueError:
            problems.append("a code cell does not parse as Python")
    found = extract_tree(ast.Module(body=body, type_ignores=[]), head)
    found.findings = {slot: finding._replace(lines=None) for slot, finding in found.findings.items()}
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
    try:
        docstring = ast.get_docstring(parse(text))
    except ValueError:
        docstring = None
    _add_commands(found, [command for fence in fences(docstring or "") for command in _command(fence, None)], adapted)
    return found
