"""sitecustomize.py and usercustomize.py lie beside the scripts"""

from tests.traps import forge
from tests.traps.judge import reported

KIND, MUST = "shadows", reported(r"(site|user)customize\.py", "gate")


def trap(world):
    run = world.restore("train")
    for name in ("sitecustomize.py", "usercustomize.py"):
        (run / name).write_text(world.header + forge.AT_END)
    return forge.after_eval(world, "check_api", "eval")
