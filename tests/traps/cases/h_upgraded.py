"""tunegate is upgraded to a newer version in the middle of the run"""

from tests.traps.judge import honest

KIND, MUST = "honest", honest()


def trap(world):
    world.restore("train")
    with world.version("99.0.0"):
        return world.seen(world.stages("eval", "infer"))
