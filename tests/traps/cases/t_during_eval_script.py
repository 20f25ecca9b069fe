"""run_eval.py is another script while eval starts and runs, and is put back before it ends"""

from tests.traps import forge
from tests.traps.judge import held
from tests.traps.world import wait_for

KIND, MUST = "during", held()


def trap(world):
    run = world.restore("train")
    script = run / "run_eval.py"
    text = script.read_text()
    world.begin("eval")
    script.write_text(text.replace('"""', f'"""\n{forge.AT_END}', 1) + forge.AT_END)
    pids = world.frozen("run_eval.py")
    world.thaw(pids)
    wait_for(lambda: (run / "meta/jobs/eval/result.json").exists())
    script.write_text(text)
    return forge.after_eval(world)
