"""data/__init__.py: the folder of the rows becomes the module `data` of the scripts"""

from tests.traps import forge
from tests.traps.judge import reported

KIND, MUST = "shadows", reported(r"data/(__init__\.py)? would be imported", "gate")


def trap(world):
    run = world.restore("train")
    (run / "data/__init__.py").write_text(world.header + (run / "data.py").read_text() + forge.AT_END)
    return forge.after_eval(world, "eval")
