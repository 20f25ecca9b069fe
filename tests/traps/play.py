"""Plays traps one after the other in one world, and says what each met."""

from __future__ import annotations

import importlib
import pkgutil
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType

from tests.traps import cases
from tests.traps.judge import Judged, Seen, judged
from tests.traps.world import World


@dataclass(frozen=True)
class Played:
    name: str
    kind: str
    what: str
    judged: Judged
    seen: Seen
    seconds: float

    @property
    def line(self) -> str:
        mark = "" if self.judged.ok else "  <-- "
        told = self.seen.harm or self.seen.fact or self.seen.refusal
        return f"{self.name:30} {self.judged.outcome:15}{self.seconds:6.1f} s  {self.what} -- {told}"[:400] + mark


def case(name: str) -> ModuleType:
    return importlib.import_module(f"{cases.__name__}.{name}")


def names(only: Iterable[str] = ()) -> list[str]:
    """All of them in order, or those whose name begins with a word of `only`."""
    found = sorted(info.name for info in pkgutil.iter_modules(cases.__path__))
    return [name for name in found if any(map(name.startswith, only))] if only else found


def quick() -> list[str]:
    """Those that train nothing and take a few seconds."""
    return [name for name in names() if getattr(case(name), "QUICK", False)]


def play(world: World, name: str) -> Played:
    module, began = case(name), time.monotonic()
    try:
        seen = module.trap(world)
        found = judged(module.MUST, seen)
    except Exception as error:
        traceback.print_exc()
        seen, found = Seen(fact=f"{type(error).__name__}: {error}"), Judged("broken", False)
    what = (module.__doc__ or "").strip().splitlines()[0].rstrip(".")
    return Played(name, module.KIND, what, found, seen, time.monotonic() - began)


def tally(rows: list[Played]) -> Iterator[str]:
    """Lines of a table: of each kind, how many met what."""
    outcomes = sorted({row.judged.outcome for row in rows})
    yield f"| kind | traps | {' | '.join(outcomes)} | not met |"
    yield "|---" * (len(outcomes) + 3) + "|"
    for kind in [*sorted({row.kind for row in rows}), "all"]:
        of_kind = [row for row in rows if kind in (row.kind, "all")]
        counts = Counter(row.judged.outcome for row in of_kind)
        cells = [str(counts[outcome] or "") for outcome in outcomes]
        yield f"| {kind} | {len(of_kind)} | {' | '.join(cells)} | {sum(not row.judged.ok for row in of_kind) or ''} |"
