"""eval is frozen between its measuring and its end, and forged results are written into the run"""

import shutil

from tests.traps import forge
from tests.traps.judge import held

KIND, MUST = "during", held()


def trap(world):
    run = world.restore("train")
    world.begin("eval")
    pids = world.frozen("run_eval.py", lambda: (world.work / "eval/reports/eval_results.json").exists())
    shutil.copy(world.work / "eval/reports/eval_results.json", run / "reports/eval_results.json")
    forge.into(run)
    world.thaw(pids)
    return forge.after_eval(world)
