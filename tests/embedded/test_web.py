"""The recorded web, served for real and walked by the real client."""

from __future__ import annotations

import socket
import threading

import pytest
import uvicorn
from starlette.applications import Starlette

from tunegate.clients.web import HttpWeb, parse_map
from tunegate.clients.web.page import WebError
from tunegate.embedded import web as recorded
from tunegate.recipe.ladder import research
from tunegate.recipe.markdown import recipe_markdown
from tunegate.recipe.slots import gate_problems

ARGUMENTS = {
    "task": "image-classification",
    "model_id": "a/b",
    "model_revision": "main",
    "versions": {"transformers": "5.23.0", "trl": "1.16.0"},
}


@pytest.fixture(scope="module")
def base():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=recorded.routes()), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def web(base, tmp_path):
    web = HttpWeb(endpoint=base, web_map=parse_map(recorded.web_map(base)), cache=tmp_path)
    yield web
    web.close()


def test_the_whole_ladder_fills_every_slot(web, base):
    facts = research(web, hub_endpoint=base, **ARGUMENTS)
    assert {slot.status for slot in facts.slots.values()} == {"live"} and gate_problems(facts) == []
    assert all(source.via.startswith(base) for source in facts.sources)
    assert all(not source.url.startswith("http://") for source in facts.sources)
    assert recorded.SHA in facts.slots["auto_class"].source.url
    assert [tried.priority for tried in facts.tried] == [1, 3]  # this server holds no models
    assert "via http://127.0.0.1" in recipe_markdown(facts)


def test_a_release_tag_serves_too(web):
    assert web.get(
        "https://raw.githubusercontent.com/huggingface/transformers/v5.23.0/docs/source/en/tasks/image_classification.md"
    ).text
    with pytest.raises(WebError, match="404"):
        web.get(
            "https://raw.githubusercontent.com/huggingface/transformers/other/docs/source/en/tasks/image_classification.md"
        )


def test_every_page_says_that_it_is_a_stand_in():
    for path in recorded.PAGES.iterdir():
        assert "stand-in" in path.read_text()[:200].lower(), path.name


def test_every_recorded_page_has_a_file():
    assert {name for name, _ in recorded.RECORDED.values()} == {path.name for path in recorded.PAGES.iterdir()}
