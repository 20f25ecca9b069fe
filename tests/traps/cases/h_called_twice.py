"""The same training is asked for twice: the second call does nothing again.

The honest edge of t_laid_down_before.
"""

from tests.traps.judge import Seen, honest

KIND, MUST = "honest", honest()


def trap(world):
    run = world.restore("eval")
    steps = (run / "logs/steps.jsonl").read_text()
    content = world.stages("train", "eval")
    again = (run / "logs/steps.jsonl").read_text() != steps
    seen = world.seen(content)
    return Seen(seen.refusal, seen.gate, seen.card, harm="trained twice" if again else "")
