"""A recorded web on loopback: the few pages that research needs, so that the demo and the tests run without a network.

Every page is our own writing and says so at its top. `web_map` is the value of TUNEGATE_WEB_MAP that sends research
here; evidence then names the canonical URL and says that it came `via` this server. NVIDIA's pages and registry are here
too, for tests: the images that they offer do not exist, so a run that is meant to train must not be sent to them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tunegate.embedded import ngc

PAGES = Path(__file__).parent / "pages"
SHA = "7e57ab1e7e57ab1e7e57ab1e7e57ab1e7e57ab1e"  # what commits_main.json says
RECORDED_PREFIX = "/recorded"
_TRANSFORMERS = "raw/huggingface/transformers/{ref}"
_EXAMPLE = f"{_TRANSFORMERS}/examples/pytorch/image-classification"
_SCRIPT = "run_image_classification.py"

# path below PREFIX -> (file, media type). `{ref}` stands for the recorded commit, or any release tag.
RECORDED = {
    "api/repos/huggingface/transformers/commits/main": ("commits_main.json", "application/json"),
    f"{_EXAMPLE}/{_SCRIPT}": (f"{_SCRIPT}.txt", "text/plain"),
    f"{_EXAMPLE}/README.md": ("examples_readme.md", "text/plain"),
    f"{_TRANSFORMERS}/docs/source/en/tasks/image_classification.md": ("image_classification.md", "text/plain"),
    "arxiv/abs/0000.00000": ("abstract.html", "text/html"),
    "nvidia/deeplearning/frameworks/support-matrix/index.html": ("support_matrix.html", "text/html"),
    "nvidia/turned/index.html": ("support_matrix_turned.html", "text/html"),
    "nvidia/deeplearning/frameworks/pytorch-release-notes/rel-26-09.html": ("release_notes.html", "text/html"),
}
RESEARCH = {"raw.githubusercontent.com": "raw", "api.github.com": "api", "arxiv.org": "arxiv"}
NVIDIA = {"docs.nvidia.com": "nvidia", "nvcr.io": "nvcr", "layers.nvcr.io": "layers"}


def routes() -> list[Route]:
    pages = [Route(f"{RECORDED_PREFIX}/{path}", _page(*page), methods=["GET"]) for path, page in RECORDED.items()]
    return [*pages, *ngc.routes(RECORDED_PREFIX)]


def _page(name: str, media_type: str):
    async def answer(request: Request) -> Response:
        ref = request.path_params.get("ref", SHA)
        if ref != SHA and not ref.startswith("v"):
            return PlainTextResponse("no such revision is recorded", 404)
        body = (PAGES / name).read_bytes()
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={"ETag": etag})
        return Response(body, media_type=media_type, headers={"ETag": etag})

    return answer


def web_map(base_url: str, hosts: Mapping[str, str] = RESEARCH) -> str:
    """Base URL of the server that mounts `routes()` -> the value of TUNEGATE_WEB_MAP. hosts: RESEARCH, NVIDIA or both."""
    base = base_url.rstrip("/") + RECORDED_PREFIX
    return ",".join(f"https://{host}={base}/{part}" for host, part in hosts.items())
