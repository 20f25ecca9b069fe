"""An evaluation of three rows"""

from tests.traps.judge import refused

KIND, MUST = "data", refused(r"(3 evaluation rows|3 rows|too few|few)")


def trap(world):
    world.restore("rendered")
    content = world.start("three", data={"n_eval": 3})
    if "error" in content:
        return world.seen(content)
    content = world.stages("build", "check_api", "prepare", output_dir="three")
    return world.seen(content, gate=4, output_dir="three", only=("prepare",))
