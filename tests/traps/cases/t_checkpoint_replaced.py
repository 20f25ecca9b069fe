"""Training is stopped in the middle; the checkpoint that it would go on from is replaced in the run"""

import shutil

from tests.traps.judge import Seen, held
from tests.traps.world import wait_for

KIND, MUST = "training", held()


def trap(world):
    run = world.restore("baseline")
    world.begin("train")
    wait_for(lambda: list(world.work.glob("train/checkpoints/checkpoint-*/trainer_state.json")))
    world.stage("train", stop=True)
    made = sorted(world.work.glob("train/checkpoints/checkpoint-*"))[-1]
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    shutil.copytree(made, run / "checkpoints" / made.name)
    (run / "checkpoints" / made.name / "model.safetensors").write_bytes(b"not a model")
    content = world.stages("train")
    seen = world.seen(content, only=("train",))
    said = "not trained by this run" in seen.gate
    return Seen(
        fact=seen.gate[:0] or f"set aside and said: {said}",
        harm=seen.refusal or ("" if said else "nothing is said of it"),
    )
