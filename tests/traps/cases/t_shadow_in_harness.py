"""harness/json.py and harness/sub/x.py are added to the package that measures"""

from tests.traps import forge
from tests.traps.judge import reported

KIND, MUST = "shadows", reported(r"harness/", "gate")


def trap(world):
    run = world.restore("train")
    (run / "harness/extra").mkdir()
    (run / "harness/extra/__init__.py").write_text(world.header + forge.AT_END)
    (run / "harness/json.py").write_text(world.header + forge.AT_END)
    return forge.after_eval(world, "check_api", "eval")
