"""Step 3 through the server, over the recorded web and over one that does not answer."""

from __future__ import annotations

import pytest

from tests import sealed
from tests.tiny import TOKEN
from tunegate import evidence, gates
from tunegate.clients.web import HttpWeb, MemoryWeb, parse_map
from tunegate.embedded import web as recorded_web
from tunegate.embedded.hub import EmbeddedHub
from tunegate.rundir import Run
from tunegate.tools.base import Workspace


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """A server root without a Hub: nothing here asks for one."""
    return Workspace(tmp_path / "root")


@pytest.fixture
def run(call) -> Run:
    return sealed.build(Run(call.workspace.root / "run"), until="image")


@pytest.fixture
def recorded(call, tmp_path):
    """The recorded pages on loopback, as the demo serves them."""
    with EmbeddedHub(tmp_path / "web-hub", extra_routes=recorded_web.routes()) as served:
        where = parse_map(recorded_web.web_map(served.url))
        call.workspace._made["web"] = HttpWeb(endpoint=served.url, web_map=where, cache=tmp_path / "web")
        yield served


def test_every_slot_has_a_url_that_was_fetched(call, run, recorded):
    found = call("fetch_recipe", output_dir="run")
    assert found["next"]["tool"] == "render_project" and gates.view(run).problems("recipe") == []
    numbers, urls = set(found["slots"].values()) - {"scaffold"}, set(found["sources"].values())
    assert numbers and numbers <= set(found["sources"]) and urls <= set(run.config().research_sources)
    assert {source.url for source in evidence.read(run, "recipe").sources} == set(run.config().research_sources)
    assert all(recorded.requests(path=r"^/recorded/raw/"))  # the tool itself asked for them
    page = (run.meta / "recipe.md").read_text()
    assert found["recipe"] == str(run.meta / "recipe.md") and all(url in page for url in urls)


def test_an_unreachable_web_falls_back_and_says_so(call, run):
    call.workspace._made["web"] = MemoryWeb({})
    found = call("fetch_recipe", output_dir="run")
    assert (
        set(found["slots"].values()) == {"scaffold"}
        and found["tried"]
        and all(": HTTP 404" in x for x in found["tried"])
    )
    notes = run.config().notes
    assert set(found["notes"]) < set(notes) and all(
        f"no live source for {slot}" in str(notes) for slot in found["slots"]
    )
    assert found["next"]["tool"] == "render_project"  # a logged fallback opens the gate
    call("fetch_recipe", output_dir="run")
    assert run.config().notes == notes  # asked again, it is not noted again


URL = "https://github.com/author/repo/blob/main/train.py"
RAW = "https://raw.githubusercontent.com/author/repo/main/train.py"
SCRIPT = "from transformers import TrainingArguments\nargs = TrainingArguments('out', learning_rate=3e-4)\n"


@pytest.mark.parametrize(
    ("slots", "says"),
    [
        ({"color": {"value": "red", "url": RAW}}, "color"),
        ({"hyperparameters": {"value": {"learning_rate": 3e-4}}}, "hyperparameters"),
        ({"hyperparameters": "3e-4"}, "hyperparameters"),
        (
            {"hyperparameters": {"value": {"learning_rate": 3e-4}, "url": "https://evil.example/x.py"}},
            "hyperparameters",
        ),
        ({"hyperparameters": {"value": {"learning_rate": 0.5}, "url": RAW}}, "hyperparameters"),
    ],
)
def test_what_the_agent_says_must_stand_on_a_page_that_the_tool_fetched(call, run, slots, says):
    call.workspace._made["web"] = MemoryWeb({RAW: SCRIPT, URL: SCRIPT})
    error = call("fetch_recipe", output_dir="run", slots=slots)["error"]
    assert error["code"] in ("invalid_input", "rejected", "unavailable") and says in error["message"], error
    assert not (run.meta / "recipe.json").exists()


def test_what_it_says_and_shows_is_taken(call, run):
    call.workspace._made["web"] = MemoryWeb({RAW: SCRIPT})
    slot = {"value": {"learning_rate": 3e-4}, "url": RAW}
    found = call("fetch_recipe", output_dir="run", slots={"hyperparameters": slot})
    assert "error" not in found and found["sources"][found["slots"]["hyperparameters"]] == RAW, found


def test_not_before_the_hardware(call):
    sealed.build(Run(call.workspace.root / "early"), until="host")
    error = call("fetch_recipe", output_dir="early")["error"]
    assert error["code"] == "gate_closed" and error["gate"] == 2 and error["next"]["tool"] == "pick_ngc_image"


def test_a_page_cannot_carry_the_token_into_an_answer(call, run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    call.workspace._made["web"] = MemoryWeb({RAW: SCRIPT + f"# {TOKEN}\nx = '{TOKEN}'\n"})
    slot = {"value": {"learning_rate": 3e-4}, "url": RAW}
    assert TOKEN not in str(call("fetch_recipe", output_dir="run", slots={"hyperparameters": slot}))
    assert not any(TOKEN.encode() in path.read_bytes() for path in run.path.rglob("*") if path.is_file())
