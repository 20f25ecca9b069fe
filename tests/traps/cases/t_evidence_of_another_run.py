"""The evidence of a finished run is copied into another folder"""

import shutil

from tests.traps.judge import refused

KIND, MUST = "evidence", refused(r"(another|other|not sealed|elsewhere|copied|different|moved)")


def trap(world):
    run = world.restore("eval")
    shutil.copytree(run, world.root / "copy", symlinks=True)
    return world.seen(output_dir="copy")
