"""Edited scripts are given up again: render_project with overwrite=true.

The honest edge of t_guard_after_training.
"""

from tests.traps.judge import honest

KIND, MUST = "honest", honest(r"as rendered", "gate")


def trap(world):
    world.restore("smoke")
    world.edit("train.py", "import math", "import math  # tried")
    content = world.call("render_project", overwrite=True)
    return world.seen(content if "error" in content else world.stages("check_api", "smoke"), gate=4)
