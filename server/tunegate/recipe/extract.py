"""Documents -> what they say: Markdown with code fences, notebooks, scripts, model cards.

Code is read by its syntax tree (pyfacts), shell commands by shlex, front matter by YAML. Prose is searched for links
and for the hyperparameter list that Trainer writes into a card; nothing else in prose is read.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import textwrap
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

from tunegate.recipe.pyfacts import Extraction, extract_python, extract_tree
from tunegate.recipe.pysource import parse
from tunegate.recipe.values import hyperparameter, is_name, lora_settings, number

MAX_FRONT_MATTER = 64 * 1024  # characters; also bounds what the YAML parser may be given
MAX_FENCES = 200
PYTHON = ("python", "py", "python3", "pycon")
SHELL = ("bash", "sh", "shell", "console", "zsh")
RAW = "https://raw.githubusercontent.com/"
_LINK = re.compile(r"https?://[^\s<>()\[\]\"'`|\\]{4,500}")
_ARXIV = re.compile(r"(?:^arxiv:|arxiv\.org/(?:abs|pdf)/)(\d{4}\.\d{4,5})", re.IGNORECASE)


class Fence(NamedTuple):
    language: str
    text: str
    line: int  # of the first line inside the fence, from 1


@dataclass
class Card:
    """A model card: what its code says, its metadata, and where it points."""

    extraction: Extraction
    tags: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)  # raw URLs of .py and .ipynb files
    papers: list[str] = field(default_factory=list)  # arXiv ids


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


def extract_markdown(text: str, head: str) -> Extraction:
    """All Python fences read as one program (later fences use earlier names), then shell fences for command lines."""
    body: list[ast.stmt] = []
    problems: list[str] = []
    commands: list[tuple[dict, int, int]] = []
    for fence in fences(text):
        if fence.language in PYTHON:
            try:
                tree = parse(_source(fence.text))
            except ValueError:
                problems.append(f"line {fence.line}: a code block does not parse as Python")
                continue
            body += ast.increment_lineno(tree, fence.line - 1).body
        elif fence.language in SHELL and (values := command_values(fence.text)):
            commands.append((values, fence.line, fence.line + fence.text.count("\n")))
    found = extract_tree(ast.Module(body=body, type_ignores=[]), head)
    found.problems = problems + found.problems
    for values, first, last in commands:
        _add_command(found, values, (first, last))
    return found


def _add_command(found: Extraction, values: dict[str, Any], lines: tuple[int, int] | None) -> None:
    """A command for an example script: it fine-tunes."""
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


def extract_notebook(text: str, head: str) -> Extraction:
    """A notebook's code cells, in order, as one program; line numbers would mean nothing, so there are none."""
    try:
        cells = json.loads(text)["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return Extraction(problems=["is not a notebook"])
    body: list[ast.stmt] = []
    problems = []
    for source in sources[:MAX_FENCES]:
        try:
            body += parse(_source(source)).body
        except ValueError:
            problems.append("a code cell does not parse as Python")
    found = extract_tree(ast.Module(body=body, type_ignores=[]), head)
    found.findings = {slot: finding._replace(lines=None) for slot, finding in found.findings.items()}
    found.problems = problems + found.problems
    return found


def extract_script(url: str, text: str, head: str) -> Extraction:
    """A script or notebook. TRL's scripts say how to call them in their docstring, whose commands count where the code is silent."""
    found = extract_notebook(text, head) if urlsplit(url).path.endswith(".ipynb") else extract_python(text, head)
    try:
        docstring = ast.get_docstring(parse(text)) if not urlsplit(url).path.endswith(".ipynb") else None
    except ValueError:
        docstring = None
    for fence in fences(docstring or ""):
        if values := command_values(fence.text):
            _add_command(found, values, None)
    return found


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


def extract_card(text: str, head: str) -> Card:
    found = extract_markdown(text, head)
    metadata, problem = front_matter(text)
    if problem:
        found.problems.append(problem)
    metrics = metadata.get("metrics")
    found.add("metrics", [name for name in metrics if is_name(name)][:8] if isinstance(metrics, list) else [], None)
    values, lines = trainer_list(text)
    if values:  # Trainer's own record of a fine-tuning is more exact than an example command
        found.finetunes = True
        found.findings.pop("hyperparameters", None)
        found.add("hyperparameters", values, lines)
    tags = metadata.get("tags")
    tags = [tag for tag in tags if isinstance(tag, str) and len(tag) <= 80][:100] if isinstance(tags, list) else []
    urls = links(text)
    return Card(found, tags, script_urls(urls), paper_ids([*tags, *urls]))


def trainer_list(text: str) -> tuple[dict[str, Any], tuple[int, int] | None]:
    """The `- name: value` list that Trainer writes under "Training hyperparameters" into a card."""
    values: dict[str, Any] = {}
    where: list[int] = []
    under = False
    for index, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            under = line.strip("# ").lower() == "training hyperparameters"
        elif under and line.startswith(("- ", "* ")):
            name, _, value = line[2:].partition(":")
            if clean := hyperparameter(name.strip(), number(value.strip())):
                values.setdefault(*clean)
                where.append(index)
    return values, (where[0], where[-1]) if where else None


def links(text: str) -> list[str]:
    """The http(s) links of a text, once each, in order; 500 at most."""
    return list(dict.fromkeys(match.rstrip(".,;:*_") for match in _LINK.findall(text)))[:500]


def script_urls(urls: list[str]) -> list[str]:
    """Links to .py and .ipynb files -> their raw URLs, those named after training first.

    transformers' own examples are left out: the example script has a priority of its own.
    """
    raw = [url for link in urls if (url := raw_url(link)) and not url.startswith(RAW + "huggingface/transformers/")]
    wanted = ("train", "tune", "tuning", "main")
    return sorted(
        dict.fromkeys(raw), key=lambda url: not any(word in url.rsplit("/", 1)[-1].lower() for word in wanted)
    )


def raw_url(link: str) -> str | None:
    """A page that shows a .py or .ipynb file (GitHub, Hub, Colab) -> the file itself; None for any other link."""
    try:
        parts = urlsplit(link)
    except ValueError:
        return None
    if not parts.path.endswith((".py", ".ipynb")) or ".." in parts.path:
        return None
    host, path = parts.hostname or "", parts.path.strip("/").split("/")
    if host == "colab.research.google.com" and path[0] == "github":
        host, path = "github.com", path[1:]
    if host in ("github.com", "www.github.com") and len(path) > 4 and path[2] in ("blob", "raw"):
        return RAW + "/".join([*path[:2], *path[3:]])
    if host == "huggingface.co" and "blob" in path[1:3]:
        at = path.index("blob")
        return "https://huggingface.co/" + "/".join([*path[:at], "resolve", *path[at + 1 :]])
    return f"{parts.scheme}://{parts.netloc}{parts.path}" if host != "github.com" else None


def paper_ids(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(match.group(1) for text in texts if (match := _ARXIV.search(text))))[:10]
