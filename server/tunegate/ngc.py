"""pick_ngc_image on local-docker: the newest NGC PyTorch image that the engine has, pinned by its digest.

Choosing among what NVIDIA's registry offers, by driver and architecture, is not done yet: the user pulls an image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tunegate import engine as engines
from tunegate import engine_errors, reference_pages
from tunegate.engine import Engine
from tunegate.errors import ToolFailure

NAME = re.compile(r"(?P<name>\S*nvidia/pytorch):(?P<release>\d\d\.\d\d)-py3")


@dataclass
class Choice:
    image: str  # name:tag
    digest: str  # sha256:...
    notes: list[str] = field(default_factory=list)


def pick(engine: Engine) -> Choice:
    """Raises ToolFailure(not_found) when the engine has no such image with a digest, saying what to pull."""
    with engine_errors.mapped("listing the engine's images", engine.host):
        tags = [tag for image in engine.api.images() for tag in image.get("RepoTags") or []]
    found = sorted(
        (match for tag in tags if (match := NAME.fullmatch(tag))), key=lambda match: match["release"], reverse=True
    )
    undigested = []
    for match in found:
        facts = engines.image(engine, match[0])
        digests = [d.partition("@") for d in facts.repo_digests] if facts else []
        digest = next((d for name, _, d in digests if name == match["name"]), None)
        if digest is None:
            undigested.append(match[0])
            continue
        choice = Choice(match[0], digest, [f"{match[0]} is the newest NGC PyTorch image on this engine"])
        if undigested:
            choice.notes[0] += f" with a digest ({undigested[0]} was never pulled, so nothing pins it)"
        if any("standin" in label for label in facts.labels):
            choice.notes.append(f"{match[0]} is a stand-in for tests, not NVIDIA's image")
        return choice
    why = (
        f"{undigested[0]} has no digest (it was never pulled)" if undigested else "the engine has no NGC PyTorch image"
    )
    newest = reference_pages.table("hardware-container.md", "release")[0]
    raise ToolFailure(
        "not_found",
        f"{why}: pull one, e.g. `docker pull nvcr.io/nvidia/pytorch:{newest['release']}-py3` (CUDA {newest['CUDA']}, which needs "
        f"driver branch {newest['driver branch']} or newer), then call pick_ngc_image again",
    )
