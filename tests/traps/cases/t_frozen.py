"""model.py freezes every parameter"""

from tests.traps.judge import refused

KIND, MUST = "training", refused(r"(frozen|train|grad)")


def trap(world):
    world.restore("smoke")
    world.edit(
        "model.py",
        "    return model\n\n\ndef load_tuned",
        "    model.requires_grad_(False)\n    return model\n\n\ndef load_tuned",
    )
    return world.seen(world.stages("check_api", "smoke"), gate=4)
