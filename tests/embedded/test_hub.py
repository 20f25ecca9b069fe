"""The embedded Hub as a server: its log, its faults, its bounds, and the clients of the stage environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.embedded.conftest import OWNER, TOKENS
from tests.tiny import WEIGHTS, dataset_files, model_files, parquet
from tunegate.embedded.hub import EmbeddedHub, Fault
from tunegate.embedded.hub_store import HubRefusal


def test_the_log_counts_what_was_sent(hub):
    hub.add_repo("model", "me/tiny", {"model.safetensors": WEIGHTS + bytes(1_000_000)})
    hub.log.clear()
    url = f"{hub.url}/me/tiny/resolve/main/model.safetensors"
    httpx2.get(url, headers={"range": "bytes=0-99", "authorization": f"Bearer {OWNER}"})
    httpx2.head(url)
    ranged, head = hub.requests("resolve/main/model")
    assert (ranged.method, ranged.status, ranged.range, ranged.authorized, ranged.bytes_sent) == (
        "GET",
        206,
        "bytes=0-99",
        True,
        100,
    )
    assert (head.method, head.status, head.authorized, head.bytes_sent) == ("HEAD", 200, False, 0)
    assert hub.bytes_sent() == 100 and OWNER not in repr(hub.log)


@pytest.mark.parametrize("status", [401, 429, 500])
def test_faults_break_as_often_as_they_are_told(hub, api, status):
    hub.add_repo("model", "me/tiny", model_files())
    hub.faults.append(Fault(r"^/api/models/me/tiny", status=status, headers={"Retry-After": "7"}, times=1))
    with pytest.raises(HfHubHTTPError) as caught:
        api.model_info("me/tiny")
    assert caught.value.response.status_code == status and caught.value.response.headers["retry-after"] == "7"
    assert api.model_info("me/tiny").id == "me/tiny"


def test_half_a_body(hub):
    hub.add_repo("model", "me/tiny", {"big.txt": bytes(100_000)})
    hub.faults.append(Fault(r"/resolve/", half_body=True, method="GET", times=1))
    url = f"{hub.url}/me/tiny/resolve/main/big.txt"
    with pytest.raises(httpx2.RemoteProtocolError):
        httpx2.get(url)
    assert hub.bytes_sent("/resolve/") == 50_000
    assert httpx2.get(url).content == bytes(100_000)


def test_a_fault_does_one_thing():
    for how in ({}, {"status": 500, "half_body": True}):
        with pytest.raises(ValueError, match="either"):
            Fault("/", **how)


@pytest.mark.parametrize(
    "path",
    [
        "/me/tiny/resolve/main/../../../repo.json",
        "/me/tiny/resolve/main/..%2f..%2frepo.json",
        "/..%2f..%2fetc/resolve/main/passwd",
        "/api/models/..%2f..",
        "/api/models/me/..%2ftiny",
        "/api/models/me/tiny/tree/main/..%2f..",
        "/api/spaces/me/tiny",
        "/nothing",
    ],
)
def test_nothing_outside_can_be_named(hub, path):
    hub.add_repo("model", "me/tiny", {"a.txt": b"1"})
    assert httpx2.get(hub.url + path).status_code in (401, 404, 405)
    with pytest.raises(HubRefusal):
        hub.add_repo("model", "me/../x", {"a.txt": b"1"})
    with pytest.raises(HubRefusal):
        hub.add_repo("model", "me/new", {"../a.txt": b"1"})
    assert hub.store.get("model", "me/new") is None


def test_extra_routes_share_the_server(tmp_path):
    page = Route("/recorded/page", lambda request: PlainTextResponse("hello"))
    with EmbeddedHub(tmp_path / "hub", extra_routes=[page]) as hub:
        assert hub.url.startswith("http://127.0.0.1:") and httpx2.get(f"{hub.url}/recorded/page").text == "hello"
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(hub.url)


def test_a_hub_started_again_holds_the_same(tmp_path):
    with EmbeddedHub(tmp_path / "hub", TOKENS) as hub:
        sha = hub.add_repo("model", "me/tiny", {"a.txt": b"1"}, private=True)
    with EmbeddedHub(tmp_path / "hub", TOKENS) as hub:
        assert HfApi(endpoint=hub.url, token=OWNER).model_info("me/tiny").sha == sha


@pytest.mark.parametrize("uploads", ["regular", "lfs"])
def test_stage_clients(tmp_path, stage_python, uploads):
    """datasets and transformers, unmodified, in the stage environment: only HF_ENDPOINT and HF_TOKEN say where."""
    with EmbeddedHub(tmp_path / "hub", TOKENS, uploads=uploads) as hub:
        _stage_clients(hub, tmp_path, stage_python, uploads)


def _stage_clients(hub, tmp_path, stage_python, uploads):
    hub.add_repo(
        "dataset", "me/data", dataset_files(parquet([0, 1, 1], names=["a", "b"]), test=parquet([1], names=["a", "b"]))
    )
    script = Path(__file__).with_name("stage_clients.py")
    env = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": OWNER,
        "HF_HOME": str(tmp_path / "home"),
        "OMP_NUM_THREADS": "1",
    }
    env |= {"HF_HUB_DISABLE_XET": "1"} if uploads == "lfs" else {}
    done = subprocess.run([stage_python, script, uploads], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert hub.store.get("model", "me/pushed").private
    assert {row.status for row in hub.requests() if row.status >= 400} <= {404}
