"""The web's seam against a real HTTP server on loopback."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest

from tunegate.clients.web import MAX_BYTES, HttpWeb, MemoryWeb, cache, parse_map, rate_limit
from tunegate.clients.web.page import CACHED, WebError
from tunegate.errors import ToolFailure

BODY = b"# a card\n"


class _Handler(BaseHTTPRequestHandler):
    """`/redirect?URL` redirects, `/status/N` answers N; the server keeps (path, headers) of what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        path, _, query = self.path.partition("?")
        kind, _, rest = path.strip("/").partition("/")
        getattr(self, f"_{kind}", self._missing)(rest, query)

    def _send(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass  # the client had enough

    def _page(self, rest, query):
        etag = '"v1"'
        if self.headers.get("If-None-Match") == etag:
            return self._send(304, ETag=etag)
        self._send(200, BODY, ETag=etag)

    def _status(self, rest, query):
        self._send(int(rest), b"token=secret", **({"Retry-After": query} if query else {}))

    def _flaky(self, rest, query):
        first = sum(path == self.path for path, _ in self.server.asked) == 1
        self._send(503, Retry_After="0") if first else self._send(200, BODY)

    def _redirect(self, rest, query):
        self._send(302, Location=query)

    def _big(self, rest, query):
        self._send(200, b"x" * 10_000_000)

    def _bomb(self, rest, query):
        self._send(200, gzip.compress(b"\0" * 50_000_000), Content_Encoding="gzip")

    def _half(self, rest, query):
        self._send(200, b"half", Content_Length="100")
        self.close_connection = True

    def _missing(self, rest, query):
        self._send(404)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads, server.asked = True, []
    server.base = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def web(server, tmp_path):
    web = HttpWeb(
        endpoint=server.base,
        cache=tmp_path / "web",
        hub_token="hf_secret",
        web_map={"https://raw.githubusercontent.com": f"{server.base}/page"},
    )
    yield web
    web.close()


def reason(web, url):
    with pytest.raises(WebError) as caught:
        web.get(url)
    assert "secret" not in str(caught.value)
    return caught.value.reason


def test_a_page_says_where_and_what_it_is(web, server):
    page = web.get(f"{server.base}/page/x")
    assert (page.text, page.status, page.size, page.from_cache, page.via) == (
        BODY.decode(),
        200,
        len(BODY),
        False,
        None,
    )
    assert page.sha256 == hashlib.sha256(BODY).hexdigest() and page.fetched_at.endswith("Z")


def test_etag_cache_survives_the_process(web, server, tmp_path):
    url = f"{server.base}/page/x"
    first = web.get(url)
    again = HttpWeb(endpoint=server.base, cache=tmp_path / "web").get(url)
    assert again.from_cache and again.text == first.text and server.asked[-1][1]["If-None-Match"] == '"v1"'
    stored = next((tmp_path / "web").iterdir())
    assert stored.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", ["", "{}", "[1]", "null", "not json"])
def test_a_damaged_cache_is_fetched_again(web, server, tmp_path, damage):
    url = f"{server.base}/page/x"
    web.get(url)
    next((tmp_path / "web").iterdir()).write_text(damage)
    assert not web.get(url).from_cache


def test_a_tampered_cache_is_fetched_again(web, server, tmp_path):
    url = f"{server.base}/page/x"
    web.get(url)
    file = next((tmp_path / "web").iterdir())
    file.write_text(json.dumps(json.loads(file.read_text()) | {"text": "forged"}))
    assert web.get(url).text == BODY.decode()


def test_a_mapped_host_keeps_its_url_and_says_via(web, server, tmp_path):
    page = web.get("https://raw.githubusercontent.com/o/r/main/x.py")
    assert page.url == page.final_url == "https://raw.githubusercontent.com/o/r/main/x.py"
    assert page.via == f"{server.base}/page" and server.asked[-1][0] == "/page/o/r/main/x.py"
    assert not (tmp_path / "web").exists()  # a recorded web never enters the cache of the real one


def test_the_token_goes_to_the_hub_alone(web, server):
    web.get(f"{server.base}/page/x")
    assert server.asked[-1][1]["Authorization"] == "Bearer hf_secret"
    web.get("https://raw.githubusercontent.com/o/r/main/x.py")
    assert "Authorization" not in server.asked[-1][1]


def test_redirects_inside_the_list_are_followed(web, server):
    page = web.get(f"{server.base}/redirect/?/page/moved")
    assert page.text == BODY.decode() and page.final_url == f"{server.base}/page/moved"
    assert web.get(f"{server.base}/redirect/?https://raw.githubusercontent.com/o/r/x").via == f"{server.base}/page"


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "http://127.0.0.1:1/x",
        "//localhost/x",
        "ftp://github.com/x",
        "https://github.com.evil.example/x",
        "https://u:p@github.com/x",
        "http://github.com/x",
        "https://github.com:8443/x",
        "http://[::1",
        "data:,x",
    ],
)
def test_redirects_outside_the_list_are_refused(web, server, target):
    assert "redirects to" in reason(web, f"{server.base}/redirect/?{target}")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/",
        "file:///etc/passwd",
        "https://example.com/",
        "http://raw.githubusercontent.com/x",
        "",
        "github.com",
        "https://github.com/a b",
        "https://github.com/a\nHost: x",
        "https://raw.githubusercontent.com/../x",
        "https://github.com/%2e%2e/x",
        "https://github.com/" + "x" * 3000,
        "https://github.com/{{cfg}}",
        "https://github.com/x`y",
        "https://github.com/o/\u202egnp.py",
        "https://github.com:x/",
    ],
)
def test_urls_outside_the_list_are_never_asked(web, server, url):
    reason(web, url)
    assert server.asked == []


def test_a_redirect_loop_ends(web, server):
    assert "redirects" in reason(web, f"{server.base}/redirect/?/redirect/?x")


@pytest.mark.parametrize("path", ["big", "bomb"])
def test_large_pages_are_refused(web, server, path):
    assert reason(web, f"{server.base}/{path}") == f"larger than {MAX_BYTES // 1024 // 1024} MB"


def test_half_a_body_is_no_page(web, server, tmp_path):
    assert reason(web, f"{server.base}/half") == "the answer broke off"
    assert not (tmp_path / "web").exists()


def test_one_retry_when_the_server_asks_for_it(web, server):
    assert web.get(f"{server.base}/flaky").text == BODY.decode()
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("path", "asked"),
    [("status/500?0", 2), ("status/429?0", 2), ("status/429?3600", 1), ("status/403", 1), ("status/404", 1)],
)
def test_statuses_are_reasons(web, server, path, asked):
    assert reason(web, f"{server.base}/{path}").startswith(f"HTTP {path[7:10]}")
    assert len(server.asked) == asked


def test_a_dead_host_is_unreachable(tmp_path):
    with pytest.raises(WebError) as caught:
        HttpWeb(endpoint="http://127.0.0.1:1", cache=tmp_path).get("http://127.0.0.1:1/x")
    assert caught.value.unreachable and caught.value.reason == "cannot be reached"


def test_map_from_the_environment(monkeypatch, server):
    monkeypatch.setenv(
        "TUNEGATE_WEB_MAP", f"https://github.com={server.base}/page/, https://arxiv.org = {server.base}/page"
    )
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert HttpWeb.from_env().get("https://arxiv.org/abs/1").via == f"{server.base}/page"


@pytest.mark.parametrize(
    "text",
    [
        "https://github.com=http://evil.example",
        "https://github.com",
        "http://a=http://127.0.0.1:1",
        "https://github.com=file:///etc",
        "https://github.com=http://127.0.0.1.evil.example/",
    ],
)
def test_only_loopback_may_stand_in(text):
    with pytest.raises(ToolFailure, match="TUNEGATE_WEB_MAP") as caught:
        parse_map(text)
    assert caught.value.code == "invalid_input"


def test_memory_web():
    web = MemoryWeb({"https://github.com/x": "text", "https://github.com/y": 500})
    assert web.get("https://github.com/x").text == "text"
    assert reason(web, "https://github.com/y") == "HTTP 500" and reason(web, "https://github.com/z") == "HTTP 404"
    assert len(web.asked) == 3


def test_own_headers_go_to_the_first_host_only_and_such_a_page_is_not_kept(server, tmp_path):
    base = server.base
    where = {"https://nvcr.io": base, "https://layers.nvcr.io": f"{base}/page"}
    web = HttpWeb(cache=tmp_path / "web", web_map=where)
    web.get("https://nvcr.io/redirect?https://layers.nvcr.io/x", headers={"Authorization": "Bearer t", "Accept": "a/b"})
    (_, first), (path, second) = server.asked
    assert first["Authorization"] == "Bearer t" and first["Accept"] == "a/b"
    assert path == "/page/x" and "Authorization" not in second and second["Accept"] != "a/b"
    direct = HttpWeb(endpoint=base, cache=tmp_path / "web")
    assert not direct.get(f"{base}/page/x", headers={"Accept": "a/b"}).from_cache
    assert not direct.get(f"{base}/page/x", headers={"Accept": "a/b"}).from_cache and not (tmp_path / "web").exists()
    web.close(), direct.close()


# Manners, towards hosts that are not on loopback --------------------------------------------------------------------


class Internet:
    """Answers for every host: {url: (status, text, headers) or an exception}. Keeps what it was asked."""

    def __init__(self, **answers):
        self.answers, self.asked, self.headers = dict(answers.pop("pages", {})), [], []

    def __call__(self, request):
        self.asked.append(str(request.url))
        self.headers.append(request.headers)
        answer = self.answers.get(str(request.url), (404, "", {}))
        if isinstance(answer, Exception):
            raise answer
        status, text, headers = answer
        if status == 200 and headers.get("ETag") and request.headers.get("if-none-match") == headers["ETag"]:
            status, text = 304, ""
        return httpx2.Response(status, text=text, headers=headers)


RAW = "https://raw.githubusercontent.com"
PAGE, OTHER = f"{RAW}/o/r/main/train.py", f"{RAW}/o/r/main/README.md"
ROBOTS = f"{RAW}/robots.txt"


@pytest.fixture
def internet(monkeypatch):
    monkeypatch.setattr(rate_limit, "GAP_S", 0.0)
    return Internet(pages={PAGE: (200, "x = 1\n", {"ETag": '"1"'}), OTHER: (200, "# card\n", {})})


@pytest.fixture
def world(internet, tmp_path):
    def new():
        return HttpWeb(cache=tmp_path / "web", transport=httpx2.MockTransport(internet))

    return new


def test_robots_txt_is_asked_once_a_day_and_obeyed(world, internet, tmp_path):
    internet.answers[ROBOTS] = (200, "User-agent: *\nDisallow: /*/train.py$\n", {})
    assert reason(world(), PAGE) == "the robots.txt of raw.githubusercontent.com asks programs not to read it"
    assert world().get(OTHER).text == "# card\n" and internet.asked == [ROBOTS, OTHER]
    kept = cache.PageCache(tmp_path / "web")
    long_ago = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    kept.store(dataclasses.replace(kept.load(ROBOTS), fetched_at=long_ago))
    internet.answers[ROBOTS] = (404, "", {})
    assert world().get(PAGE).text == "x = 1\n" and internet.asked[2:] == [ROBOTS, PAGE]


@pytest.mark.parametrize("answer", [(404, "", {}), (403, "", {}), (401, "", {}), (200, "", {})])
def test_no_robots_txt_allows(world, internet, answer):
    internet.answers[ROBOTS] = answer
    assert world().get(PAGE).text == "x = 1\n"


@pytest.mark.parametrize(
    "answer", [(503, "", {"Retry-After": "0"}), (429, "", {"Retry-After": "0"}), httpx2.ReadTimeout("slow")]
)
def test_a_robots_txt_that_cannot_be_read_forbids_its_host_and_no_other(world, internet, answer):
    internet.answers |= {ROBOTS: answer, "https://arxiv.org/abs/1": (200, "paper", {})}
    web = world()
    with pytest.raises(WebError) as caught:
        web.get(PAGE)
    assert caught.value.unreachable and "robots.txt" in caught.value.reason
    asked = len(internet.asked)
    assert "robots.txt" in reason(web, OTHER) and len(internet.asked) == asked  # and it is left alone
    assert PAGE not in internet.asked and web.get("https://arxiv.org/abs/1").text == "paper"


def test_the_robots_txt_of_where_a_redirect_leads_counts_too(world, internet):
    internet.answers |= {
        "https://gist.github.com/u/1/raw": (302, "", {"Location": "https://gist.githubusercontent.com/u/1/raw/t.py"}),
        "https://gist.githubusercontent.com/robots.txt": (200, "User-agent: *\nDisallow: /", {}),
    }
    assert "gist.githubusercontent.com asks programs" in reason(world(), "https://gist.github.com/u/1/raw")


def test_an_api_is_asked_without_robots_txt(world, internet):
    internet.answers["https://api.github.com/x"] = (200, "{}", {})
    world().get("https://api.github.com/x")
    assert internet.asked == ["https://api.github.com/x"]


def test_pauses_between_two_requests(world, internet, monkeypatch):
    monkeypatch.setattr(rate_limit, "GAP_S", 0.15)
    web, started = world(), time.monotonic()
    web.get(PAGE), web.get(OTHER)
    assert 0.15 <= time.monotonic() - started < 2
    internet.answers["https://arxiv.org/robots.txt"] = (200, "User-agent: *\nCrawl-delay: 15\n", {})
    internet.answers |= {f"https://arxiv.org/abs/{n}": (200, "paper", {}) for n in (1, 2)}
    web.get("https://arxiv.org/abs/1")
    assert "15 s between requests" in reason(web, "https://arxiv.org/abs/2")


def in_an_hour():
    return format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


ASKS_TO_WAIT = {  # functions: what is written when pytest collects would be past when the test runs
    429: lambda: {"Retry-After": "600"},
    503: lambda: {"Retry-After": in_an_hour()},
    403: lambda: {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 900)},
}


@pytest.mark.parametrize("status", ASKS_TO_WAIT)
def test_a_host_that_asks_to_wait_is_left_alone(world, internet, status):
    internet.answers[PAGE] = (status, "", ASKS_TO_WAIT[status]())
    web = world()
    assert f"HTTP {status} (asks to wait" in reason(web, PAGE)
    assert "asked to wait" in reason(web, OTHER) and OTHER not in internet.asked


@pytest.mark.parametrize("said", ["nonsense", "nan", "-5", "1e400", "Wed, 25 Nov 2099 06:00:00 XYZ"])
def test_any_retry_after_is_survived(said):
    assert 0 <= rate_limit.retry_after(429, {"retry-after": said}) <= rate_limit.LONGEST_S


def test_a_user_agent_that_names_the_project(world, internet):
    world().get(PAGE)
    assert all(headers["user-agent"].startswith("tunegate/") for headers in internet.headers)


# What was fetched once can be read again ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [httpx2.ConnectError("no route"), (503, "", {"Retry-After": "0"}), httpx2.ReadTimeout("")]
)
def test_a_copy_stands_in_for_a_host_that_does_not_answer(world, internet, answer):
    before = {url: world().get(url) for url in (PAGE, OTHER)}
    internet.answers = dict.fromkeys(internet.answers, answer)
    web = world()
    for url, page in before.items():
        again = web.get(url)
        assert (again.via, again.sha256, again.fetched_at, again.text) == (
            CACHED,
            page.sha256,
            page.fetched_at,
            page.text,
        )
        assert again == web.recall(url)


def test_a_page_that_is_gone_is_no_page(world, internet):
    world().get(PAGE)
    internet.answers[PAGE] = (404, "", {})
    assert reason(world(), PAGE) == "HTTP 404"


def test_a_page_without_etag_is_fetched_again_each_time(world, internet):
    world().get(OTHER)
    internet.answers[OTHER] = (200, "# newer\n", {})
    assert world().get(OTHER).text == "# newer\n"


def test_a_forged_copy_stands_in_for_nothing(world, internet, tmp_path):
    world().get(PAGE)
    for file in (tmp_path / "web").iterdir():
        file.write_text(json.dumps(json.loads(file.read_text()) | {"text": "forged"}))
    internet.answers = dict.fromkeys(internet.answers, httpx2.ConnectError("no route"))
    assert reason(world(), PAGE)


def test_the_cache_keeps_the_newest(world, internet, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "MAX_FILES", 3)
    internet.answers |= {f"{RAW}/{n}": (200, "x", {}) for n in range(9)}
    web = world()
    for n in range(9):
        web.get(f"{RAW}/{n}")
    assert len(list((tmp_path / "web").iterdir())) == 3 and web.recall(f"{RAW}/8") and not web.recall(f"{RAW}/1")
