"""The NGC PyTorch images that the engine has, and what the engine can find out about one that it has not."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass

from tunegate.clients.docker import engine as engines
from tunegate.clients.docker import engine_errors
from tunegate.clients.docker.engine import Engine
from tunegate.hardware.ngc import rules as ngc_rules
from tunegate.hardware.ngc.rules import Facts

NGC_TAG = re.compile(r"(?P<name>\S*nvidia/pytorch):(?P<release>\d\d\.\d\d)-py3")
ASK_REGISTRY_S = 10.0


@dataclass(frozen=True)
class Local:
    """digest: None for an image that was built or loaded here: nothing pins it."""

    image: str
    digest: str | None
    facts: Facts
    standin: bool


def images(engine: Engine) -> list[Local]:
    """Newest first. Raises ToolFailure(unavailable)."""
    with engine_errors.mapped("listing the engine's images", engine.host):
        tags = {tag for image in engine.api.images() for tag in image.get("RepoTags") or []}
    found = []
    for match in filter(None, map(NGC_TAG.fullmatch, tags)):
        inspected = engines.image(engine, match[0])
        if inspected is None:  # removed meanwhile
            continue
        digests = [digest.partition("@") for digest in inspected.repo_digests]
        facts = ngc_rules.from_env(match["release"], inspected.env)
        standin = any("standin" in label for label in inspected.labels)
        digest = next((digest for name, _, digest in digests if name == match["name"]), None)
        found.append(Local(match[0], digest, facts, standin))
    # of one release NVIDIA's before a mirror's or a stand-in's; the name last, so that the order is one
    return sorted(found, key=lambda one: (one.facts.release, not one.standin, one.image), reverse=True)


def architecture(engine: Engine) -> str:
    """amd64 or arm64, as the registry names them. Raises ToolFailure(unavailable)."""
    with engine_errors.mapped("asking the engine what it is", engine.host):
        said = engine.api.version().get("Arch") or platform.machine()
    return ngc_rules.ARCHITECTURES.get(said, said)


def registry_digest(engine: Engine, image: str) -> str | None:
    """The digest behind a tag, as the engine's own registry client finds it: it may have a proxy, a mirror or a login."""
    import docker.errors
    import requests

    usual, engine.api.timeout = engine.api.timeout, ASK_REGISTRY_S
    try:
        found = engine.api.inspect_distribution(image)["Descriptor"]["digest"]
    except (docker.errors.DockerException, requests.RequestException, KeyError, TypeError):
        return None
    finally:
        engine.api.timeout = usual
    return found if isinstance(found, str) and re.fullmatch(r"sha256:[0-9a-f]{64}", found) else None
