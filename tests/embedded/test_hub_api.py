"""Creating, listing and reading repositories with huggingface_hub, unmodified."""

from __future__ import annotations

import hashlib

import httpx2
import pytest
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from tests.embedded.conftest import OTHER
from tests.tiny import WEIGHTS, dataset_files, model_files, parquet


def test_create_and_delete(hub, api):
    assert api.create_repo("me/a", private=True).repo_id == "me/a"
    assert api.create_repo("me/a", private=True, exist_ok=True).repo_id == "me/a"
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_repo("me/a")
    assert caught.value.response.status_code == 409
    assert api.model_info("me/a").private and not api.model_info(api.create_repo("b", private=False).repo_id).private
    api.create_repo("me/a", repo_type="dataset")
    api.delete_repo("me/a")
    assert not api.repo_exists("me/a") and api.repo_exists("me/a", repo_type="dataset")
    api.delete_repo("me/a", missing_ok=True)


def test_branches_tags_and_old_revisions(hub, api, download):
    first = hub.add_repo("model", "me/tiny", {"a.txt": b"1", "d/b.txt": b"b"})
    api.create_branch("me/tiny", branch="try/this")
    api.create_branch("me/tiny", branch="try/this", exist_ok=True)
    api.create_tag("me/tiny", tag="v1", revision=first)
    api.upload_file(repo_id="me/tiny", revision="try/this", path_or_fileobj=b"2", path_in_repo="a.txt")
    references = api.list_repo_refs("me/tiny")
    assert {ref.name for ref in references.branches} == {"main", "try/this"} and references.tags[
        0
    ].target_commit == first
    contents = {
        revision: download("me/tiny", "a.txt", revision=revision).read_bytes()
        for revision in ("main", "try/this", "v1", first)
    }
    assert contents == {"main": b"1", "try/this": b"2", "v1": b"1", first: b"1"}
    assert [entry.path for entry in api.list_repo_tree("me/tiny", "d", revision="try/this")] == ["d/b.txt"]
    api.delete_branch("me/tiny", branch="try/this")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("me/tiny", revision="try/this")


def test_model_info(hub, api):
    index = (
        b"---\nlicense: mit\npipeline_tag: image-classification\nlibrary_name: transformers\n"
        b"datasets: [me/data]\nbase_model: me/base\n---\n"
    )
    sha = hub.add_repo("model", "me/tiny", model_files(README__md=index), gated="manual")
    info = api.model_info("me/tiny", files_metadata=True)
    assert (info.sha, info.author, info.private, info.gated, info.pipeline_tag, info.library_name) == (
        sha,
        "me",
        False,
        "manual",
        "image-classification",
        "transformers",
    )
    assert info.safetensors.parameters == {"F32": 6, "BF16": 4} and info.safetensors.total == 10
    assert info.config == {"architectures": ["ViTForImageClassification"], "model_type": "vit"}
    assert {
        "license:mit",
        "dataset:me/data",
        "base_model:me/base",
        "transformers",
        "image-classification",
        "vit",
    } <= set(info.tags)
    assert info.card_data.license == "mit" and info.last_modified and info.created_at
    weights = {sibling.rfilename: sibling for sibling in info.siblings}["model.safetensors"]
    assert weights.size == len(WEIGHTS) and weights.lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert api.model_info("me/tiny").siblings[0].size is None
    few = api.model_info("me/tiny", expand=["gated", "sha"])
    assert (few.gated, few.sha, few.siblings) == ("manual", sha, None)
    assert api.get_safetensors_metadata("me/tiny").parameter_count == {"F32": 6, "BF16": 4}


def test_dataset_info_and_tree(hub, api):
    hub.add_repo("dataset", "me/data", dataset_files(parquet([0, 1], names=["a", "b"])))
    info = api.dataset_info("me/data")
    assert info.card_data.license == "mit" and [s.rfilename for s in info.siblings] == [
        "README.md",
        "data/train-00000-of-00001.parquet",
    ]
    tree = list(api.list_repo_tree("me/data", repo_type="dataset", recursive=True))
    assert [entry.path for entry in tree] == ["README.md", "data", "data/train-00000-of-00001.parquet"]
    assert [
        entry.path for entry in api.get_paths_info("me/data", ["data", "README.md", "no"], repo_type="dataset")
    ] == ["data", "README.md"]
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree("me/data", "nothing", repo_type="dataset"))


def test_lists_are_filtered_and_hide_what_is_private(hub, api):
    hub.add_repo("model", "me/tiny", model_files())
    hub.add_repo("model", "other/Plain", {"README.md": b""})
    hub.add_repo("model", "other/secret", model_files(), private=True)

    def ids(**how):
        return [model.id for model in api.list_models(**how)]

    assert ids() == ["me/tiny", "other/Plain"] and ids(token=OTHER) == ["me/tiny", "other/Plain", "other/secret"]
    assert ids(search="plain") == ["other/Plain"] and ids(author="me") == ["me/tiny"] and ids(limit=1) == ["me/tiny"]
    assert ids(pipeline_tag="image-classification") == ids(filter="license:apache-2.0") == ["me/tiny"]
    assert list(api.list_datasets()) == []


def test_missing_things(hub, api, download):
    hub.add_repo("model", "me/tiny", model_files())
    for call, error in (
        (lambda: api.model_info("me/nothing"), RepositoryNotFoundError),
        (lambda: api.model_info("nothing"), RepositoryNotFoundError),
        (lambda: download("nothing", "a.txt"), RepositoryNotFoundError),
        (lambda: api.dataset_info("me/tiny"), RepositoryNotFoundError),
        (lambda: api.model_info("me/tiny", revision="v9"), RevisionNotFoundError),
        (lambda: download("me/tiny", "a.txt", revision="v9"), RevisionNotFoundError),
        (lambda: download("me/tiny", "a.txt"), EntryNotFoundError),
    ):
        with pytest.raises(error):
            call()
    assert not api.file_exists("me/tiny", "a.txt") and api.file_exists("me/tiny", "config.json")


def test_resolve_headers_and_ranges(hub):
    sha = hub.add_repo("model", "me/tiny", {"model.safetensors": WEIGHTS, "a.txt": b"0123456789"})
    head = httpx2.head(f"{hub.url}/me/tiny/resolve/main/model.safetensors").headers
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert (head["etag"], head["x-linked-etag"], head["x-linked-size"]) == (
        f'"{digest}"',
        f'"{digest}"',
        str(len(WEIGHTS)),
    )
    assert (head["x-repo-commit"], head["content-length"], head["accept-ranges"]) == (sha, str(len(WEIGHTS)), "bytes")
    url = f"{hub.url}/me/tiny/resolve/main/a.txt"
    assert httpx2.head(url).headers["etag"] == f'"{hashlib.sha1(b"blob 10" + bytes(1) + b"0123456789").hexdigest()}"'
    for wanted, status, body, place in (
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-99", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
    ):
        answer = httpx2.get(url, headers={"range": wanted})
        assert (answer.status_code, answer.headers["content-range"]) == (status, place) and (
            status == 416 or answer.content == body
        )
