"""config.yaml: model_revision = 0 * 40 written by hand after everything was done"""

from tests.traps.judge import refused

KIND, MUST = "config", refused(r"model_revision|model")


def trap(world):
    world.restore("eval")
    world.config(model_revision="0" * 40)
    return world.seen()
