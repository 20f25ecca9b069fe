"""Training holds every evaluation picture, saved anew as other bytes"""

from tests.traps import drawn
from tests.traps.judge import refused

KIND, MUST = "data", refused(r"(evaluation rows|duplicate|among the training|also)")


def trap(world):
    world.restore("rendered")
    test = drawn.pictures(2, 20)
    again = [(name, drawn.resaved(data)) for name, data in test]
    world.data("me/leaked", drawn.pictures(1, 30) + again, test)
    content = world.start("leaked", dataset="me/leaked")
    if "error" in content:
        return world.seen(content)
    content = world.stages("build", "check_api", "prepare", output_dir="leaked")
    return world.seen(content, gate=4, output_dir="leaked", only=("prepare",))
