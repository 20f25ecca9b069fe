"""An embedded Hub with three tokens, and the real client's ways to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download

from tunegate.embedded.hub import EmbeddedHub

OWNER, READER, OTHER = "hf_owner", "hf_reader", "hf_other"
TOKENS = {OWNER: ("me", "write"), READER: ("me", "read"), OTHER: "other"}


@pytest.fixture
def hub(tmp_path):
    with EmbeddedHub(tmp_path / "hub", TOKENS) as running:
        yield running


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.url, token=OWNER)


@pytest.fixture
def download(hub, tmp_path):
    def fetch(repo_id, name, token=OWNER, **how):
        return Path(
            hf_hub_download(repo_id, name, endpoint=hub.url, token=token, cache_dir=tmp_path / f"cache-{token}", **how)
        )

    return fetch
