"""Local data: the labels are permuted between probe_dataset and prepare, same files, columns and counts"""

from tests.traps import drawn
from tests.traps.judge import refused

KIND, MUST = "data", refused(r"changed since it was probed|changed")


def trap(world):
    world.restore("rendered")
    folder = world.root / "mydata"
    folder.mkdir()
    train, test = drawn.pictures(1, 60), drawn.pictures(2, 20)
    (folder / "train.parquet").write_bytes(drawn.parquet(train))
    (folder / "test.parquet").write_bytes(drawn.parquet(test))
    content = world.start("local", dataset=None, data={"local_dataset_path": str(folder)})
    assert "error" not in content, content
    (folder / "train.parquet").write_bytes(drawn.parquet(drawn.permuted(train)))
    return world.seen(world.stages("build", "check_api", "prepare", output_dir="local"), gate=1, output_dir="local")
