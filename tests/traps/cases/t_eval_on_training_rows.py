"""Local data: the second folder, to evaluate on, holds the training rows themselves"""

from tests.traps import drawn
from tests.traps.judge import refused

KIND, MUST = "data", refused(r"(evaluation rows|training rows|same|leak|also)")


def trap(world):
    world.restore("rendered")
    for name in ("mine", "held"):
        (world.root / name).mkdir()
        (world.root / name / "train.parquet").write_bytes(drawn.parquet(drawn.pictures(1, 40)))
    data = {"local_dataset_path": str(world.root / "mine"), "local_eval_path": str(world.root / "held")}
    content = world.start("twice", dataset=None, data=data)
    if "error" not in content:
        content = world.stages("build", "check_api", "prepare", output_dir="twice")
    return world.seen(content, gate=4, output_dir="twice", only=("prepare",))
