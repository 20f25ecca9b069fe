"""Every trap meets what it must: those that train nothing in `make test`, all of them in `make test-all`."""

import pytest

from tests.traps import play
from tests.traps.judge import Must, Seen, honest, judged, refused, reported
from tests.traps.world import World

QUICK = play.quick()


@pytest.fixture(autouse=True)
def own_home():
    """Instead of a home for each test: the world's, which all of them share."""


@pytest.fixture(scope="module")
def world(stage_python, tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in play.names()])
def test_trap(world, name):
    played = play.play(world, name)
    assert played.judged.ok, played.line


@pytest.mark.parametrize(
    "must, seen, outcome, ok",
    [
        (refused("edited"), Seen("x.py was edited"), "refused", True),
        (refused("edited"), Seen("no such file"), "luck", False),
        (refused("edited"), Seen(card="x.py was edited"), "believed", False),
        (reported("edited", "gate", "card"), Seen(gate="edited", card="edited"), "reported", True),
        (reported("edited", "gate", "card"), Seen(gate="edited"), "believed", False),
        (reported("edited", "card"), Seen("was edited"), "refused", True),
        (honest(), Seen(), "accepted", True),
        (honest(), Seen("gate 4 is closed"), "honest refused", False),
        (honest("edited", "card"), Seen(), "accepted", False),
        (honest(), Seen(harm="trained again"), "honest refused", False),
        (Must("held"), Seen(harm="a file outside was written"), "hole", False),
        (Must("held"), Seen(), "held", True),
        (
            reported("edited", "card"),
            Seen(card="edited", harm="accuracy 0.95 that nothing measured"),
            "believed",
            False,
        ),
    ],
)
def test_judged(must, seen, outcome, ok):
    assert judged(must, seen) == (outcome, ok)
