"""docker_run before anything was rendered"""

from tests.traps.judge import refused

KIND, MUST, QUICK = "order", refused(r"gate"), True


def trap(world):
    world.restore("rendered")
    world.call("probe_model", "fresh", model_id="me/tiny", platform="local-process")
    return world.seen(world.call("docker_run", "fresh", stage="build", wait_s=0))
