"""A finished run is moved to another folder: what follows of itself opens the gates, and trains nothing again.

The honest edge of t_evidence_of_another_run.
"""

from tests.traps.judge import Seen, honest

KIND, MUST = "honest", honest()


def trap(world):
    run = world.restore("eval")
    run.rename(world.root / "moved")
    content, done = world.follow("moved")
    seen = world.seen(content, output_dir="moved")
    fact = f"done again: {', '.join(done)}; {seen.refusal}"
    return Seen(seen.refusal, seen.gate, fact=fact, harm="trained again: " + ", ".join(done) if "train" in done else "")
