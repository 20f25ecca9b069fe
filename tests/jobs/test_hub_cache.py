"""The cache of downloads as the Hub's client lays it out: blobs, and links to them from the folder of a commit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tunegate.jobs import hub_cache

SHA, CONFIG, WEIGHTS = "a" * 40, b'{"model_type": "vit"}', b"weights" * 100
HASHES = {
    "config.json": hashlib.sha1(b"blob %d\0" % len(CONFIG) + CONFIG).hexdigest(),
    "model.safetensors": hashlib.sha256(WEIGHTS).hexdigest(),
    "never/downloaded.bin": "0" * 64,
}


@pytest.fixture
def commit(tmp_path) -> Path:
    model = tmp_path / "hub/models--me--tiny"
    found = model / "snapshots" / SHA
    for folder in (model / "blobs", found, tmp_path / "hub/models--me--other"):
        folder.mkdir(parents=True)
    for name, data in (("config.json", CONFIG), ("model.safetensors", WEIGHTS)):
        (model / "blobs" / HASHES[name]).write_bytes(data)
        (found / name).symlink_to(f"../../blobs/{HASHES[name]}")
    return found


def dropped(cache: Path) -> list[str]:
    return hub_cache.drop_changed(cache, "me/tiny", SHA, HASHES)


def test_what_was_published_stays(commit, tmp_path):
    assert dropped(tmp_path) == [] and (commit / "config.json").exists()
    assert hub_cache.drop_changed(tmp_path, "me/absent", SHA, HASHES) == []


@pytest.mark.parametrize("how", ["blob", "other blob", "other file", "added", "outside"])
def test_what_was_not_is_removed_with_the_model(commit, tmp_path, how):
    path = commit / "model.safetensors"
    if how == "blob":
        path.resolve().write_bytes(WEIGHTS.replace(b"w", b"W"))
    elif how == "added":
        (commit / "adapter_config.json").write_text("{}")
    else:
        path.unlink()
        if how == "other file":
            path.write_bytes(b"sandbagged")
        else:
            (tmp_path / "mine").write_bytes(WEIGHTS)
            path.symlink_to(commit / "config.json" if how == "other blob" else tmp_path / "mine")
    assert dropped(tmp_path) == ["adapter_config.json" if how == "added" else "model.safetensors"]
    assert not commit.exists() and (tmp_path / "hub/models--me--other").exists()
    if how == "outside":
        assert (tmp_path / "mine").read_bytes() == WEIGHTS
