"""A learning rate of 0 as an override"""

from tests.traps.judge import refused

KIND, MUST, QUICK = "method", refused(r"learning_rate"), True


def trap(world):
    world.restore("rendered")
    return world.seen(world.call("render_project", overrides={"learning_rate": 0}))
