"""run_eval.py is edited once the training is done: the evaluation is not run."""

from tests.traps import forge
from tests.traps.judge import refused

KIND, MUST = "helpers", refused(r"measures the rest|render again")


def trap(world):
    world.restore("train")
    path = world.run / "run_eval.py"
    path.write_text(path.read_text() + forge.AT_END)
    return world.seen(world.stages("eval"), only=("eval",))
