"""Uploads with huggingface_hub, unmodified, hf_xet installed; and commits that no client sends."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from tests.embedded.conftest import OWNER, READER, TOKENS
from tests.tiny import CARD, WEIGHTS, model_files
from tunegate.embedded import hub_commit
from tunegate.embedded.hub import EmbeddedHub


def test_upload_folder_and_read_it_back(hub, api, tmp_path, download):
    files = model_files(empty__txt=b"") | {
        "sub/ä b.txt": "ü".encode(),
        "model.safetensors": WEIGHTS + os.urandom(12 * 2**20),
    }
    for name, content in files.items():
        (tmp_path / "up" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / name).write_bytes(content)
    api.create_repo("me/tiny", private=True)
    made = api.upload_folder(
        repo_id="me/tiny", folder_path=tmp_path / "up", commit_message="all", commit_description="of it"
    )
    assert [(c.title, c.message, c.authors) for c in api.list_repo_commits("me/tiny")] == [
        ("all", "of it", ["me"]),
        ("initial commit", "", ["me"]),
    ]
    assert api.upload_folder(repo_id="me/tiny", folder_path=tmp_path / "up").oid == made.oid, (
        "nothing changed, so nothing is sent"
    )
    assert sorted(api.list_repo_files("me/tiny")) == sorted([*files, ".gitattributes"])
    there = Path(snapshot_download("me/tiny", endpoint=hub.url, token=OWNER, cache_dir=tmp_path / "cache"))
    assert there.name == made.oid and {name: (there / name).read_bytes() for name in files} == files
    weights = api.get_paths_info("me/tiny", ["model.safetensors"])[0]
    assert weights.lfs.sha256 == hashlib.sha256(files["model.safetensors"]).hexdigest(), (
        "kept as LFS, however it was sent"
    )
    assert api.verify_repo_checksums("me/tiny", local_dir=tmp_path / "up").mismatches == []


def test_lfs_batch(tmp_path):
    """As clients without Xet do it. In a process of its own: the client reads HF_HUB_DISABLE_XET once, on import."""
    (tmp_path / "w.bin").write_bytes(os.urandom(3 * 2**20))
    code = """if True:
        import sys
        from huggingface_hub import HfApi, hf_hub_download
        url, token, path = sys.argv[1:]
        api, where = HfApi(endpoint=url, token=token), {"repo_id": "me/lfs", "repo_type": "dataset"}
        api.create_repo(**where, private=True)
        for name in ("w.bin", "again.bin"):
            api.upload_file(**where, path_or_fileobj=path, path_in_repo=name)
        there = hf_hub_download(**where, filename="again.bin", endpoint=url, token=token)
        assert open(there, "rb").read() == open(path, "rb").read()
    """
    with EmbeddedHub(tmp_path / "hub", TOKENS, uploads="lfs") as hub:
        env = {**os.environ, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
        subprocess.run(
            [sys.executable, "-c", code, hub.url, OWNER, tmp_path / "w.bin"], env=env, check=True, capture_output=True
        )
        assert len(hub.requests("/lfs/objects/", "PUT")) == 1, "the second file has the same content"
        assert len(hub.requests("/lfs/verify")) == 1 and len(hub.requests("objects/batch")) == 2


def test_lfs_uploads_are_checked(tmp_path):
    with EmbeddedHub(tmp_path / "hub", TOKENS, uploads="lfs") as hub:
        HfApi(endpoint=hub.url, token=OWNER).create_repo("me/lfs")
        wanted = {"objects": [{"oid": hashlib.sha256(b"right").hexdigest(), "size": 5}]}
        headers = {"authorization": f"Bearer {OWNER}"}
        batch = f"{hub.url}/me/lfs.git/info/lfs/objects/batch"
        assert httpx2.post(batch, json=wanted).status_code == 401
        assert httpx2.post(batch, json=wanted, headers={"authorization": f"Bearer {READER}"}).status_code == 403
        address = httpx2.post(batch, json=wanted, headers=headers).json()["objects"][0]["actions"]["upload"]["href"]
        assert httpx2.put(address, content=b"wrong").status_code == 422
        assert httpx2.put(f"{hub.url}/lfs/objects/guess", content=b"right").status_code == 403
        assert httpx2.put(address, content=b"right").status_code == 200
        assert httpx2.put(address, content=b"right").status_code == 403, "used up"
        assert (
            httpx2.post(f"{hub.url}/lfs/verify", json={**wanted["objects"][0], "size": 6}, headers=headers).status_code
            == 422
        )


def test_one_commit_adds_and_deletes(api):
    api.create_repo("me/tiny")
    api.create_commit(
        "me/tiny", [CommitOperationAdd(f"d/{n}.txt", str(n).encode()) for n in range(3)], commit_message="add"
    )
    api.create_commit(
        "me/tiny", [CommitOperationDelete("d/0.txt"), CommitOperationAdd("e.txt", b"e")], commit_message="change"
    )
    assert sorted(api.list_repo_files("me/tiny")) == [".gitattributes", "d/1.txt", "d/2.txt", "e.txt"]
    api.delete_folder("d", "me/tiny")
    assert sorted(api.list_repo_files("me/tiny")) == [".gitattributes", "e.txt"]
    with pytest.raises(EntryNotFoundError):
        api.delete_file("nothing.txt", "me/tiny")


def test_a_stale_parent_is_refused(api):
    api.create_repo("me/tiny")
    tip = api.model_info("me/tiny").sha
    api.create_commit("me/tiny", [CommitOperationAdd("a", b"1")], commit_message="1", parent_commit=tip)
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_commit("me/tiny", [CommitOperationAdd("a", b"2")], commit_message="2", parent_commit=tip)
    assert caught.value.response.status_code == 412


@pytest.mark.parametrize(
    "line",
    [
        {"key": "file", "value": {"path": "../../escape", "content": "", "encoding": "base64"}},
        {"key": "file", "value": {"path": "a", "content": "%", "encoding": "base64"}},
        {"key": "lfsFile", "value": {"path": "a", "oid": "../../x"}},
        {"key": "lfsFile", "value": {"path": "a", "oid": "0" * 64}},
        {"key": "what", "value": {"path": "a"}},
        {"key": "file"},
        [],
        "x",
    ],
)
def test_a_bad_commit_is_refused_whole(hub, line):
    tip = hub.add_repo("model", "me/tiny", {"a.txt": b"1"})
    rows = [
        {"key": "header", "value": {"summary": "x"}},
        {"key": "file", "value": {"path": "fine.txt", "content": "x"}},
        line,
    ]
    body = "\n".join(json.dumps(row) for row in rows)
    answer = httpx2.post(
        f"{hub.url}/api/models/me/tiny/commit/main", content=body, headers={"authorization": f"Bearer {OWNER}"}
    )
    assert answer.status_code == 400 and answer.headers["x-error-message"]
    assert hub.store.get("model", "me/tiny").branches == {"main": tip} and not list((hub.store.root / "tmp").iterdir())


def test_bodies_have_limits(hub, monkeypatch):
    hub.add_repo("model", "me/tiny", {"a.txt": b"1"})
    monkeypatch.setattr(hub_commit, "MAX_COMMIT", 1000)
    headers = {"authorization": f"Bearer {OWNER}"}
    assert (
        httpx2.post(f"{hub.url}/api/models/me/tiny/commit/main", content=bytes(1001), headers=headers).status_code
        == 413
    )
    assert httpx2.post(f"{hub.url}/api/repos/create", content=bytes(9 * 2**20), headers=headers).status_code == 413
    for junk in (b"[]", b"{", b"\xff", b"[" * 100_000):
        assert httpx2.post(f"{hub.url}/api/repos/create", content=junk, headers=headers).status_code == 400


def test_cards_are_checked_by_the_hub(api):
    api.create_repo("me/tiny")
    assert api.upload_file(repo_id="me/tiny", path_or_fileobj=CARD, path_in_repo="README.md").oid
    with pytest.raises(ValueError, match="not YAML"):
        api.upload_file(repo_id="me/tiny", path_or_fileobj=b"---\na: [\n---\n", path_in_repo="README.md")
    assert ModelCard(CARD.decode()).data.license == "apache-2.0"
