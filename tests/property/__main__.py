"""The property test by hand: many examples with tallies, or one again."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.property import LAYOUTS
from tests.property.run import Workshop, stage_python, tally


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.property", description=__doc__)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=1e9, help="no example begins after so many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--layout", help="only layouts that begin so")
    parser.add_argument("--oddities", nargs="*", help="instead of those that the seed draws")
    parser.add_argument("--list", action="store_true", help="the layouts and their oddities")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name}: {', '.join(one.oddities)}" for name, one in sorted(LAYOUTS.items())))
        return
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.examples)
    with tempfile.TemporaryDirectory(prefix="property") as folder:
        shop, outcomes, began = Workshop(stage_python(), Path(folder)), [], time.monotonic()
        for seed in seeds:
            if time.monotonic() - began > 60 * options.minutes:
                break
            one = shop.run(seed, options.layout, tuple(options.oddities) if options.oddities is not None else None)
            if one.how == "wrong" and options.oddities is None:
                least = shop.reduced(one, options.layout)
                print(f"{one.shown}\n  with as little as: {', '.join(least.oddities) or 'nothing odd'}", flush=True)
            elif one.how == "wrong" or options.seed is not None:
                print(f"{one.shown}\n  {one.how}")
            outcomes.append(one)
        shop.close()
        print(tally(outcomes))
        print(f"\n{len(outcomes)} examples in {time.monotonic() - began:.0f} s")
    raise SystemExit(any(one.how == "wrong" for one in outcomes))


if __name__ == "__main__":
    main()
