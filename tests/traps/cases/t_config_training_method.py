"""config.yaml: training_method = lora written by hand after everything was done"""

from tests.traps.judge import refused

KIND, MUST = "config", refused(r"training_method")


def trap(world):
    world.restore("eval")
    world.config(training_method="lora")
    return world.seen()
