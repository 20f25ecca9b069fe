"""A learning rate of 1e-30, with which nothing can be learned"""

from tests.traps.judge import refused

KIND, MUST, QUICK = "method", refused(r"learning_rate"), True


def trap(world):
    world.restore("rendered")
    return world.seen(world.call("render_project", overrides={"learning_rate": 1e-30}))
