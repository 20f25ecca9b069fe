"""The registry's protocol, over HTTP on loopback: a recorded one, and one that lies."""

from __future__ import annotations

import contextlib
import hashlib
import json

import pytest
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tunegate.clients.web import HttpWeb, parse_map
from tunegate.clients.web.page import WebError
from tunegate.embedded import ngc as recorded
from tunegate.embedded import web as recorded_web
from tunegate.embedded.hub import EmbeddedHub, Fault
from tunegate.hardware.ngc.registry import Registry

REPOSITORY = f"{recorded_web.RECORDED_PREFIX}/nvcr/v2/nvidia/pytorch"


@contextlib.contextmanager
def serving(tmp_path, *lies: Route):
    """(web, the server) of the recorded registry; `lies` come before its own answers."""
    with EmbeddedHub(tmp_path / "hub", extra_routes=[*lies, *recorded_web.routes()]) as served:
        where = parse_map(recorded_web.web_map(served.url, recorded_web.NVIDIA))
        web = HttpWeb(endpoint=served.url, web_map=where, cache=tmp_path / "web")
        yield web, served
        web.close()


@pytest.fixture
def registry(tmp_path):
    with serving(tmp_path) as (web, served):
        found = Registry(web, "amd64")
        found.served = served
        yield found


def reason(registry: Registry, release: str = "26.03", **kwargs) -> str:
    with pytest.raises(WebError) as caught:
        registry.offer(release, **kwargs)
    assert recorded.RECORDED_TOKEN not in str(caught.value)
    return caught.value.reason


def answering(path: str, body, status: int = 200, **headers) -> Route:
    async def answer(request):
        if isinstance(body, (bytes, str)):
            return Response(body, status, headers)
        return JSONResponse(body, status, headers)

    return Route(f"{REPOSITORY}/{path}", answer)


def test_the_releases_over_all_pages_newest_first(registry):
    releases, pages = registry.releases()
    assert releases == sorted(recorded.RELEASES, reverse=True)  # no -igpu, -sdk, 18.12.1 or latest
    assert len(pages) == 3 and pages[0].url.startswith("https://nvcr.io/v2/nvidia/pytorch/tags/list")


def test_an_offer_is_what_the_image_says_of_itself(registry):
    offer = registry.offer("26.03")
    assert (offer.facts.torch, offer.facts.cuda, offer.facts.driver) == ("2.11.0a0+5a7a1d2", "13.2.0.046", 590)
    assert offer.facts.arch_list == recorded.ARCH_LIST and offer.size_gb == 9.4
    body, _ = recorded.documents()["26.03-py3"]
    assert offer.digest == f"sha256:{hashlib.sha256(body).hexdigest()}"  # the list's: what a pull by tag records
    assert [page.url.split("/")[-2] for page in offer.pages] == ["manifests", "manifests", "blobs"]
    assert registry.offer("26.03", offer.digest).digest == offer.digest


def test_another_architecture_has_its_own_configuration(registry):
    arm = Registry(registry.web, "arm64").offer("26.03")
    assert arm.facts.arch_list == recorded.ARCH_LIST_ARM and arm.digest == registry.offer("26.03").digest
    assert reason(Registry(registry.web, "riscv64")) == "has no image for riscv64"


def test_the_token_is_asked_for_once_and_goes_to_its_own_host_only(registry, tmp_path):
    registry.releases(), registry.offer("26.03")
    asked = registry.served.requests(recorded_web.RECORDED_PREFIX)
    assert sum("proxy_auth" in row.path for row in asked) == 1
    assert {row.authorized for row in asked if "/nvcr/v2/" in row.path} == {True}
    assert {row.authorized for row in asked if "/layers/" in row.path} == {False}
    kept = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert recorded.RECORDED_TOKEN not in "".join(kept) and recorded.RECORDED_TOKEN not in repr(registry)


def test_a_release_that_it_has_not(registry):
    assert reason(registry, "19.01") == "HTTP 404"


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b'"x"', b"{", b"[" * 100_000, {"token": 5}, {"token": "two words"}, {"token": "x" * 9000}]
)
def test_a_token_that_is_none(tmp_path, answer):
    async def token(request):
        return JSONResponse(answer) if isinstance(answer, dict) else Response(answer)

    with serving(tmp_path, Route(f"{recorded_web.RECORDED_PREFIX}/nvcr/proxy_auth", token)) as (web, _):
        with pytest.raises(WebError, match=r"proxy_auth.*(token|JSON object)"):
            Registry(web, "amd64").releases()


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("manifests/26.03-py3", b"not json", "is not a JSON object"),
        ("manifests/26.03-py3", {"manifests": "many"}, "has no image for amd64"),
        ("manifests/26.03-py3", {"manifests": [{"digest": "../../secret", "platform": {}}]}, "has no image"),
        ("manifests/26.03-py3", {"config": ["x"]}, "names no configuration"),
        ("manifests/26.03-py3", {"config": {"digest": "sha256:short"}}, "names no configuration"),
        ("manifests/26.03-py3", {"config": {"digest": "sha256:" + "0" * 64}}, "HTTP 404"),
        ("blobs/{digest}", {"config": {"Env": ["NVIDIA_PYTORCH_VERSION=26.03"]}}, "does not have the digest"),
        ("manifests/26.03-py3", b"x" * 5_000_000, "larger than 4 MB"),
    ],
)
def test_documents_that_lie(tmp_path, path, body, said):
    with serving(tmp_path, answering(path, body)) as (web, _):
        assert said in reason(Registry(web, "amd64"))


def test_a_digest_in_a_header_counts_for_nothing(tmp_path):
    body, _ = recorded.documents()["26.03-py3"]
    lie = answering("manifests/26.03-py3", body, **{"Docker-Content-Digest": "sha256:" + "f" * 64})
    with serving(tmp_path, lie) as (web, _):
        assert Registry(web, "amd64").offer("26.03").digest == f"sha256:{hashlib.sha256(body).hexdigest()}"


def test_asked_by_digest_the_answer_must_have_it(tmp_path):
    other, _ = recorded.documents()["25.06-py3"]
    with serving(tmp_path, answering("manifests/sha256:{rest}", other)) as (web, _):
        assert "does not have the digest" in reason(Registry(web, "amd64"), reference="sha256:" + "a" * 64)


def test_another_release_s_configuration_under_this_tag(tmp_path):
    body, _ = recorded.documents()["25.06-py3"]
    with serving(tmp_path, answering("manifests/26.03-py3", body)) as (web, _):
        assert reason(Registry(web, "amd64")) == "is not the configuration of release 26.03"


def single(config: dict) -> list[Route]:
    """A manifest of one architecture, without a list, as older releases have it."""
    blob = json.dumps(config).encode()
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    manifest = {"config": {"digest": digest}, "layers": [{"size": 10**9}, {"size": "big"}, "odd", {"size": -5}]}
    return [answering("manifests/24.09-py3", manifest), answering(f"blobs/{digest}", blob)]


def test_a_tag_without_a_list(tmp_path):
    config = {"Env": ["NVIDIA_PYTORCH_VERSION=24.09", "PYTORCH_VERSION=2.5.0a0", "odd", 5]}
    with serving(tmp_path, *single({"architecture": "amd64", "config": config})) as (web, _):
        offer = Registry(web, "amd64").offer("24.09")
        assert (offer.facts.torch, offer.size_gb) == ("2.5.0a0", 1.0)
        assert reason(Registry(web, "arm64"), "24.09") == "has no image for arm64"


@pytest.mark.parametrize("config", [{}, {"config": None}, {"config": {"Env": None}}, {"config": {"Env": [["a"]]}}])
def test_a_configuration_without_an_environment(tmp_path, config):
    with serving(tmp_path, *single(config)) as (web, _):
        assert reason(Registry(web, "amd64"), "24.09") == "is not the configuration of release 24.09"


@pytest.mark.parametrize("tags", [None, "26.03-py3", {"a": 1}, [1, None, ["26.03-py3"]], []])
def test_odd_lists_of_tags(tmp_path, tags):
    with serving(tmp_path, answering("tags/list", {"tags": tags})) as (web, _):
        assert Registry(web, "amd64").releases()[0] == []


def test_pages_of_tags_end(tmp_path):
    loop = answering("tags/list", {"tags": ["26.03-py3"]}, Link='</v2/nvidia/pytorch/tags/list?n=1>; rel="next"')
    with serving(tmp_path, loop) as (web, served):
        assert Registry(web, "amd64").releases()[0] == ["26.03"]
        assert len(served.requests("tags/list")) == 8


@pytest.mark.parametrize(
    "link", ["<https://evil.example/v2>; rel=next", "</v2/other/tags/list?n=1>; rel=next", "<", "<//[>; rel=next"]
)
def test_the_next_page_is_one_of_this_list(tmp_path, link):
    with serving(tmp_path, answering("tags/list", {"tags": ["26.03-py3"]}, Link=link)) as (web, served):
        assert Registry(web, "amd64").releases()[0] == ["26.03"] and len(served.requests("tags/list")) == 1


def test_a_redirect_elsewhere_is_not_followed(tmp_path):
    async def away(request):
        return RedirectResponse("https://evil.example/manifest", 307)

    with serving(tmp_path, Route(f"{REPOSITORY}/manifests/26.03-py3", away)) as (web, _):
        assert "not an allowed host" in reason(Registry(web, "amd64"))


def test_a_registry_that_fails(registry):
    registry.served.faults.append(Fault("manifests", status=500, headers={"Retry-After": "0"}))
    assert reason(registry).startswith("HTTP 500")
    registry.served.faults[:] = [Fault("proxy_auth", status=401)]
    with pytest.raises(WebError, match="HTTP 401"):
        Registry(registry.web, "amd64").releases()


def test_a_registry_that_is_not_there(tmp_path):
    web = HttpWeb(web_map={"https://nvcr.io": "http://127.0.0.1:9"}, cache=tmp_path)
    with pytest.raises(WebError) as caught:
        Registry(web, "amd64").releases()
    assert caught.value.unreachable
    web.close()
