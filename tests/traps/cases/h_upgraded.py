"""tunegate is upgraded in the middle, and renders other scripts: what follows of itself opens the gates.

The honest edge of t_guard_metrics.
"""

from tests.traps.judge import Seen, honest

KIND, MUST = "honest", honest()


def trap(world):
    world.restore("train")
    with world.upgraded():
        content, done = world.follow()
        seen = world.seen(content)
    return Seen(seen.refusal, seen.gate, fact=f"done again: {', '.join(done)}; {seen.refusal}")
