from __future__ import annotations

import hashlib
import subprocess

import pytest

from tunegate.embedded import hub_info
from tunegate.embedded.hub_store import HubRefusal, Repo, Store, check_path, check_repo_id, is_lfs

FILES = {
    "README.md": b"# hi\n",
    "a/b.txt": b"b",
    "a/c/d.txt": b"d",
    "a.txt": b"",
    "w/model.safetensors": b"\x08" + bytes(99),
}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "hub")


@pytest.fixture
def repo(store):
    store.create(Repo("model", "me/tiny", "me"))
    return store.get("model", "me/tiny")


def put(store, repo, files, branch="main", **how):
    changes = [(path, content if content is None else store.add(path, content)) for path, content in files.items()]
    return store.commit(repo, branch, changes, author="me", title="change", **how)


def refused(call, *args, **kwargs) -> HubRefusal:
    with pytest.raises(HubRefusal) as caught:
        call(*args, **kwargs)
    return caught.value


@pytest.mark.parametrize(
    "repo_id",
    [
        "",
        "tiny",
        "a/b/c",
        "../x",
        "me/..",
        "me/.hidden",
        "me/a--b",
        "me/x.git",
        "/me/x",
        "me/x y",
        "me/x\n",
        "me/x/",
        "api/x",
        "datasets/x",
        "me/" + "x" * 97,
    ],
)
def test_names_that_could_leave_the_directory_or_hide_a_route_are_refused(store, repo_id):
    assert refused(check_repo_id, "model", repo_id).status == 400
    assert refused(store.create, Repo("model", repo_id, "me")).status == 400
    assert store.get("model", repo_id) is None


def test_only_models_and_datasets_are_kept(store):
    assert refused(store.create, Repo("../../space", "me/x", "me")).status == 400


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "a\\b", "a\0b", ".git/config", "x" * 1025, None, 7],
)
def test_file_names_that_could_leave_the_repository_are_refused(path):
    assert refused(check_path, path).status == 400


def test_contents_are_kept_once_under_their_own_hash(store):
    one, two = store.add("a.txt", b"same"), store.add("b.txt", b"same")
    digest = hashlib.sha256(b"same").hexdigest()
    assert one == two and one.sha256 == digest and store.blob(digest).read_bytes() == b"same"
    assert len(list((store.root / "blobs").iterdir())) == 1 and not list((store.root / "tmp").iterdir())


def test_an_upload_with_another_hash_is_refused_and_leaves_nothing(store):
    with store.spool() as file:
        file.write(b"not what was announced")
        assert refused(store.adopt, file, "0" * 64).status == 422
    assert not list((store.root / "blobs").iterdir()) and not list((store.root / "tmp").iterdir())
    assert refused(store.entry, "x.bin", "0" * 64).status == 400
    assert refused(store.blob, "../../etc/passwd").status == 400


def test_lfs_by_suffix_and_by_size():
    assert is_lfs("model.safetensors", 1) and is_lfs("notes.txt", 11 * 2**20)
    assert not is_lfs("notes.txt", 10 * 2**20) and not is_lfs("empty.bin", 0)


def test_commits_chain_and_old_ones_stay(store, repo):
    first = put(store, repo, FILES)
    second = put(store, repo, {"README.md": b"# new\n", "a/": None})
    assert first.parent is None and second.parent == first.sha
    assert [commit.sha for commit in store.history(repo, second.sha)] == [second.sha, first.sha]
    assert sorted(second.files) == ["README.md", "a.txt", "w/model.safetensors"]
    assert store.read_commit(repo, first.sha) == first and "a/b.txt" in first.files
    now = store.get("model", "me/tiny")
    assert store.resolve(now, "main") == second.sha and store.resolve(now, first.sha) == first.sha
    assert store.resolve(now, "0" * 40) is None and store.resolve(now, "v1") is None


def test_a_store_opened_again_holds_the_same(store, repo):
    made = put(store, repo, FILES)
    again = Store(store.root)
    assert again.all("model") == [again.get("model", "me/tiny")] and again.all("dataset") == []
    assert again.read_commit(again.get("model", "me/tiny"), made.sha) == made


@pytest.mark.parametrize(
    ("files", "how", "status"),
    [
        ({"a.txt": b"x"}, {"parent": "0" * 40}, 412),
        ({"a.txt": b"x"}, {"branch": "nope"}, 404),
        ({"missing.txt": None}, {}, 404),
        ({"missing/": None}, {}, 404),
        ({"a.txt/x": b"x"}, {}, 400),
        ({"../x": b"x"}, {}, 400),
    ],
)
def test_a_refused_commit_changes_nothing(store, repo, files, how, status):
    tip = put(store, repo, FILES).sha
    assert refused(put, store, repo, files, **how).status == status
    assert store.get("model", "me/tiny").branches == {"main": tip}
    assert put(store, repo, {"a.txt": b"x"}, parent=tip).parent == tip


def test_taken_names_and_deleted_repositories(store, repo):
    assert refused(store.create, Repo("model", "me/tiny", "me")).status == 409
    store.create(Repo("dataset", "me/tiny", "me"))
    store.delete(repo)
    assert store.get("model", "me/tiny") is None and store.get("dataset", "me/tiny")
    assert refused(put, store, repo, FILES).code == "RepoNotFound"


def test_ids_are_gits_own(store, repo, tmp_path):
    """The same files committed with git, LFS pointers in the place of LFS files, have the same ids."""
    made = put(store, repo, FILES, description="why\n\nand how")
    work = tmp_path / "work"

    def git(*words: str, **env: str) -> str:
        home = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin:/usr/local/bin", "GIT_CONFIG_NOSYSTEM": "1"}
        return subprocess.run(
            ["git", "-C", work, *words], env=home | env, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        subprocess.run(
            ["git", "init", "-q", work], check=True, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin:/usr/local/bin"}
        )
    except FileNotFoundError:
        pytest.skip("git is not installed: the ids are not compared with it")
    for path, content in FILES.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_bytes(made.files[path].pointer if made.files[path].lfs else content)
    git("add", ".")
    who = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (
            ("NAME", "me"),
            ("EMAIL", "me@embedded.invalid"),
            ("DATE", made.date.replace(".000Z", "+0000")),
        )
    }
    git("commit", "-q", "-m", "change\n\nwhy\n\nand how", **who)
    assert git("rev-parse", "HEAD") == made.sha
    assert git("rev-parse", "HEAD:a") == hub_info.folder_row(made, "a")["oid"]
    assert git("rev-parse", "HEAD:w/model.safetensors") == made.files["w/model.safetensors"].blob_id


def test_cards_and_headers_that_cannot_be_read_count_as_none(store, repo):
    for card in (b"", b"---\n[\n---\n", b"---\n- a\n---\n", b"---\na: !!python/object:os.system x\n---\n", b"\xff\xfe"):
        assert hub_info.card(store, put(store, repo, {"README.md": card})) == {}
    assert hub_info.card(store, put(store, repo, {"README.md": b"---\nwhen: 2026-01-01\nx: .nan\n---\n"})) == {
        "when": "2026-01-01",
        "x": None,
    }
    for weights in (b"", b"\xff" * 16, b"\x02" + bytes(7) + b"[]", b"\x0f" + bytes(7) + b'{"a": {"x": 1}}'):
        assert hub_info.parameters(store, put(store, repo, {"model.safetensors": weights})) is None
