"""After prepare and smoke the Hub does not answer any more: training and evaluation go on.

The honest edge of t_during_baseline_cache.
"""

from tests.traps.judge import honest

KIND, MUST = "honest", honest()


def trap(world):
    world.restore("baseline")
    with world.hub_down():
        content = world.stages("train", "eval", "infer")
    return world.seen(content)
