"""The one seam to the Hub: what it holds is read here, and everything that can go wrong becomes a ToolFailure.

Its error answers are explained in refusals.py; here are those that are no answer at all (timeout, no network, half a body,
not JSON): `unavailable`, try again later.

Server messages and exception texts are never quoted: either may repeat a credential. The client's session, headers and
token store are huggingface_hub's own, imported on first use, because importing it takes longer than starting a server.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from tunegate import __version__
from tunegate.clients.hub import refusals
from tunegate.clients.hub.refusals import Asked, origin
from tunegate.clients.hub.repositories import RepoInfo, RepoType, check_repo_id, check_revision, repo_info
from tunegate.clients.network import LOOPBACK
from tunegate.errors import ToolFailure
from tunegate.evidence import Source

HUB = "https://huggingface.co"
VIEWER = "https://datasets-server.huggingface.co"
CONNECT_S, READ_S, WHOLE_S = 10.0, 20.0, 60.0  # no answer to one request is waited for longer than WHOLE_S
MAX_JSON = 32 * 1024 * 1024  # a dataset's info lists every file: about 60 bytes each


@dataclass
class Trail:
    """What one probe fetched: a source for each answer, and the bytes that came over the wire."""

    sources: list[Source] = field(default_factory=list)
    bytes_fetched: int = 0

    def add(self, url: str, body: bytes) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.sources.append(Source(url=url, sha256=hashlib.sha256(body).hexdigest(), time=now))


class Hub:
    """A reader of one Hub and its dataset viewer. Cheap: make one for each call, or `recording()` copies of one."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        viewer: str | None = None,
        token: str | None = None,
        read_s: float = READ_S,
    ):
        self.endpoint = _base(endpoint or os.environ.get("HF_ENDPOINT") or HUB, "HF_ENDPOINT")
        named = viewer or os.environ.get("TUNEGATE_VIEWER_ENDPOINT")
        loopback = urlsplit(self.endpoint).hostname in LOOPBACK
        self.viewer_endpoint = _base(named or (self.endpoint if loopback else VIEWER), "TUNEGATE_VIEWER_ENDPOINT")
        # A token belongs to the endpoint. The public viewer gets it only when the endpoint is the public Hub.
        self._viewer_trusted = bool(named) or loopback or self.endpoint == HUB
        self._token, self._read_s = token, read_s
        self.trail = Trail()

    def recording(self) -> Hub:
        """The same Hub with a trail of its own, so that two probes in two threads do not mix their sources."""
        other = copy.copy(self)
        other.trail = Trail()
        return other

    def api(self):
        """The real client, for what writes: huggingface_hub.HfApi on this endpoint with this token."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=self._token, library_name="tunegate", library_version=__version__)

    def token_present(self) -> bool:
        """Whether HF_TOKEN or the client's own store has a token. The value itself never leaves this class."""
        if self._token:
            return True
        from huggingface_hub import get_token

        try:
            return bool(get_token())
        except Exception:  # a broken store or a failed OIDC exchange is no token; its message may hold one
            return False

    def page(self, repo_type: RepoType, repo_id: str) -> str:
        """The address where a person reads about the repository."""
        return f"{self.endpoint}/{'datasets/' if repo_type == 'dataset' else ''}{repo_id}"

    def whoami(self) -> str:
        """The account's name. Raises access_denied without a token that the Hub accepts."""
        if not self.token_present():
            raise ToolFailure("access_denied", "no Hub token: set HF_TOKEN, or run `hf auth login`")
        name = self._json(f"{self.endpoint}/api/whoami-v2", Asked("the account")).get("name")
        if not isinstance(name, str) or not name:
            raise ToolFailure("unavailable", f"{self.endpoint}/api/whoami-v2 answered without a name: try again later")
        return name

    def model_info(self, model_id: str, revision: str = "main") -> RepoInfo:
        """The model at `revision`, files with sizes. Raises invalid_input, not_found, access_denied, unavailable."""
        return self._info("model", check_repo_id(model_id, "model_id"), revision)

    def dataset_info(self, dataset_id: str, revision: str = "main") -> RepoInfo:
        """The dataset at `revision`. Raises as `model_info`."""
        return self._info("dataset", check_repo_id(dataset_id, "dataset_id"), revision)

    def read_bytes(
        self,
        repo_type: RepoType,
        repo_id: str,
        revision: str,
        path: str,
        *,
        max_bytes: int,
        start: int = 0,
        length: int | None = None,
    ) -> bytes:
        """A file, or `length` bytes of it from `start` (below 0: its end); a whole file larger than max_bytes is `rejected`."""
        url = f"{self.page(repo_type, repo_id)}/resolve/{quote(revision, safe='')}/{quote(path)}"
        span = (start, length) if length else (start, -start) if start < 0 else None
        return self._get(url, Asked(path, repo_type, repo_id, revision), max_bytes=max_bytes, span=span)

    def read_text(self, repo_type: RepoType, repo_id: str, revision: str, path: str, max_bytes: int = 1_000_000) -> str:
        """A small text file of the repository; undecodable bytes are replaced."""
        return self.read_bytes(repo_type, repo_id, revision, path, max_bytes=max_bytes).decode("utf-8", "replace")

    def check_access(self, repo_type: RepoType, info: RepoInfo) -> None:
        """A gated repository shows its file list to everybody: only reading a file tells. Raises access_denied."""
        if info.gated and info.files:
            smallest = min(info.files, key=lambda name: (info.files[name] or 0, name))
            self.read_bytes(repo_type, info.id, info.sha, smallest, max_bytes=1 << 20, length=1)

    def viewer(self, endpoint: str, **params: str | int) -> dict[str, Any]:
        """One answer of the dataset viewer, e.g. viewer("splits", dataset=ID). Raises as `model_info`."""
        dataset = str(params.get("dataset", ""))
        query = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in params.items())
        asked = Asked(f"the viewer's {endpoint} of", "dataset", dataset)
        return self._json(f"{self.viewer_endpoint}/{endpoint}?{query}", asked, authorize=self._viewer_trusted)

    def viewer_asset(self, url: str, max_bytes: int) -> bytes:
        """An image that the viewer's rows point to. Its address is signed: it is asked without a token and never recorded."""
        if origin(url) != origin(self.viewer_endpoint):
            raise ToolFailure("unavailable", "the viewer points to another host for its images: they were not fetched")
        return self._get(url, Asked("an image of the viewer"), max_bytes=max_bytes, authorize=False, quiet=True)

    def _info(self, repo_type: RepoType, repo_id: str, revision: str) -> RepoInfo:
        check_revision(revision)
        url = f"{self.endpoint}/api/{repo_type}s/{repo_id}/revision/{quote(revision, safe='')}"
        asked = Asked("", repo_type, repo_id, revision)
        return repo_info(repo_id, self._json(url + ("?blobs=true" if repo_type == "model" else ""), asked), url)

    def _json(self, url: str, asked: Asked, *, authorize: bool = True) -> dict[str, Any]:
        body = self._get(url, asked, max_bytes=MAX_JSON, authorize=authorize)
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise ToolFailure("unavailable", f"{url} answered something that is not a JSON object: try again later")
        return value

    def _get(
        self,
        url: str,
        asked: Asked,
        *,
        max_bytes: int,
        span: tuple[int, int] | None = None,
        authorize: bool = True,
        quiet: bool = False,
    ) -> bytes:
        """GET with every bound and every error in one place. `quiet`: neither recorded nor explained further."""
        import httpx2
        from huggingface_hub.errors import OfflineModeIsEnabled
        from huggingface_hub.utils import get_session

        # identity: what is bounded is then what arrives, and no body can unpack to more
        headers = {**self._headers(authorize), "accept-encoding": "identity"}
        if span:
            headers["range"] = f"bytes={span[0]}-{span[0] + span[1] - 1}" if span[0] >= 0 else f"bytes={span[0]}"
        timeout = httpx2.Timeout(self._read_s, connect=CONNECT_S)
        try:
            with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
                if response.status_code == 416 and span:  # the file ends before `start`
                    body = b""
                elif response.status_code >= 400:
                    raise self._refused(response.status_code, response.headers, url, asked, authorize, quiet)
                else:
                    body = self._body(response, url, asked, max_bytes, span)
        except OfflineModeIsEnabled:
            raise ToolFailure("unavailable", f"HF_HUB_OFFLINE is set, so {url} was not asked: unset it") from None
        except httpx2.TimeoutException:
            raise ToolFailure("unavailable", f"{url} did not answer in time: try again later") from None
        except httpx2.ConnectError:
            raise ToolFailure(
                "unavailable",
                f"{origin(url)} cannot be reached: check the network, the proxy settings "
                "and HF_ENDPOINT, then call again",
            ) from None
        except (httpx2.HTTPError, httpx2.InvalidURL):
            raise ToolFailure("unavailable", f"{url} broke off in the middle of its answer: call again") from None
        except UnicodeError:
            raise ToolFailure(
                "access_denied", "the Hub token holds characters that no token has: set HF_TOKEN again"
            ) from None
        if not quiet:
            self.trail.add(url, body)
        return body

    def _headers(self, authorize: bool) -> dict[str, str]:
        from huggingface_hub.utils import build_hf_headers

        try:
            return build_hf_headers(
                token=(self._token or None) if authorize else False,
                library_name="tunegate",
                library_version=__version__,
            )
        except Exception:  # see token_present
            return build_hf_headers(token=False, library_name="tunegate", library_version=__version__)

    def _body(self, response: Any, url: str, asked: Asked, max_bytes: int, span: tuple[int, int] | None) -> bytes:
        """The body, never more than max_bytes of it. `span` is (start, length); who ignores it is cut off after it."""
        if span and span[0] and response.status_code != 206:
            raise ToolFailure("unavailable", f"{url} does not answer range requests: use another HF_ENDPOINT")
        wanted = span[1] if span else None
        deadline, chunks, size = time.monotonic() + WHOLE_S, [], 0
        for chunk in response.iter_raw(65536):
            chunks.append(chunk)
            size += len(chunk)
            self.trail.bytes_fetched += len(chunk)
            if wanted and size >= wanted:
                break
            if size > max_bytes:
                raise ToolFailure(
                    "rejected",
                    f"{asked.what or url} of {asked.repo_id or 'the Hub'} is larger than "
                    f"{max_bytes:,} bytes, the most that is read of it: use another one",
                )
            if time.monotonic() > deadline:
                raise ToolFailure("unavailable", f"{url} took longer than {WHOLE_S:.0f} s: try again later")
        return b"".join(chunks)[:wanted]

    def _refused(self, status: int, headers: Any, url: str, asked: Asked, authorize: bool, quiet: bool) -> ToolFailure:
        page = self.page(asked.repo_type, asked.repo_id) if asked.repo_type else self.endpoint
        has_token = self.token_present()
        if said := refusals.of_answer(status, headers, url, asked, page, has_token=has_token):
            return said
        if asked.repo_type and not asked.what and not quiet and self._is_other_type(asked):
            return refusals.other_type(asked)
        return refusals.absent(status, self.endpoint, asked, page, token_sent=authorize and has_token)

    def _is_other_type(self, asked: Asked) -> bool:
        """Whether the id is taken by a repository of the other type."""
        other = "dataset" if asked.repo_type == "model" else "model"
        try:
            self._get(
                f"{self.endpoint}/api/{other}s/{asked.repo_id}",
                Asked("", other, asked.repo_id),
                max_bytes=MAX_JSON,
                quiet=True,
            )
        except ToolFailure:
            return False
        return True


def _base(url: str, name: str) -> str:
    """An http(s) base address without trailing slash. A password in it would end up in every message: refused."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise ToolFailure("invalid_input", f"{name} must be an http(s) address without user and password: e.g. {HUB}")
    return url.rstrip("/")
