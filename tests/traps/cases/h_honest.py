"""The honest run itself: gates 1 to 5 are open.

The honest edge of t_edited_results.
"""

from tests.traps.judge import honest

KIND, MUST = "honest", honest()


def trap(world):
    world.restore("eval")
    return world.seen(fact=f"accuracy {world.json('reports/eval_results.json')['accuracy']:.2f}")
