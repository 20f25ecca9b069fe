"""adam_epsilon of 1e12: the optimizer's steps vanish"""

from tests.traps.judge import refused

KIND, MUST, QUICK = "method", refused(r"adam_epsilon"), True


def trap(world):
    world.restore("rendered")
    return world.seen(world.call("render_project", overrides={"training_arguments": {"adam_epsilon": 1e12}}))
