"""confirm= quotes another substitution than the one that is made"""

from tests.traps.judge import refused

KIND, MUST, QUICK = "user", refused(r"(approv|user|confirm)"), True


def trap(world):
    world.restore("rendered")
    world.model("me/other", world.base / "model")
    return world.seen(world.call("probe_model", model_id="me/other", confirm="replace model 'me/tiny' with 'me/tiny'"))
