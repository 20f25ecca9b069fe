"""Gives an image of the local engine the digest that a registry would give it, so that `FROM name:tag@sha256:…` finds it.

    python3 standin/pin.py NAME:TAG PORT

A digest is the SHA-256 of a manifest, and an engine learns it only from a registry. This is that registry, for one image
and one pull: it lists the image's own config and layers (uncompressed, as `docker save` gives them), the engine pulls,
finds that it has the image already, transfers nothing and records the digest. Afterwards no registry is needed.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar"
CHUNK = 1 << 20  # bytes


def manifest(name: str) -> bytes:
    """The schema 2 manifest of a local image. Raises CalledProcessError when the engine has no such image."""
    blobs, links, index = {}, {}, b""
    with subprocess.Popen(["docker", "save", name], stdout=subprocess.PIPE) as save:
        with tarfile.open(fileobj=save.stdout, mode="r|", bufsize=CHUNK) as archive:
            for member in archive:
                if member.issym():  # a layer that occurs twice
                    links[member.name] = posixpath.normpath(
                        posixpath.join(posixpath.dirname(member.name), member.linkname)
                    )
                elif member.name == "manifest.json":
                    index = archive.extractfile(member).read()
                elif member.isfile():
                    blobs[member.name] = _descriptor(archive.extractfile(member), member.size)
    if save.returncode:
        raise subprocess.CalledProcessError(save.returncode, save.args)
    image = json.loads(index)[0]
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, **blobs[image["Config"]]},
        "layers": [{"mediaType": LAYER, **blobs[links.get(layer, layer)]} for layer in image["Layers"]],
    }
    return json.dumps(document, indent=1).encode()


def _descriptor(file, size: int) -> dict:
    sha = hashlib.sha256()
    while chunk := file.read(CHUNK):
        sha.update(chunk)
    return {"size": size, "digest": f"sha256:{sha.hexdigest()}"}


def registry(document: bytes, port: int) -> ThreadingHTTPServer:
    """A registry on loopback that holds one manifest, reached directly or as the engine's HTTP proxy."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = urlsplit(self.path).path
            body = document if "/manifests/" in path else b"{}"
            self.send_response(200 if path == "/v2/" or body is document else 404)
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            self.send_header("Content-Type", MANIFEST if body is document else "application/json")
            self.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(body).hexdigest()}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *arguments):
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main(name: str, port: int) -> None:
    document = manifest(name)
    with registry(document, port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        subprocess.run(["docker", "pull", "--quiet", name], check=True)
        server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
