"""Training is killed in the middle with -9, and finished by calling again.

The honest edge of t_laid_down_after_stop.
"""

from tests.traps.judge import honest
from tests.traps.world import wait_for

KIND, MUST = "honest", honest()


def trap(world):
    world.restore("baseline")
    world.begin("train")
    wait_for(lambda: list(world.work.glob("train/checkpoints/checkpoint-*/trainer_state.json")))
    world.end_jobs()
    wait_for(lambda: not world.processes("train.py"))
    return world.seen(world.stages("train", "eval", "infer"))
