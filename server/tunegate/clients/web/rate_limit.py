"""Rate limit by host: a pause between two requests, and none sent to a host that asks to be left alone. Time is all that it knows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

GAP_S = 0.2  # between two requests to one host
LEAVE_S = 60.0  # a host that failed us in a way that forbids asking again at once
LONGEST_S = 3600.0


class RateLimit:
    """What this process owes to each host."""

    def __init__(self) -> None:
        self._asked: dict[str, float] = {}
        self._left: dict[str, tuple[float, str]] = {}

    def turn(self, host: str, delay: float, patience: float) -> float | None:
        """Seconds to wait before the host may be asked, which counts as done; None when that is beyond our patience."""
        now = time.monotonic()
        wait = max(0.0, self._asked.get(host, float("-inf")) + max(GAP_S, delay) - now)
        if wait > patience:
            return None
        self._asked[host] = now + wait
        return wait

    def leave(self, host: str, reason: str, seconds: float = LEAVE_S) -> None:
        self._left[host] = (time.monotonic() + min(seconds, LONGEST_S), reason)

    def left_alone(self, host: str) -> str:
        """Why the host may not be asked now, or ""."""
        until, reason = self._left.get(host, (0.0, ""))
        return f"{host} {reason}" if time.monotonic() < until else ""


def retry_after(status: int, headers: Mapping[str, str]) -> float | None:
    """Seconds that a 429, a 5xx or a used-up GitHub limit asks us to wait, 0.5 where it does not say; None: no such answer."""
    spent = status in (403, 429) and headers.get("x-ratelimit-remaining") == "0"
    if status != 429 and status < 500 and not spent:
        return None
    said = headers.get("retry-after") or ""
    try:
        if not said and spent:
            return _bounded(float(headers.get("x-ratelimit-reset", "")) - time.time())
        return _bounded(float(said)) if said else 0.5
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(said)
        return _bounded((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp())
    except (ValueError, TypeError, OverflowError):
        return 0.5


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_S) if seconds == seconds else 0.5
