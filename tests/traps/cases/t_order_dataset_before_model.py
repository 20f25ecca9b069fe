"""probe_dataset in a folder where no model was probed"""

from tests.traps.judge import refused

KIND, MUST, QUICK = "order", refused(r"probe_model|no run"), True


def trap(world):
    world.restore("rendered")
    return world.seen(world.call("probe_dataset", "fresh", dataset_id="me/shapes"))
