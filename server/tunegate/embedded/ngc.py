"""A recorded image registry in the shapes of NVIDIA's: token, paged tags, manifest lists, configurations. No layer behind it.

The documents are our own: real releases' names and versions, invented layers and digests. What is asked for by digest has
that digest; blobs are answered by another host, as the real ones are.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

SAYS = "a stand-in for tests, written for tunegate: not NVIDIA's image"
RECORDED_TOKEN = "stand-in-token"
PAGE_OF_TAGS = 4
MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ARCH_LIST = "7.5 8.0 8.6 9.0 10.0 12.0+PTX"
ARCH_LIST_ARM = "8.0 8.6 9.0 10.0 11.0 12.0+PTX"
RELEASES = {  # release -> torch, CUDA, the driver in its compatibility package
    "26.09": ("2.14.0a0+5a7a1d1", "13.4.0.021", "595.45.04"),
    "26.08": ("2.14.0a0+5a7a1d0", "13.4.0.019", "595.45.04"),
    "26.03": ("2.11.0a0+5a7a1d2", "13.2.0.046", "590.48.01"),
    "25.06": ("2.8.0a0+5a7a1d3", "12.9.1.010", "575.57.08"),
    "25.01": ("2.6.0a0+5a7a1d4", "12.8.0.038", "570.86.10"),
}
OTHER_TAGS = ("26.09-py3-igpu", "26.08-py3-sdk", "18.12.1-py3", "latest")


def documents() -> dict[str, tuple[bytes, str]]:
    """Tag or digest -> (body, media type): what the registry answers for manifests and blobs."""
    found: dict[str, tuple[bytes, str]] = {}

    def keep(body: dict[str, Any], media_type: str) -> str:
        data = json.dumps(body, indent=1).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        found[digest] = (data, media_type)
        return digest

    for release, (torch, cuda, driver) in RELEASES.items():
        entries = []
        for arch, arch_list in (("amd64", ARCH_LIST), ("arm64", ARCH_LIST_ARM)):
            config = keep(_config(release, arch, torch, cuda, driver, arch_list), "application/octet-stream")
            layers = [
                {"mediaType": "application/octet-stream", "size": size, "digest": "sha256:" + "0" * 64}
                for size in LAYER_SIZES
            ]
            manifest = {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"digest": config, "size": 1},
                "layers": layers,
            }
            entries.append({"digest": keep(manifest, MANIFEST), "platform": {"architecture": arch, "os": "linux"}})
        entries.append({"digest": "sha256:" + "0" * 64, "platform": {"architecture": "unknown", "os": "unknown"}})
        index = keep({"schemaVersion": 2, "mediaType": MANIFEST_LIST, "manifests": entries}, MANIFEST_LIST)
        found[f"{release}-py3"] = found[index]
    return found


LAYER_SIZES = (29_000_000, 4_300_000_000, 5_100_000_000)


def _config(release: str, arch: str, torch: str, cuda: str, driver: str, arch_list: str) -> dict[str, Any]:
    env = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "NVIDIA_PYTORCH_VERSION": release,
        "PYTORCH_VERSION": torch,
        "CUDA_VERSION": cuda,
        "CUDA_DRIVER_VERSION": driver,
        "TORCH_CUDA_ARCH_LIST": arch_list,
    }
    config = {"Env": [f"{name}={value}" for name, value in env.items()], "Labels": {"org.tunegate.standin": SAYS}}
    return {"architecture": arch, "os": "linux", "config": config}


def routes(prefix: str) -> list[Route]:
    """Routes of nvcr.io below `prefix`/nvcr, and of the host that it sends blobs' readers to below `prefix`/layers."""
    kept = documents()
    tags = sorted([*(f"{release}-py3" for release in RELEASES), *OTHER_TAGS])

    def refused(request: Request) -> Response | None:
        if request.headers.get("authorization") == f"Bearer {RECORDED_TOKEN}":
            return None
        return JSONResponse({"errors": [{"code": "UNAUTHORIZED"}]}, 401)

    async def token(request: Request) -> Response:
        return JSONResponse({"token": RECORDED_TOKEN, "expires_in": 600})

    async def listed(request: Request) -> Response:
        last = request.query_params.get("last", "")
        rest = [tag for tag in tags if tag > last]
        headers = {}
        if len(rest) > PAGE_OF_TAGS:
            path = f"/v2/nvidia/pytorch/tags/list?last={rest[PAGE_OF_TAGS - 1]}&n={PAGE_OF_TAGS}"
            headers["Link"] = f'<{path}>; rel="next"'
        body = {"name": "nvidia/pytorch", "tags": rest[:PAGE_OF_TAGS]}
        return refused(request) or JSONResponse(body, headers=headers)

    async def manifest(request: Request) -> Response:
        body, media_type = kept.get(request.path_params["reference"], (b"", ""))
        missing = None if body else JSONResponse({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, 404)
        return refused(request) or missing or Response(body, media_type=media_type)

    async def blob(request: Request) -> Response:
        where = f"https://layers.nvcr.io/{request.path_params['digest']}?Signature=stand-in"
        return refused(request) or RedirectResponse(where, 307)

    async def stored(request: Request) -> Response:
        if "authorization" in request.headers:  # as object storage does with a token that is not its own
            return Response(status_code=400)
        body, media_type = kept.get(request.path_params["digest"], (b"", ""))
        return Response(body, media_type=media_type) if body else Response(status_code=404)

    repository = f"{prefix}/nvcr/v2/nvidia/pytorch"
    return [
        Route(f"{prefix}/nvcr/proxy_auth", token),
        Route(f"{repository}/tags/list", listed),
        Route(f"{repository}/manifests/{{reference}}", manifest),
        Route(f"{repository}/blobs/{{digest}}", blob),
        Route(f"{prefix}/layers/{{digest}}", stored),
    ]
