"""Pages that were fetched, on disk: revalidated by ETag while their host answers, and read again when it does not.

Not by hishel: it keeps what a host's Cache-Control allows, or everything without asking again; never a copy for the day when
the host is down. Nor does it check what it reads back, or write past planted links.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tunegate.clients.web.page import Page
from tunegate.errors import ToolFailure
from tunegate.rundir import atomic_write

MAX_FILES = 1000  # a run reads about a dozen pages
MAX_FILE_BYTES = 32 * 1024 * 1024  # a page of the largest size, written as JSON


class PageCache:
    """One file a URL, readable by this user alone: a page may have needed the user's token."""

    def __init__(self, folder: Path):
        self.folder = folder

    def load(self, url: str) -> Page | None:
        """None without a copy, or with a damaged one: its text must have the SHA-256 that was written down."""
        try:
            with self._file(url).open("rb") as file:
                page = Page(**json.loads(file.read(MAX_FILE_BYTES)))
            whole = hashlib.sha256(page.text.encode()).hexdigest() == page.sha256
            return page if page.url == url and whole else None
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    def store(self, page: Page) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            atomic_write(self.folder.resolve() / self._file(page.url).name, json.dumps(asdict(page)), 0o600)
            self._prune()
        except (OSError, ToolFailure):
            pass  # a cache that cannot be written costs only time

    def _prune(self) -> None:
        files = list(self.folder.glob("*.json"))
        if len(files) > MAX_FILES:
            for file in sorted(files, key=lambda path: path.stat().st_mtime)[: len(files) - MAX_FILES]:
                file.unlink(missing_ok=True)

    def _file(self, url: str) -> Path:
        return self.folder / f"{hashlib.sha256(url.encode()).hexdigest()}.json"


def age_s(page: Page) -> float:
    """Seconds since the page was fetched; endless when its time cannot be read."""
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(page.fetched_at)).total_seconds()
    except (ValueError, TypeError):
        return float("inf")
