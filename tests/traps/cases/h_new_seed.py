"""Another seed is asked for by render_project before anything was trained.

The honest edge of t_config_seed.
"""

from tests.traps.judge import honest

KIND, MUST = "honest", honest()


def trap(world):
    world.restore("rendered")
    content = world.call("render_project", overrides={"seed": 7})
    return world.seen(content if "error" in content else world.stages("build", "check_api", "prepare", "smoke"), gate=4)
