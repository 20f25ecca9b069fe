"""Every training row has the same label"""

from tests.traps import drawn
from tests.traps.judge import refused

KIND, MUST = "data", refused(r"(class|label|nothing to tell apart)")


def trap(world):
    world.restore("rendered")
    world.data("me/one", drawn.pictures(1, {"circle": 90}), drawn.pictures(2, 20))
    content = world.start("one", dataset="me/one", data={"n_train": 90})
    if "error" not in content:
        content = world.stages("build", "prepare", output_dir="one")
    return world.seen(content, gate=4, output_dir="one")
