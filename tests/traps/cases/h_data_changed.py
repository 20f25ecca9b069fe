"""A local dataset really grew: it is probed again, and everything goes on.

The honest edge of t_data_swapped.
"""

from tests.traps import drawn
from tests.traps.judge import honest

KIND, MUST = "honest", honest()


def trap(world):
    world.restore("rendered")
    folder = world.root / "mydata"
    folder.mkdir()
    (folder / "train.parquet").write_bytes(drawn.parquet(drawn.pictures(1, 40)))
    (folder / "test.parquet").write_bytes(drawn.parquet(drawn.pictures(2, 20)))
    data = {"local_dataset_path": str(folder)}
    content = world.start("grown", dataset=None, data=data)
    assert "error" not in content, content
    (folder / "train.parquet").write_bytes(drawn.parquet(drawn.pictures(1, 60)))
    for tool, arguments in (("probe_dataset", data), ("pick_ngc_image", {}), ("render_project", {})):
        content = world.call(tool, "grown", **arguments)
        if "error" in content:
            return world.seen(content)
    stages = ("build", "check_api", "prepare", "smoke")
    return world.seen(world.stages(*stages, output_dir="grown"), gate=4, output_dir="grown")
