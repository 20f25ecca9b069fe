"""The web's seam against a real HTTP server on loopback."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tunegate.errors import ToolFailure
from tunegate.web import MAX_BYTES, HttpWeb, MemoryWeb, WebError, parse_map

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
