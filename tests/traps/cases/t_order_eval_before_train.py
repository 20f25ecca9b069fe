"""eval before train has passed"""

from tests.traps.judge import refused

KIND, MUST = "order", refused(r"train")


def trap(world):
    world.restore("baseline")
    return world.seen(world.call("docker_run", stage="eval", wait_s=0))
