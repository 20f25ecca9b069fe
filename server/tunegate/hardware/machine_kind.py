"""Machines on which NVIDIA's GPUs work in another way: WSL, where Windows owns the driver, and Jetson, where GPU and CPU share memory."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

RELEASE = Path("/proc/sys/kernel/osrelease")  # 5.15.167.4-microsoft-standard-WSL2
TEGRA = Path("/etc/nv_tegra_release")  # JetPack
DEVICE_TREE_MODEL = Path("/proc/device-tree/model")  # NVIDIA Jetson AGX Orin Developer Kit, with a NUL at its end

WSL_NOTE = (
    "WSL: the GPU comes through Windows' driver; install no Linux driver in here. When GPU memory runs out, Windows takes main "
    "memory instead of failing and training slows down: smoke compares the peak with what was free"
)
WSL_NO_GPU = "WSL: no GPU is seen; if there is one, install NVIDIA's driver on Windows (none in here), run `wsl --shutdown`, then audit_gpu"
JETSON_WARNING = (
    "{model}: GPU and CPU share one memory, so that every other program takes from the GPU's; on Orin and older only NGC's "
    "-igpu images work, which pick_ngc_image does not pick: check that the image is made for this module"
)


def find() -> tuple[Literal["wsl", "jetson"] | None, str]:
    """(kind, the module's name on a Jetson). Raises nothing."""
    if "microsoft" in _text(RELEASE).lower():
        return "wsl", ""
    model = _text(DEVICE_TREE_MODEL).strip("\0\n ")
    if TEGRA.exists() or "Jetson" in model:
        return "jetson", model or "Jetson"
    return None, ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
