"""A module is added beside the scripts and checked by check_api, as the gate says.

The honest edge of t_shadow_header.
"""

from tests.traps.judge import honest

KIND, MUST = "honest", honest()


def trap(world):
    run = world.restore("smoke")
    (run / "plot_results.py").write_text(world.header + "import json\n\n\ndef main():\n    print(json.dumps({}))\n")
    return world.seen(world.stages("check_api", "smoke"), gate=4)
