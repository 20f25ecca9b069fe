"""config.yaml: another seed written by hand after rendering."""

from tests.traps.judge import refused

KIND, MUST, QUICK = "config", refused(r"seed"), True


def trap(world):
    world.restore("rendered")
    world.config(seed=7)
    return world.seen(gate=4, only=("project",))
