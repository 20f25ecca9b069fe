"""NVIDIA's registry, anonymously: which releases of the PyTorch image there are, and what one of them is.

Every document below a tag is named by the sha256 of its bytes, and that is computed again here: what a server, a proxy or
a redirect says of a digest counts for nothing. The token lives in memory and goes to the registry's own host only.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from tunegate.clients.web.page import Page, Web, WebError
from tunegate.hardware.ngc import rules as ngc_rules
from tunegate.hardware.ngc.rules import Facts

HOST = "https://nvcr.io"
REPOSITORY = "nvidia/pytorch"
NGC_IMAGE = f"nvcr.io/{REPOSITORY}"
TOKEN_URL = f"{HOST}/proxy_auth?scope=repository:{REPOSITORY}:pull"
TAGS = f"{HOST}/v2/{REPOSITORY}/tags/list?n=2000"
MAX_TAG_PAGES = 8
TAG = re.compile(r"(\d\d\.\d\d)-py3")  # also there: -py3-igpu (Jetson), -py3-sdk and others
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MANIFEST_LIST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")


class OtherMachine(WebError):
    """There is an image, and none for this architecture: the registry works, another release may have one."""


@dataclass(frozen=True)
class Offer:
    """One release as the registry has it. digest: what a pull pins (the list's, where there is one). size_gb: to download."""

    facts: Facts
    digest: str
    size_gb: float
    pages: tuple[Page, ...]


@dataclass
class Registry:
    """Raises WebError, whatever goes wrong: `unreachable` when there is no use in asking again."""

    web: Web
    arch: str
    _token: str | None = field(default=None, repr=False)

    def releases(self) -> tuple[list[str], list[Page]]:
        """(`26.09`, … newest first; the pages that say so)."""
        found: set[str] = set()
        pages: list[Page] = []
        url: str | None = TAGS
        while url and len(pages) < MAX_TAG_PAGES:
            page = self._get(url)
            pages.append(page)
            tags = _object(page).get("tags")
            found |= {m[1] for tag in tags or [] if isinstance(tag, str) and (m := TAG.fullmatch(tag))}
            url = _next(page)
        return sorted(found, reverse=True), pages

    def offer(self, release: str, reference: str | None = None) -> Offer:
        """The image of this architecture behind a release's tag, or behind the digest `reference`."""
        top = self._get(
            f"{HOST}/v2/{REPOSITORY}/manifests/{reference or f'{release}-py3'}", (*MANIFEST_LIST_TYPES, *MANIFEST_TYPES)
        )
        if reference:
            _check(top, reference)
        manifest, pages = top, [top]
        if "manifests" in _object(top):
            wanted = self._of_this_machine(top)
            manifest = self._verified(f"{HOST}/v2/{REPOSITORY}/manifests/{wanted}", wanted, MANIFEST_TYPES)
            pages.append(manifest)
        said = _object(manifest)
        digest = (said.get("config") or {}).get("digest") if isinstance(said.get("config"), dict) else None
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            raise WebError(manifest.url, "names no configuration")
        blob = self._verified(f"{HOST}/v2/{REPOSITORY}/blobs/{digest}", digest)
        layers = [layer.get("size") for layer in said.get("layers") or [] if isinstance(layer, dict)]
        size = sum(size for size in layers if isinstance(size, int) and size > 0)
        return Offer(self._facts(blob, release), f"sha256:{top.sha256}", round(size / 1e9, 1), (*pages, blob))

    def _of_this_machine(self, page: Page) -> str:
        listed = _object(page)["manifests"]
        for entry in listed if isinstance(listed, list) else []:
            platform = entry.get("platform") if isinstance(entry, dict) else None
            digest = entry.get("digest") if isinstance(entry, dict) else None
            if isinstance(platform, dict) and (platform.get("os"), platform.get("architecture")) == (
                "linux",
                self.arch,
            ):
                if isinstance(digest, str) and DIGEST.fullmatch(digest):
                    return digest
        raise OtherMachine(page.url, f"has no image for {self.arch}")

    def _facts(self, blob: Page, release: str) -> Facts:
        said = _object(blob)
        config = said.get("config") if isinstance(said.get("config"), dict) else {}
        env = dict(entry.partition("=")[::2] for entry in config.get("Env") or [] if isinstance(entry, str))
        if env.get("NVIDIA_PYTORCH_VERSION") != release:
            raise WebError(blob.url, f"is not the configuration of release {release}")
        if said.get("architecture") not in (None, self.arch):  # a tag without a list holds one architecture
            raise OtherMachine(blob.url, f"has no image for {self.arch}")
        return ngc_rules.from_env(release, env)

    def _verified(self, url: str, digest: str, accept: tuple[str, ...] = ()) -> Page:
        page = self._get(url, accept)
        _check(page, digest)
        return page

    def _get(self, url: str, accept: tuple[str, ...] = ()) -> Page:
        if self._token is None:
            said = _object(self.web.get(TOKEN_URL, headers={"Accept": "application/json"})).get("token")
            if not isinstance(said, str) or not re.fullmatch(r"[\x21-\x7e]{1,8192}", said):
                raise WebError(TOKEN_URL, "gives no token")
            self._token = said
        headers = {"Authorization": f"Bearer {self._token}", "Accept": ", ".join(accept or ("application/json",))}
        return self.web.get(url, headers=headers)


def _check(page: Page, digest: str) -> None:
    if f"sha256:{page.sha256}" != digest:
        raise WebError(page.url, "its content does not have the digest that names it")


def _object(page: Page) -> dict[str, Any]:
    try:
        found = json.loads(page.text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise WebError(page.url, "is not a JSON object")
    return found


def _next(page: Page) -> str | None:
    """The next page of tags (RFC 8288), as long as it is one of this list."""
    found = re.match(r'\s*<([^<>\s]{1,500})>\s*;\s*rel="?next"?', page.link or "")
    try:
        url = urljoin(page.url, found[1]) if found else ""
    except ValueError:
        return None
    return url if url.startswith(TAGS.partition("?")[0] + "?") else None
