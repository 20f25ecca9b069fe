"""The one seam to the web: GET a page from a host that tunegate needs, and know exactly what came back.

    Web          the protocol: get(url) -> Page, or WebError
    HttpWeb      the real end: httpx2, an allow-list of hosts, limits, an ETag cache on disk
    MemoryWeb    the in-memory end: a dict of pages

What a page says is data. Nothing here runs, renders or follows it, except redirects that stay inside the allow-list.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urljoin, urlsplit

from tunegate import __version__, paths
from tunegate.errors import ToolFailure
from tunegate.rundir import atomic_write

if TYPE_CHECKING:
    import httpx2

HOSTS = (  # reached by https only
    "raw.githubusercontent.com",
    "api.github.com",
    "github.com",
    "huggingface.co",
    "arxiv.org",
    "export.arxiv.org",
    "docs.nvidia.com",
    "nvcr.io",
    "layers.nvcr.io",  # where nvcr.io sends whoever asks for a blob
)
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_BYTES = 4 * 1024 * 1024
MAX_URL = 2048
MAX_REDIRECTS = 5
CONNECT_S, READ_S, WHOLE_S = 5.0, 10.0, 30.0
RETRY_WAIT_S = 5.0  # a longer Retry-After is reported, not waited for: a tool call must stay short


class WebError(Exception):
    """A page that could not be had: `url` and a short `reason` fit to be recorded. Never quotes the server.

    `unreachable`: the host itself did not answer, so asking it for another page would only cost the same wait again.
    """

    def __init__(self, url: str, reason: str, *, unreachable: bool = False):
        super().__init__(f"{url[:200]}: {reason}")
        self.url, self.reason, self.unreachable = url, reason, unreachable


@dataclass(frozen=True)
class Page:
    """One page as it was fetched. `url` and `final_url` are canonical; `via` is the loopback base of a recorded web."""

    url: str
    final_url: str
    status: int
    text: str
    sha256: str = field(metadata={"of": "the body's bytes"})
    fetched_at: str
    size: int = field(metadata={"unit": "bytes"})
    etag: str | None = None
    from_cache: bool = False
    via: str | None = None
    link: str | None = field(default=None, metadata={"of": "the Link header"})


class Web(Protocol):
    def get(self, url: str, headers: dict[str, str] | None = None) -> Page:
        """Raises WebError when the page cannot be had, for whatever reason."""
        ...


def page_of(
    url: str, body: bytes, *, final_url: str | None = None, etag: str | None = None, via: str | None = None
) -> Page:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Page(
        url,
        final_url or url,
        200,
        body.decode("utf-8", "replace"),
        hashlib.sha256(body).hexdigest(),
        now,
        len(body),
        etag,
        via=via,
    )


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
        self._cache = cache or paths.cache_dir() / "web"
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

        `headers` go to the url's own origin only, and such a page is never kept on disk: it may hold or have needed a token.
        """
        self._check(url, url)
        cached, where, deadline = None if headers else self._load(url), url, time.monotonic() + WHOLE_S
        for _ in range(MAX_REDIRECTS + 1):
            own = headers if headers and _origin(where) == _origin(url) else {}
            page, redirect = self._once(url, where, cached, deadline, own)
            if page is not None:
                return page if headers else self._store(page)
            where = redirect
        raise WebError(url, f"more than {MAX_REDIRECTS} redirects")

    def _once(
        self, url: str, where: str, cached: Page | None, deadline: float, own: dict[str, str]
    ) -> tuple[Page | None, str]:
        """One hop (and at most one retry) -> (page, "") or (None, where the redirect leads)."""
        import httpx2

        address, via = self._address(where)
        for attempt in (1, 2):
            try:
                headers = {**self._headers(where, cached), **own}
                with self._client(address).stream("GET", address, headers=headers) as response:
                    if attempt == 1 and (wait := _retry_wait(response)) is not None:
                        time.sleep(wait)
                        continue
                    return self._read(url, where, address, via, response, cached, deadline)
            except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
                down = isinstance(error, (httpx2.ConnectError, httpx2.TimeoutException))
                raise WebError(url, _network_reason(error), unreachable=down) from None
        raise AssertionError("unreachable")

    def _read(self, url, where, address, via, response, cached, deadline) -> tuple[Page | None, str]:
        if response.status_code in (301, 302, 303, 307, 308):
            return None, self._redirect(url, address, via, response.headers.get("location", ""))
        if response.status_code == 304 and cached is not None:
            return replace(cached, from_cache=True), ""
        if response.status_code != 200:
            after = response.headers.get("retry-after", "")
            raise WebError(
                url, f"HTTP {response.status_code}" + (f" (asks to wait {after} s)" if after.isdigit() else "")
            )
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MAX_BYTES:
                raise WebError(url, f"larger than {MAX_BYTES // 1024 // 1024} MB")
            if time.monotonic() > deadline:
                raise WebError(url, f"not complete after {WHOLE_S:.0f} s")
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
        if len(target) > MAX_URL or not target.isprintable() or " " in target or "/../" in unquote(parts.path) + "/":
            raise WebError(url, f"{how}a URL that is too long, or has spaces, control characters or '..'")
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
        headers = {"User-Agent": f"tunegate/{__version__}"}
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

    def _file(self, url: str) -> Path:
        return self._cache / f"{hashlib.sha256(url.encode()).hexdigest()}.json"

    def _load(self, url: str) -> Page | None:
        if self._address(url)[1] is not None:  # a recorded web is never mixed with the real one
            return None
        try:
            with self._file(url).open("rb") as file:
                page = Page(**json.loads(file.read(8 * MAX_BYTES)))
            body = page.text.encode()
            return page if page.url == url and page.etag and hashlib.sha256(body).hexdigest() == page.sha256 else None
        except (OSError, ValueError, TypeError, AttributeError):
            return None  # no cache, or a damaged one: fetch again

    def _store(self, page: Page) -> Page:
        if page.etag and page.via is None and not page.from_cache:
            try:
                atomic_write(self._file(page.url), json.dumps(asdict(page)), 0o600)
            except ToolFailure:
                pass  # a cache that cannot be written costs only time
        return page


def _origin(url: str) -> str:
    """scheme://host:port. Raises ValueError for a port that is not a number."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or {'https': 443, 'http': 80}.get(parts.scheme, 0)}"


def _under(url: str, base: str) -> bool:
    return url == base or (url.startswith(base) and url[len(base)] in "/?")


def _retry_wait(response) -> float | None:
    """Seconds to wait before the one retry of a 429 or 5xx; None: do not retry."""
    if response.status_code != 429 and response.status_code < 500:
        return None
    after = response.headers.get("retry-after", "0.5")
    try:
        wait = float(after)
    except ValueError:
        return None  # a date: minutes away in practice
    return wait if 0 <= wait <= RETRY_WAIT_S else None


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
