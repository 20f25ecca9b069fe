"""Which versions of libraries a source asks for, or was written with, and which of them this run does not have."""

from __future__ import annotations

import shlex
import tomllib
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from tunegate.recipe.values import is_name

if TYPE_CHECKING:
    from tunegate.recipe.pysource import SourceCode

MAX_TEXT = 120  # characters of one requirement
MAX_NEEDS = 30
FRAMEWORKS = {"pytorch": "torch"}  # as a card names it -> as it is installed
# Libraries whose requirement counts wherever a card writes it, in prose too.
STACK = ("transformers", "trl", "peft", "datasets", "accelerate", "timm", "torch", "torchvision")


def requirement(text: str) -> tuple[str, str] | None:
    """`transformers>=4.49` -> ("transformers", ">=4.49"); None for anything else, and without a version."""
    if len(text) > MAX_TEXT:
        return None
    try:
        wanted = Requirement(text)
    except (InvalidRequirement, RecursionError):
        return None
    name, specifier = canonicalize_name(wanted.name), str(wanted.specifier)
    return (name, specifier) if specifier and is_name(name.replace("-", "_")) else None


def called_requirements(source: SourceCode) -> dict[str, str]:
    """check_min_version("4.57.0") and require_version("datasets>=2.14"), as transformers' examples call them."""
    found: dict[str, str] = {}
    for call, _ in source.calls:
        name = source.origin(call.func).rsplit(".", 1)[-1]
        if name not in ("check_min_version", "require_version") or not call.args:
            continue
        said = getattr(call.args[0], "value", None)
        if isinstance(said, str):
            _add(found, f"transformers>={said}" if name == "check_min_version" else said)
    return found


def script_block(text: str) -> dict[str, str]:
    """The dependencies of a script's `# /// script` block (PEP 723)."""
    lines = text.splitlines()
    if "# /// script" not in lines:
        return {}
    found: dict[str, str] = {}
    block = []
    for line in lines[lines.index("# /// script") + 1 :][:200]:
        if line.strip() == "# ///" or not line.startswith("#"):
            break
        block.append(line[1:].removeprefix(" "))
    try:
        listed = tomllib.loads("\n".join(block)).get("dependencies")
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}
    for item in listed if isinstance(listed, list) else []:
        _add(found, item)
    return found


def installed_by(text: str) -> dict[str, str]:
    """What the `pip install` commands of a shell block or a notebook's cell ask for."""
    found: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip().lstrip("!%$> ")
        if "pip" not in line[:40] or "install" not in line[:60]:
            continue
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        for word in words:
            _add(found, word)
    return found


def named_in(line: str) -> dict[str, str]:
    """Requirements on libraries of ours in one line of prose: "needs `transformers>=4.49.0`"."""
    found: dict[str, str] = {}
    for word in line.replace("`", " ").replace("*", " ").split()[:400] if len(line) < 4000 else []:
        word = word.strip(".,;:()[]\"'")
        if word.startswith(STACK) and (given := requirement(word)) and given[0] in STACK:
            found.setdefault(*given)
    return found


def framework_version(item: str) -> tuple[str, str] | None:
    """`Transformers 4.37.2` or `PEFT: 0.7.1`, an item under "Framework versions" -> ("transformers", "4.37.2")."""
    words = item.replace(":", " ").split()
    if len(words) != 2 or len(item) > MAX_TEXT or not is_name(words[0]):
        return None
    try:
        return FRAMEWORKS.get(words[0].lower(), words[0].lower()), str(Version(words[1]))
    except InvalidVersion:
        return None


def _add(found: dict[str, str], text: object) -> None:
    if isinstance(text, str) and len(found) < MAX_NEEDS and (given := requirement(text)):
        found.setdefault(*given)


def note(requires: dict[str, str], written_with: dict[str, str], versions: dict[str, str]) -> str:
    """What of a source's versions does not fit those that this run pins; "" when all do. torch is the container's own."""
    unmet, older = [], []
    for name, version in versions.items():
        if name == "torch":
            continue
        if name in requires and not _meets(version, requires[name]):
            unmet.append(f"{name}{requires[name]} (here {version})")
        if name in written_with and Version(written_with[name]).major < Version(version).major:
            older.append(f"{name} {written_with[name]} (here {version})")
    said = [f"asks for {', '.join(unmet)}"] if unmet else []
    return " and ".join(said + ([f"was written with {', '.join(older)}"] if older else []))


def _meets(version: str, specifier: str) -> bool:
    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return True  # nothing that can be held against it
