"""The one seam to the web: GET a page from a host that tunegate needs, and know exactly what came back.

    Web          the protocol: get(url) -> Page, or WebError
    HttpWeb      the real end: httpx2, an allow-list of hosts, limits, a rate limit (rate_limit.py), a cache on disk (cache.py)
    MemoryWeb    the in-memory end: a dict of pages

What a page says is data. Nothing here runs, renders or follows it, except redirects that stay inside the allow-list.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from tunegate import __version__, paths
from tunegate.clients.network import LOOPBACK
from tunegate.clients.web import robots
from tunegate.clients.web.cache import PageCache, age_s
from tunegate.clients.web.page import CACHED, Page, WebError, page_of
from tunegate.clients.web.rate_limit import RateLimit, retry_after
from tunegate.errors import ToolFailure

if TYPE_CHECKING:
    import httpx2

HOSTS = (  # reached by https only
    "raw.githubusercontent.com",
    "api.github.com",
    "github.com",
    "gist.github.com",
    "gist.githubusercontent.com",
    "huggingface.co",
    "arxiv.org",
    "export.arxiv.org",
    "docs.nvidia.com",
    "nvcr.io",
    "layers.nvcr.io",  # where nvcr.io sends whoever asks for a blob
)
MAX_BYTES = 4 * 1024 * 1024
MAX_URL = 2048
MAX_REDIRECTS = 5
CONNECT_S, READ_S, WHOLE_S = 5.0, 10.0, 30.0
RETRY_WAIT_S = 5.0  # a longer Retry-After is reported, not waited for: a tool call must stay short
# Interfaces made for programs, each with a limit of its own that it states in its answers. robots.txt speaks to whoever
# reads pages: it is asked of every other host, of those that serve raw files and the Hub's API too.
APIS = ("api.github.com", "nvcr.io", "layers.nvcr.io")
ROBOTS_AGE_S = 24 * 3600  # for so long a robots.txt may be remembered, says RFC 9309
_URL_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?#[]@!$&'()*+,;=%")


@dataclass
class MemoryWeb:
    """`{url: text}`; an int is the HTTP status to answer instead. Keeps the urls that were asked for."""

    pages: dict[str, str | int]
    asked: list[str] = field(default_factory=list)

    def get(self, url: str, headers: dict[str, str] | None = None) -> Page:
        self.asked.append(url)
        content = self.pages.get(url, 404)
        if isinstance(content, int):
            raise WebError(url, f"HTTP {content}")
        return page_of(url, content.encode(), via="memory")

    def recall(self, url: str) -> Page | None:
        return None


def parse_map(text: str) -> dict[str, str]:
    """`https://host=http://127.0.0.1:1234/raw,…` -> {canonical base: loopback base}. Raises ToolFailure(invalid_input).

    Only loopback may stand in for a host: anything else could pass off a stranger's page as GitHub's.
    """
    found = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        canonical, _, target = (part.strip().rstrip("/") for part in item.partition("="))
        parts = urlsplit(target)
        if not canonical.startswith("https://") or parts.scheme != "http" or parts.hostname not in LOOPBACK:
            raise ToolFailure(
                "invalid_input",
                f"TUNEGATE_WEB_MAP has {item[:120]!r}: write https://HOST=http://127.0.0.1:PORT/PATH, "
                "separated by commas, or unset it",
            )
        found[canonical] = target
    return found


class HttpWeb:
    """The real web. `endpoint` is the Hub's base URL, whose origin is allowed too and alone is sent `hub_token`."""

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        hub_token: str | None = None,
        web_map: dict[str, str] | None = None,
        cache: Path | None = None,
        transport: httpx2.BaseTransport | None = None,
    ):
        self._endpoint = _origin(endpoint) if endpoint else None
        self._token = hub_token
        self._map = web_map or {}
        self._cache = PageCache(cache or paths.cache_dir() / "web")
        self._rate_limit = RateLimit()
        self._read_robots: dict[str, Page] = {}
        self._transport = transport
        self._clients: dict[bool, Any] = {}

    @classmethod
    def from_env(cls, hub_token: str | None = None) -> HttpWeb:
        """Reads HF_ENDPOINT and TUNEGATE_WEB_MAP. Raises ToolFailure(invalid_input)."""
        return cls(
            endpoint=os.environ.get("HF_ENDPOINT") or None,
            hub_token=hub_token,
            web_map=parse_map(os.environ.get("TUNEGATE_WEB_MAP", "")),
        )

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def get(self, url: str, headers: dict[str, str] | None = None) -> Page:
        """Follows redirects inside the allow-list. Raises WebError.

        A host that does not answer, or not now, leaves us the copy from before, if there is one: its via is CACHED.
        `headers` go to the url's own origin only, and such a page is never kept on disk: it may hold or have needed a token.
        """
        self._check(url, url)
        if headers:
            return self._follow(url, None, headers)
        cached = self.recall(url)
        try:
            page = self._follow(url, cached, {})
        except WebError as error:
            if error.passing and cached is not None:
                return cached
            raise
        if page.via is None and not page.from_cache:
            self._cache.store(page)
        return page

    def recall(self, url: str) -> Page | None:
        if self._address(url)[1] is not None:  # a recorded web is never mixed with the real one
            return None
        page = self._cache.load(url)
        return replace(page, from_cache=True, via=CACHED) if page else None

    def _follow(self, url: str, cached: Page | None, headers: dict[str, str], limited: bool = True) -> Page:
        where, deadline = url, time.monotonic() + WHOLE_S
        for _ in range(MAX_REDIRECTS + 1):
            own = headers if _origin(where) == _origin(url) else {}
            if limited:
                self._permitted(url, where)
            page, redirect = self._once(url, where, cached, deadline, own)
            if page is not None:
                return page
            where = redirect
        raise WebError(url, f"more than {MAX_REDIRECTS} redirects")

    def _permitted(self, url: str, where: str) -> None:
        """Wait for our turn. Raises WebError when the host's robots.txt forbids the page, or wants longer pauses than a call has.

        One that cannot be read (a fault of the server or no answer, other than "there is none") forbids its host for a
        while, which is what RFC 9309 asks for: research goes on with other hosts, copies and the scaffold.
        """
        parts = urlsplit(where)
        local = self._address(where)[1] is not None or parts.hostname in LOOPBACK
        rules = robots.Rules() if local or parts.hostname in APIS else self._robots(url, _origin(where))
        if not rules.allow(where):
            raise WebError(url, f"the robots.txt of {parts.hostname} asks programs not to read it")
        wait = 0.0 if local else self._rate_limit.turn(parts.hostname or "", rules.delay, RETRY_WAIT_S)
        if wait is None:
            raise WebError(
                url, f"the robots.txt of {parts.hostname} asks for {rules.delay:.0f} s between requests", passing=True
            )
        time.sleep(wait)

    def _robots(self, url: str, origin: str) -> robots.Rules:
        address = origin.removesuffix(":443") + "/robots.txt"
        page = self._read_robots.get(address) or self._cache.load(address)
        if page is None or age_s(page) > ROBOTS_AGE_S:
            none = page_of(address, b"")  # also today's time, for a file that has not changed
            try:
                page = replace(self._follow(address, page, {}, limited=False), fetched_at=none.fetched_at)
            except WebError as error:
                if error.passing and page is None:
                    self._rate_limit.leave(urlsplit(origin).hostname or "", "did not give its robots.txt before")
                    raise WebError(url, f"its host's robots.txt: {error.reason}", unreachable=True) from None
                page = page if page and error.passing else none
            self._cache.store(page)
        self._read_robots[address] = page
        return robots.parse(page.text)

    def _once(
        self, url: str, where: str, cached: Page | None, deadline: float, own: dict[str, str]
    ) -> tuple[Page | None, str]:
        """One hop (and at most one retry) -> (page, "") or (None, where the redirect leads)."""
        import httpx2

        address, via = self._address(where)
        host = urlsplit(where).hostname or ""
        for attempt in (1, 2):
            if reason := self._rate_limit.left_alone(host):
                raise WebError(url, reason, unreachable=True)
            try:
                headers = {**self._headers(where, cached), **own}
                with self._client(address).stream("GET", address, headers=headers) as response:
                    wait = retry_after(response.status_code, response.headers)
                    if wait is None:
                        return self._read(url, where, address, via, response, cached, deadline)
                    if attempt == 2 or wait > RETRY_WAIT_S:
                        raise self._refusal(url, host, response.status_code, wait)
                time.sleep(wait)
            except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
                down = isinstance(error, (httpx2.ConnectError, httpx2.TimeoutException))
                raise WebError(url, _network_reason(error), unreachable=down, passing=True) from None
        raise AssertionError("unreachable")

    def _refusal(self, url: str, host: str, status: int, wait: float) -> WebError:
        """Of a host that wants no more requests now: it is left alone for as long as it asks."""
        if wait <= RETRY_WAIT_S:
            return WebError(url, f"HTTP {status}", passing=True, status=status)
        self._rate_limit.leave(host, f"asked to wait {wait:.0f} s before", wait)
        return WebError(url, f"HTTP {status} (asks to wait {wait:.0f} s)", passing=True, status=status)

    def _read(self, url, where, address, via, response, cached, deadline) -> tuple[Page | None, str]:
        if response.status_code in (301, 302, 303, 307, 308):
            return None, self._redirect(url, address, via, response.headers.get("location", ""))
        if response.status_code == 304 and cached is not None:
            return replace(cached, from_cache=True, via=None), ""
        if response.status_code != 200:
            raise WebError(url, f"HTTP {response.status_code}", status=response.status_code)
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MAX_BYTES:
                raise WebError(url, f"larger than {MAX_BYTES // 1024 // 1024} MB")
            if time.monotonic() > deadline:
                raise WebError(url, f"not complete after {WHOLE_S:.0f} s", passing=True)
        page = page_of(url, bytes(body), final_url=where, etag=response.headers.get("etag"), via=via)
        return replace(page, link=response.headers.get("link")), ""

    def _redirect(self, url: str, address: str, via: str | None, location: str) -> str:
        """Where a redirect leads, in canonical form: a recorded web may write its own address instead."""
        try:
            target = urljoin(address, location)
        except ValueError:
            raise WebError(url, "redirects to something that is not a URL") from None
        for canonical, base in self._map.items() if via else ():
            if _under(target, base):
                target = canonical + target[len(base) :]
        self._check(url, target, "redirects to ")
        return target

    def _check(self, url: str, target: str, how: str = "") -> None:
        """Raises WebError unless `target` is a page of an allowed host."""
        try:
            parts = urlsplit(target)
            origin = _origin(target)
        except ValueError:
            raise WebError(url, f"{how}something that is not a URL") from None
        if len(target) > MAX_URL or not _URL_CHARACTERS.issuperset(target) or "/../" in unquote(parts.path) + "/":
            raise WebError(url, f"{how}a URL that is too long, or has '..' or characters that a URL writes with %")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise WebError(url, f"{how}something other than a plain https URL")
        public = parts.hostname in HOSTS and origin == f"https://{parts.hostname}:443"
        if not public and origin != self._endpoint:
            where = f"{parts.scheme}://{parts.hostname[:80]}"
            raise WebError(url, f"{how}{where}, not an allowed host (by https: {', '.join(HOSTS)}; and HF_ENDPOINT)")

    def _address(self, where: str) -> tuple[str, str | None]:
        """Canonical URL -> (the URL to ask, the loopback base of a recorded web or None)."""
        for canonical, base in sorted(self._map.items(), key=lambda item: -len(item[0])):
            if _under(where, canonical):
                return base + where[len(canonical) :], base
        return where, None

    def _headers(self, where: str, cached: Page | None) -> dict[str, str]:
        headers = {"User-Agent": f"{robots.AGENT}/{__version__} (a few pages for one fine-tuning; obeys robots.txt)"}
        if (
            self._token
            and self._address(where)[1] is None
            and _origin(where) == (self._endpoint or "https://huggingface.co:443")
        ):
            headers["Authorization"] = f"Bearer {self._token}"
        if cached is not None and cached.etag and cached.final_url == where:
            headers["If-None-Match"] = cached.etag
        return headers

    def _client(self, address: str):
        """One client for loopback, which no proxy may see, and one for the world."""
        import httpx2  # on first use: it costs a tenth of the server's start-up

        local = urlsplit(address).hostname in LOOPBACK
        if local not in self._clients:
            self._clients[local] = httpx2.Client(
                timeout=httpx2.Timeout(READ_S, connect=CONNECT_S),
                follow_redirects=False,
                trust_env=not local,
                transport=self._transport,
            )
        return self._clients[local]


def _origin(url: str) -> str:
    """scheme://host:port. Raises ValueError for a port that is not a number."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or {'https': 443, 'http': 80}.get(parts.scheme, 0)}"


def _under(url: str, base: str) -> bool:
    return url == base or (url.startswith(base) and url[len(base)] in "/?")


def _network_reason(error: Exception) -> str:
    import httpx2

    table = (
        (httpx2.TimeoutException, "no answer in time"),
        (httpx2.ConnectError, "cannot be reached"),
        (httpx2.RemoteProtocolError, "the answer broke off"),
        (httpx2.DecodingError, "the answer is not readable"),
    )
    return next(
        (reason for kind, reason in table if isinstance(error, kind)), f"network error ({type(error).__name__})"
    )
