"""What to install for GPUs in containers, as commands for the user: text from references/install-plans.md, never run here."""

from __future__ import annotations

import platform
import re
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from tunegate.knowledge.reference_pages import Section, sections

PAGE = "install-plans.md"
OS_RELEASE = (Path("/etc/os-release"), Path("/usr/lib/os-release"))
InstallPart = Literal["driver", "engine", "toolkit", "configure"]
INSTALL_PARTS: tuple[InstallPart, ...] = (
    "driver",
    "engine",
    "toolkit",
    "configure",
)  # in the order in which they must be done


def steps(missing: Collection[InstallPart], *, rootless: bool = False) -> list[str]:
    """The commands for this machine's distribution, in order; for an unknown one the guides to read."""
    if not missing:
        return []
    page = {section.id: section for section in sections(PAGE)}
    common = page.pop("every-family").data
    release = _os_release()
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    family = next((page[id] for name in names for id in page if name in page[id].data["ids"]), None)
    filled = _values(family, release) if family else {}
    found: list[str] = []
    for part in (part for part in INSTALL_PARTS if part in missing):
        if part == "configure":
            found += common["configure_rootless" if rootless else "configure"]
        elif part == "driver" and "microsoft" in platform.release().lower():
            found.append(common["wsl"])
        else:
            found += _commands(part, family, filled) or [f"install the {_NAMES[part]}: {common['guides'][part]}"]
    return found


_NAMES = {
    "driver": "NVIDIA driver, branch 580 or newer, and reboot",
    "engine": "Docker engine",
    "toolkit": "NVIDIA container toolkit, 1.19.0 or newer",
}


def _commands(part: InstallPart, family: Section | None, filled: dict[str, str]) -> list[str] | None:
    """None when this distribution is no one's that the page knows how to name in a repository's address."""
    found = family.data[part] if family else []
    wanted = {name for line in found for name in re.findall(r"(?<!\$)\{(distro|arch|docker)\}", line)}
    if not found or wanted - set(filled):
        return None
    return [re.sub(r"(?<!\$)\{(distro|arch|docker)\}", lambda match: filled[match[1]], line) for line in found]


def _values(family: Section, release: dict[str, str]) -> dict[str, str]:
    """{distro}, {docker}, {arch} of this machine; a derivative has its parent's Docker packages, but not its version number."""
    known, version = family.data["repositories"], release.get("VERSION_ID", "")
    own = known.get(release.get("ID", ""))
    parent = next((known[name] for name in release.get("ID_LIKE", "").split() if name in known), None)
    values = {"arch": {"aarch64": "sbsa", "arm64": "sbsa"}.get(platform.machine(), platform.machine())}
    if docker := (own or parent or {}).get("docker"):
        values["docker"] = docker
    if own and (version or "{" not in own["distro"]):
        distro = own["distro"].format(major=version.split(".")[0], digits=version.replace(".", ""))
        values["distro"] = family.data.get("renamed", {}).get(distro, distro)
    return values


def _os_release() -> dict[str, str]:
    for path in OS_RELEASE:
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            continue
        pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
        return {key: value.strip().strip("\"'") for key, _, value in pairs}
    return {}
