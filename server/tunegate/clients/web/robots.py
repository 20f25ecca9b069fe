"""robots.txt as RFC 9309 defines it, read by Protego. (The standard library's parser knows no wildcards, with which GitHub's is written.)"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

AGENT = "tunegate"
MAX_CHARACTERS = 500 * 1024  # as much as the RFC asks a reader to read


class Rules(NamedTuple):
    """What a host asks of us. Without any rule everything is allowed."""

    allow: Callable[[str], bool] = lambda url: True
    delay: float = 0.0  # seconds between two requests, as Crawl-delay asks for


def parse(text: str, agent: str = AGENT) -> Rules:
    """The rules of the groups that name us, else of those for everyone. What cannot be read as a rule is skipped."""
    from protego import Protego  # on first use: the server starts without it

    text = text.removeprefix("\ufeff")
    if len(text) > MAX_CHARACTERS:
        text = text[:MAX_CHARACTERS].rpartition("\n")[0]  # half a line is another rule
    rules = Protego.parse(text)
    return Rules(partial(rules.can_fetch, user_agent=agent), rules.crawl_delay(agent) or 0.0)
