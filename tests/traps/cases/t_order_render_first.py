"""render_project before any dataset was probed"""

from tests.traps.judge import refused

KIND, MUST, QUICK = "order", refused(r"gate 1|dataset"), True


def trap(world):
    world.restore("rendered")
    content = world.call("probe_model", "fresh", model_id="me/tiny", platform="local-process")
    assert "error" not in content, content
    return world.seen(world.call("render_project", "fresh"))
