"""Training is stopped in the middle, and finished by calling again.

The honest edge of t_checkpoint_replaced.
"""

from tests.traps.judge import honest
from tests.traps.world import wait_for

KIND, MUST = "honest", honest()


def trap(world):
    world.restore("baseline")
    world.begin("train")
    wait_for(lambda: list(world.work.glob("train/checkpoints/checkpoint-*/trainer_state.json")))
    world.stage("train", stop=True)
    return world.seen(world.stages("train"), only=("train",))
