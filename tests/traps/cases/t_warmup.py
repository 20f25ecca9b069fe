"""A warm-up of a thousand million steps, of a training of 108"""

from tests.traps.judge import refused

KIND, MUST = "method", refused(r"warmup_steps")


def trap(world):
    world.restore("rendered")
    content = world.call("render_project", overrides={"warmup_steps": 1e9})
    content = (
        content if "error" in content else world.stages("build", "check_api", "prepare", "smoke", "baseline", "train")
    )
    return world.seen(content, only=("smoke", "train"))
