"""A dataset folder named 'TODO list (photos)', classes named None, TODO, {{x}} and <NAME>: rendered all the same.

The honest edge of t_data_class_order.
"""

import itertools
import random

from tests.scaffolds.conftest import CLASSES, draw
from tests.traps.judge import honest

KIND, MUST, QUICK = "honest", honest(), True


def trap(world):
    world.restore("rendered")
    folder = world.root / "TODO list (photos)"
    rng = random.Random(0)
    for name, shape in zip(("None", "TODO", "{{x}}", "<NAME>"), itertools.cycle(CLASSES), strict=False):
        (folder / name).mkdir(parents=True)
        for i in range(12):
            draw(shape, rng).save(folder / name / f"{i}.png")
    data = {"local_dataset_path": str(folder), "n_train": 30, "n_eval": 10}
    content = world.start("names", dataset=None, data=data)
    return world.seen(content, gate=3, output_dir="names")
