"""robots.txt as RFC 9309 defines it. The standard library's parser knows no wildcards, with which GitHub's file is written."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

AGENT = "tunegate"
MAX_CHARACTERS = 500 * 1024  # as much as the RFC asks a reader to read
MAX_RULES = 2000


class Rules(NamedTuple):
    """What a host asks of us. Without any rule everything is allowed."""

    paths: tuple[tuple[str, bool], ...] = ()  # (pattern, whether it allows)
    delay: float = 0.0  # seconds between two requests, as Crawl-delay asks for

    def allow(self, path: str) -> bool:
        """path: with its query. The longest pattern that matches decides; of two as long, the one that allows."""
        found = [(len(pattern), allowed) for pattern, allowed in self.paths if _matches(pattern, path)]
        return max(found)[1] if found else True


def parse(text: str, agent: str = AGENT) -> Rules:
    """The rules of all groups that name us, else of those for everyone. What cannot be read as a rule is skipped."""
    groups: dict[str, tuple[list[tuple[str, bool]], list[float]]] = {}
    names: list[str] = []
    ruled = True  # a User-agent line after rules begins a new group
    for line in text.removeprefix("\ufeff")[:MAX_CHARACTERS].splitlines():
        key, _, value = (part.strip() for part in line.partition("#")[0].partition(":"))
        key = key.lower()
        if key == "user-agent":
            names, ruled = ([] if ruled else names) + [value.lower()], False
        elif key in ("allow", "disallow", "crawl-delay"):
            ruled = True
            for name in names:
                paths, delays = groups.setdefault(name, ([], []))
                if key == "crawl-delay":
                    delays += _seconds(value)
                elif value and len(paths) < MAX_RULES:
                    paths.append((value, key == "allow"))
    paths, delays = groups.get(agent) or groups.get("*") or ([], [])
    return Rules(tuple(paths), max(delays, default=0.0))


def _seconds(value: str) -> list[float]:
    try:
        return [float(value)] if 0 <= float(value) <= 86_400 else []
    except ValueError:
        return []


def _matches(pattern: str, path: str) -> bool:
    """`*` stands for anything, `$` for the end. Searched part by part, so that no pattern takes long."""
    path = unquote(path)
    anchored = pattern.endswith("$")
    first, *others = [unquote(part) for part in pattern.removesuffix("$").split("*")]
    if not path.startswith(first):
        return False
    at = len(first)
    for part in others[:-1] if anchored else others:
        if (found := path.find(part, at)) < 0:
            return False
        at = found + len(part)
    if not anchored:
        return True
    return path.endswith(others[-1]) and len(path) - len(others[-1]) >= at if others else at == len(path)
