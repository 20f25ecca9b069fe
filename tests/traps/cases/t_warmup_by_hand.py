"""config.yaml: a warm-up of a thousand million steps, written by hand"""

from tests.traps.judge import Seen, refused

KIND, MUST, QUICK = "method", refused(r"warmup_steps"), True


def trap(world):
    world.restore("rendered")
    world.config(warmup_steps=1e9)
    try:
        return world.seen(world.call("gate_status"), gate=4, only=("project",))
    except Exception as error:  # the config is not one any more
        return Seen(refusal=str(error))
