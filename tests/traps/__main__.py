"""python -m tests.traps [--only NAME,NAME] [--list] [--world FOLDER]    a line for each trap, then the tally by kind.

Exits with 1 if any did not meet what it must. --world: a folder in which the honest run is kept for the next time.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.traps import play
from tests.traps.world import World


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.traps")
    parser.add_argument("--only", help="names, or how they begin, with commas between")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--world", type=Path)
    options = parser.parse_args()
    names = play.names(options.only.split(",") if options.only else ())
    if options.list:
        print("\n".join(f"{name:30} {play.case(name).__doc__.splitlines()[0]}" for name in names))
        return 0
    base = options.world or Path(tempfile.mkdtemp(prefix="traps-"))
    world = World(base.resolve())
    try:
        rows = []
        for name in names:
            rows.append(play.play(world, name))
            print(rows[-1].line, flush=True)
    finally:
        world.close()
        if not options.world:
            shutil.rmtree(base, ignore_errors=True)
    print("", *play.tally(rows), sep="\n")
    wrong = [row for row in rows if not row.judged.ok]
    print("", *(f"NOT MET {row.line}" for row in wrong), sep="\n")
    return 1 if wrong else 0


sys.exit(main())
