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
    content = world.stage("train")
    if "error" in content:  # it was killed, is said once: make the call again
        content = world.stage("train")
    return world.seen(content if "error" in content else world.stages("eval", "infer"))
