"""The user is asked about another model and says no; the agent goes on"""

from tests.traps.judge import refused

KIND, MUST, QUICK = "user", refused(r"(declin|approv|user)"), True


def trap(world):
    world.restore("rendered")
    world.model("me/other", world.base / "model")
    return world.seen(world.call("probe_model", model_id="me/other", user=False))
