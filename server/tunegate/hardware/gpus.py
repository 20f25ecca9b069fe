"""The GPUs of this machine, as NVIDIA's driver tells them: through NVML, else through nvidia-smi.

`python -m tunegate.hardware.gpus` prints them as JSON. NVML is asked in such a process of its own: a library once loaded stays loaded
when the driver is updated (and then refuses with a version mismatch), and a GPU that fell off the bus can hang the call.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ASK_S = 20.0  # eight GPUs without the persistence daemon take 10 s to wake
MEMINFO = Path("/proc/meminfo")
PCI = Path("/sys/bus/pci/devices")
NVIDIA_VENDOR = "0x10de"
NO_MEMORY = "[N/A]"  # what nvidia-smi says of a GPU without memory of its own; [Unknown Error] and others are troubles
QUERY = "name,driver_version,memory.total,memory.free,compute_cap"
SMI_ARGV = ("nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits")


@dataclass
class Gpu:
    """memory_gb, free_gb: 1e9 bytes. With MIG on, those of the first slice, which is all that one process can use."""

    name: str
    memory_gb: float
    free_gb: float
    compute_capability: str | None = None  # "9.0"
    processes: int = 0  # of anyone, as far as NVML may see them
    mig_slices: int | None = None  # None: MIG is off


@dataclass
class Gpus:
    """What was found. `problem`: why the driver said nothing; None with no GPUs means that there is no driver at all."""

    gpus: list[Gpu] = field(default_factory=list)
    driver: str | None = None  # "580.95.05"
    source: str = "none"  # nvml, nvidia-smi, container or none
    problem: str | None = None
    card: bool = False  # an NVIDIA card sits on the bus, with or without a driver

    @property
    def driver_major(self) -> int | None:
        found = re.match(r"\d+", self.driver or "")
        return int(found[0]) if found else None


def find() -> Gpus:
    """The GPUs that a process on this machine could use now. Raises nothing: `problem` says what went wrong."""
    found = _from_child()
    if not found.gpus:
        second = _from_smi()
        found = second if second.gpus or not found.problem else found
    return dataclasses.replace(found, card=bool(found.gpus) or _card())


def _from_child() -> Gpus:
    # -P: a `tunegate` or `pynvml` in the working directory must not be what runs
    answer = _output([sys.executable, "-P", "-m", "tunegate.hardware.gpus"])
    if answer is None:
        return Gpus(problem=f"NVML gave no answer within {ASK_S:.0f} s: the driver hangs")
    try:
        found = json.loads(answer[1])
        return Gpus(**{**found, "gpus": [Gpu(**gpu) for gpu in found["gpus"]]})
    except (ValueError, TypeError, KeyError):
        return Gpus(problem=f"NVML could not be asked (exit code {answer[0]})")


def _from_smi() -> Gpus:
    answer = _output(list(SMI_ARGV))
    if answer is None:
        return Gpus()
    code, said = answer
    found = from_csv(said) if code == 0 else Gpus()
    if not found.gpus and not found.problem:
        found.problem = f"nvidia-smi: {(said.strip().splitlines() or [f'exit code {code}'])[0][:200]}"
    return dataclasses.replace(found, source="nvidia-smi" if found.gpus else "none")


def _output(argv: list[str]) -> tuple[int, str] | None:
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=ASK_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.returncode, done.stdout


def from_csv(text: str) -> Gpus:
    """What `nvidia-smi` prints for SMI_ARGV -> Gpus; lines that are something else are passed over.

    A word in the place of the memory, but NO_MEMORY, is a `problem`: as with NVML, no GPU is used beside one in trouble.
    """
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    rows = [row for row in rows if len(row) == QUERY.count(",") + 1 and re.fullmatch(r"\d+\.[\d.]+|\[.*\]", row[1])]
    for index, (name, *cells, _) in enumerate(rows):
        if word := next((cell for cell in cells if cell.startswith("[") and cell != NO_MEMORY), None):
            return Gpus(
                problem=f"nvidia-smi: GPU {index} ({name}) answers {word}: reset that GPU, or restart the machine"
            )
    gpus = [
        Gpu(
            name,
            _mib(total, "MemTotal"),
            _mib(free, "MemAvailable"),
            capability if re.fullmatch(r"\d+\.\d", capability) else None,
        )
        for name, _, total, free, capability in rows
    ]
    return Gpus(gpus, next((row[1] for row in rows if row[1] != NO_MEMORY), None))


def _mib(cell: str, shared: str) -> float:
    """MiB -> GB. A GPU that shares the machine's memory says NO_MEMORY: then the line of /proc/meminfo."""
    return _gb(int(float(cell) * 2**20)) if re.fullmatch(r"[\d.]+", cell) else _shared_memory_gb(shared)


def _gb(size: int) -> float:
    return round(size / 1e9, 1)


def _shared_memory_gb(line: str) -> float:
    """line: MemTotal or MemAvailable, which is what a program may still take."""
    found = re.search(rf"^{line}:\s+(\d+) kB", MEMINFO.read_text(), re.M)
    return _gb(int(found[1]) * 1024) if found else 0.0


def _card() -> bool:
    """An NVIDIA display or 3D controller on the PCI bus (class 0x03…; its audio function has another)."""
    for device in PCI.glob("*"):
        try:
            if (device / "vendor").read_text().strip() == NVIDIA_VENDOR and (device / "class").read_text().startswith(
                "0x03"
            ):
                return True
        except OSError:
            continue
    return False


# -- in the process of its own


def _from_nvml() -> Gpus:
    import pynvml as nvml

    try:
        nvml.nvmlInit()
    except nvml.NVMLError_LibraryNotFound:
        return Gpus()
    except nvml.NVMLError as error:
        return Gpus(problem=f"NVML: {error}")
    found = Gpus(source="nvml")
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            found.gpus.append(_gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(index)))
        except nvml.NVMLError as error:  # lost, or needs a reset: no container gets it, or the others beside it
            return Gpus(problem=f"NVML: GPU {index}: {error}")
    if not found.gpus:
        return Gpus(problem="NVML: the driver is loaded and has no GPU")
    found.driver = nvml.nvmlSystemGetDriverVersion()
    return found


def _gpu(nvml: Any, handle: Any) -> Gpu:
    def ask(default: Any, function: Callable, *arguments: Any) -> Any:
        """What not every GPU, driver or user can read: else the default."""
        try:
            return function(*arguments)
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_NoPermission, nvml.NVMLError_FunctionNotFound):
            return default

    slices = None
    if ask((0, 0), nvml.nvmlDeviceGetMigMode, handle)[0]:
        slices = _mig_slices(nvml, handle)
    memory = ask(None, nvml.nvmlDeviceGetMemoryInfo, slices[0] if slices else handle)
    capability = ask(None, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    processes = {p.pid for p in ask([], nvml.nvmlDeviceGetComputeRunningProcesses, handle)}
    return Gpu(
        name=nvml.nvmlDeviceGetName(handle),
        memory_gb=_gb(memory.total) if memory else _shared_memory_gb("MemTotal"),
        free_gb=_gb(memory.free) if memory else _shared_memory_gb("MemAvailable"),
        compute_capability="{}.{}".format(*capability) if capability else None,
        processes=len(processes),
        mig_slices=None if slices is None else len(slices),
    )


def _mig_slices(nvml: Any, handle: Any) -> list[Any]:
    found = []
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))
        except nvml.NVMLError_NotFound:
            continue
    return found


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(_from_nvml())))
