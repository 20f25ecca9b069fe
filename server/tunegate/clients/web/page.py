"""What the web seam answers: a page as it was fetched, or the reason why it cannot be had."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

CACHED = "cache"  # Page.via of a copy that stands in for a host that does not answer


class WebError(Exception):
    """A page that could not be had: `url` and a short `reason` fit to be recorded. Never quotes the server.

    `unreachable`: the host did not answer or asked to be left alone for a while, so another page of it cannot be had either.
    `passing`: it may be had another time, so that a copy from before may stand in.
    """

    def __init__(self, url: str, reason: str, *, unreachable: bool = False, passing: bool = False, status: int = 0):
        super().__init__(f"{url[:200]}: {reason}")
        self.url, self.reason, self.unreachable, self.status = url, reason, unreachable, status
        self.passing = passing or unreachable or status == 429 or status >= 500


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
    via: str | None = field(default=None, metadata={"or": "CACHED"})
    link: str | None = field(default=None, metadata={"of": "the Link header"})


class Web(Protocol):
    def get(self, url: str, headers: dict[str, str] | None = None) -> Page:
        """Raises WebError when the page cannot be had, for whatever reason."""
        ...

    def recall(self, url: str) -> Page | None:
        """The copy of a page that was fetched before; asks nobody."""
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
