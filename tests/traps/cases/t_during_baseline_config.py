"""config.yaml asks for three evaluation rows while the baseline runs, and is put back"""

from tests.traps.judge import Seen, held
from tests.traps.world import wait_for

KIND, MUST = "during", held()


def trap(world):
    run = world.restore("smoke")
    text = (run / "config.yaml").read_text()
    world.begin("baseline")
    pids = world.frozen("run_eval.py")
    world.config(n_eval=3, class_names=["a", "b", "c"], seed=7)
    world.thaw(pids)
    wait_for(lambda: (run / "meta/jobs/baseline/result.json").exists())
    (run / "config.yaml").write_text(text)
    seen = world.seen(world.stages("baseline"), only=("baseline",))
    n = world.json("reports/baseline_results.json")["n"]
    return Seen(fact=f"{n} rows", harm=seen.refusal or ("" if n == 60 else f"{n} rows"))
