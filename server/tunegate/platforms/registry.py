"""The platforms, by their name in config.yaml."""

from __future__ import annotations

from typing import get_args

from tunegate.config import PlatformName, RunConfig
from tunegate.platforms.base import Platform
from tunegate.platforms.local_docker.platform import LocalDocker
from tunegate.platforms.local_process.platform import LocalProcess

PLATFORMS: dict[str, Platform] = {found.name: found for found in (LocalProcess(), LocalDocker())}
if unlike := set(PLATFORMS) ^ set(get_args(PlatformName)):
    raise ImportError(f"config.PlatformName and platforms.registry.PLATFORMS differ in {', '.join(sorted(unlike))}")


def of(config: RunConfig) -> Platform:
    return PLATFORMS[config.platform]
