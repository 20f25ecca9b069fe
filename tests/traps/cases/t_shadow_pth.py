"""A .pth file in the run, with an import line"""

from tests.traps import forge
from tests.traps.judge import Seen, held

KIND, MUST = "shadows", held()


def trap(world):
    run = world.restore("train")
    (run / "forger.py").write_text(world.header + forge.AT_END)
    (run / "a.pth").write_text("import forger\n")
    seen = forge.after_eval(world, "check_api", "eval")
    return Seen(fact=seen.fact, harm=seen.harm)
