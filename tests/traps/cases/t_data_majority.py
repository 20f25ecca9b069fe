"""The tuned model answers the most frequent class to everything, and scores its share"""

import random

from tests.traps import drawn
from tests.traps.judge import reported

KIND, MUST = "data", reported(r"(majority|most frequent)", "gate", "card")


def by_lot(seed, each, few):
    """Labels that the pictures do not show: only their frequencies can be learned."""
    rng = random.Random(seed)
    data = [data for _, data in drawn.pictures(seed, each)]
    labels = ["circle"] * (len(data) - 2 * few) + ["square"] * few + ["triangle"] * few
    rng.shuffle(labels)
    return list(zip(labels, data, strict=True))


def trap(world):
    world.restore("rendered")
    world.data("me/imbalanced", by_lot(1, 64, 9), by_lot(2, 20, 3))
    slow = {"learning_rate": 1e-3, "n_epochs": 4}
    content = world.start("majority", dataset="me/imbalanced", data={"n_train": 190}, overrides=slow)
    if "error" in content:
        return world.seen(content)
    stages = ("build", "check_api", "prepare", "smoke", "baseline", "train", "eval", "infer")
    return world.seen(world.stages(*stages, output_dir="majority"), output_dir="majority")
