"""data/train is another one while the training runs, and is put back"""

from tests.traps.judge import Seen, held
from tests.traps.world import wait_for

KIND, MUST = "during", held()


def trap(world):
    run = world.restore("baseline")
    rows = next((run / "data/train").glob("*.arrow"))
    honest = rows.read_bytes()
    world.begin("train")
    pids = world.frozen("train.py")
    rows.write_bytes(next((run / "data/eval").glob("*.arrow")).read_bytes())
    world.thaw(pids)
    wait_for(lambda: (run / "meta/jobs/train/result.json").exists())
    rows.write_bytes(honest)
    seen = world.seen(world.stages("train"), only=("train",))
    private = next((world.work / "train/data/train").glob("*.arrow"), None)
    wrong = private is not None and private.read_bytes() != honest
    return Seen(fact="trained on the prepared rows", harm=seen.refusal or ("trained on other rows" if wrong else ""))
