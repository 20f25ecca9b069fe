"""eval_split is the training split"""

from tests.traps.judge import refused

KIND, MUST = "data", refused(r"(eval_split|split)")


def trap(world):
    world.restore("rendered")
    return world.seen(
        world.start("same", data={"train_split": "train", "eval_split": "train"}), gate=1, output_dir="same"
    )
