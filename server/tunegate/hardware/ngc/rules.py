"""Whether an NGC PyTorch image runs here: driver against CUDA, GPUs against its architecture list, torch against transformers.

Pure functions over what somebody said of a release (`Facts`) and what audit_gpu recorded (`Machine`). A value that nobody
said is no reason to refuse: whoever pins an image asks `gaps` first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packaging.version import InvalidVersion, Version

# CUDA major of an image -> its oldest driver branch, by minor-version compatibility
# (https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html).
MIN_DRIVER = {12: 525, 13: 580}
TORCH_FLOOR = Version(
    "2.6.0"
)  # transformers 5: utils/import_utils.py switches torch off below it, by this very comparison
JETSON = ("5.3", "6.2", "7.2", "8.7")  # binaries for desktop GPUs do not run there; Thor (11.0) takes the arm64 images
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
CUDA = re.compile(r"\d{1,2}(\.\d{1,4}){1,3}")
ARCH_LIST_PATTERN = re.compile(r"[0-9.afPTX+;, ]{1,200}")
CPU_ONLY = "its torch is built for the CPU only"
_ARCH = re.compile(r"(\d{1,2})\.(\d)([af]?)(\+PTX)?")
# GPUs whose driver may be bridged by CUDA's forward-compatibility package; never GeForce
# (https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html).
_DATA_CENTER = re.compile(
    r"\b(Tesla|A(2|10|10G|16|30|40|100|800)|H(20|100|200|800)|L(4|20|40S?)|B[123]00|G[HB][23]00|[PV]100|P40?|T4)\b"
)


@dataclass(frozen=True)
class Facts:
    """What one source says of a release. driver: the branch that belongs to its CUDA, newer than the oldest that runs it."""

    release: str
    torch: str | None = None
    cuda: str | None = None
    driver: int | None = None
    arch_list: str | None = None


@dataclass(frozen=True)
class Machine:
    """The host as audit_gpu saw it. arch: amd64 or arm64. capabilities: of the GPUs that the run uses, `9.0`."""

    arch: str
    gpu_count: int = 0
    driver: int | None = None
    capabilities: tuple[str, ...] = ()
    data_center: bool = False

    @classmethod
    def of(cls, host: Mapping[str, Any], arch: str) -> Machine:
        """`host` evidence, and the engine's architecture."""
        gpus = [gpu for gpu in host.get("gpus") or [] if isinstance(gpu, Mapping)] if host.get("gpu_count") else []
        found = {str(gpu["compute_capability"]) for gpu in gpus if gpu.get("compute_capability")}
        if gpus and not found and host.get("compute_capability"):
            found = {str(host["compute_capability"])}
        return cls(
            ARCHITECTURES.get(arch, arch),
            host.get("gpu_count") or 0,
            host.get("driver_major"),
            tuple(sorted(found)),
            bool(gpus) and all(_DATA_CENTER.search(str(gpu.get("name"))) for gpu in gpus),
        )


def from_env(release: str, env: Mapping[str, str]) -> Facts:
    """An image's own environment. What does not look like a version is left out: it came from outside."""

    def value(name: str, form: re.Pattern[str]) -> str | None:
        return env[name] if form.fullmatch(env.get(name, "")) else None

    torch = env.get("PYTORCH_VERSION", "")[:80]
    driver = re.match(r"(\d{3})\.", env.get("CUDA_DRIVER_VERSION", ""))
    return Facts(
        release,
        torch if version(torch) else None,
        value("CUDA_VERSION", CUDA),
        int(driver[1]) if driver else None,
        value("TORCH_CUDA_ARCH_LIST", ARCH_LIST_PATTERN),
    )


def version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def gaps(facts: Facts) -> str | None:
    """What an image must say of itself before it can be pinned."""
    missing = [name for name in ("torch", "cuda", "arch_list") if getattr(facts, name) is None]
    return f"its configuration does not say {', '.join(missing)}" if missing else None


def problem(facts: Facts, machine: Machine) -> str | None:
    """Why this release does not run here, in a few words; None when nothing known speaks against it."""
    return _torch(facts, machine) or (_driver(facts, machine) or _gpus(facts, machine) if machine.gpu_count else None)


def _torch(facts: Facts, machine: Machine) -> str | None:
    found = version(facts.torch) if facts.torch else None
    if found and found < TORCH_FLOOR:
        # NVIDIA's suffix alone says nothing (2.14.0a0 is fine). An alpha *of the floor itself* is what transformers refuses.
        why = f", which sorts below {TORCH_FLOOR}" if found.release >= TORCH_FLOOR.release else ""
        return f"torch {found.public}{why}: transformers wants {TORCH_FLOOR} or newer"
    if found and machine.gpu_count and found.local == "cpu":
        return CPU_ONLY
    return None


def oldest_driver(facts: Facts) -> int | None:
    """The oldest driver branch that runs it; of a CUDA that this version does not know, the one that NVIDIA names."""
    return MIN_DRIVER.get(int(facts.cuda.split(".")[0]), facts.driver) if facts.cuda else facts.driver


def needs_forward_compatibility(facts: Facts, machine: Machine) -> bool:
    """The driver is too old, and CUDA's compatibility package may bridge that on this GPU: nobody knows before it is tried."""
    oldest = oldest_driver(facts)
    return bool(machine.gpu_count and machine.driver and oldest and machine.driver < oldest and machine.data_center)


def _driver(facts: Facts, machine: Machine) -> str | None:
    if not facts.cuda and not facts.driver:
        return None
    major, oldest = (facts.cuda or "").split(".")[0], oldest_driver(facts)
    if oldest is None:
        return f"CUDA {major}: the driver that it needs is not known"
    if machine.driver and machine.driver < oldest:
        return f"{f'CUDA {major}' if major else 'it'} needs driver {oldest} or newer, here is {machine.driver}"
    return None


def _gpus(facts: Facts, machine: Machine) -> str | None:
    jetson = next((found for found in machine.capabilities if found in JETSON), None)
    if jetson:
        return f"compute capability {jetson} is a Jetson's: it takes the -igpu images, which this version does not use"
    for capability in machine.capabilities if facts.arch_list else ():
        how = covers(facts.arch_list, capability)
        if how is None:
            return f"its GPU binaries ({facts.arch_list}) do not run on compute capability {capability}"
        if how == "ptx" and machine.driver and facts.driver and machine.driver < facts.driver:
            # Minor-version compatibility does not extend to PTX: an older driver cannot compile a newer toolkit's.
            return f"for compute capability {capability} it has only PTX, which needs driver {facts.driver} or newer"
    return None


def covers(arch_list: str, capability: str) -> str | None:
    """TORCH_CUDA_ARCH_LIST against `8.6` -> "binary", "ptx" (compiled by the driver at first use) or None.

    A binary runs on its own major version from its own minor on; `a` code on exactly its own; PTX on anything newer.
    """
    ours = tuple(int(part) for part in capability.split(".")[:2])
    found = None
    for major, minor, kind, ptx in _ARCH.findall(arch_list):
        theirs = (int(major), int(minor))
        if theirs == ours or (kind != "a" and theirs[0] == ours[0] and theirs <= ours):
            return "binary"
        if ptx and not kind and theirs <= ours:
            found = "ptx"
    return found
