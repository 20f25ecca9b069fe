"""Against the embedded Hub, with the real client: what is sent, what is read back, and a Hub that refuses or fails."""

from __future__ import annotations

import pytest
import yaml
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard

from tests import sealed
from tests.tiny import OTHER, TOKEN, server  # noqa: F401
from tunegate.clients.hub import Hub
from tunegate.embedded.hub import Fault
from tunegate.errors import ToolFailure
from tunegate.publish import push as publish
from tunegate.rundir import Run, hash_files

REPO = "me/m-finetuned"


@pytest.fixture
def run(tmp_path) -> Run:
    return sealed.build(Run(tmp_path / "run"), until="stages/eval", files=sealed.PUSHABLE)


@pytest.fixture
def hub(server) -> Hub:  # noqa: F811
    return Hub(server.url, token=TOKEN, read_s=5)


@pytest.fixture
def api(hub) -> HfApi:
    return hub.api()


def push(hub: Hub, files) -> dict:
    return publish.push(hub, REPO, files, "Fine-tuned org/m", publish.target(hub, REPO))


def test_what_is_assembled(run):
    files = publish.assemble(run)
    assert set(files) == {
        "README.md",
        "config.yaml",
        "model.safetensors",
        "config.json",
        "results/eval_results.json",
        "results/baseline_results.json",
        "inference_samples/0_pred.jpg",
        "Dockerfile",
        "requirements.txt",
    }
    assert b"draft" not in files["README.md"] and "| tuned | 0.9000 |" in files["README.md"].decode()
    assert yaml.safe_load(files["config.yaml"])["model_id"] == "org/m"
    used = publish.used_files(run)
    assert "checkpoints/final/model.safetensors" in used and not any("training_args" in name for name in used)


def test_what_no_stage_made_is_not_sent_wherever_it_lies(run):
    """Dropped beside the weights, a file would go out under the user's name."""
    for name in ("checkpoints/final/secret.txt", "reports/inference_samples/9_pred.jpg", "requirements-mine.txt"):
        sealed.put(run, {name: b"x"})
    assert not {"secret.txt", "inference_samples/9_pred.jpg", "requirements-mine.txt"} & set(publish.assemble(run))


def test_scripts_edited_by_hand_are_named_on_the_card(run):
    sealed.put(run, {"train.py": sealed.script("print(1)")})
    assert "Edited by hand after rendering: train.py" in publish.assemble(run)["README.md"].decode()


def test_a_skipped_baseline_is_not_sent_although_its_file_lies_there(run):
    run.save_config(sealed.CONFIG.model_copy(update={"skip_baseline": True}))
    files = publish.assemble(run)
    assert "results/baseline_results.json" not in files and b"not measured" in files["README.md"]


def test_of_an_adapted_model_the_merged_weights_are_sent_and_not_the_adapter(run):
    """Although the evidence of merge, eval and infer names the adapter's files too: they have read them."""
    adapter, merged = "checkpoints/final/adapter_model.safetensors", "checkpoints/merged/model.safetensors"
    config = sealed.CONFIG.model_copy(update={"training_method": "lora"})
    run.save_config(config)
    sealed.put(run, {adapter: b"a", merged: b"m"})
    read = hash_files(run.path, ("checkpoints/*/*",))
    for stage in ("stages/merge", "stages/eval"):
        sealed.write(run, stage, sealed.FACTS.get(stage, {"passed": True}), config, files=read)
    assert [name for name in publish.used_files(run) if name.startswith("checkpoints/")] == [merged]


def test_no_secret_is_sent(run, monkeypatch):
    token = "hf_" + "s" * 30
    run.save_config(sealed.CONFIG.model_copy(update={"notes": [f"used {token}"]}))
    assert token not in publish.assemble(run)["config.yaml"].decode()


def test_one_private_commit_reads_back(run, hub, api):
    files = publish.assemble(run)
    done = push(hub, files)
    assert api.model_info(REPO).private and api.model_info(REPO).sha == done["commit"]
    assert [commit.title for commit in api.list_repo_commits(REPO)][0] == "Fine-tuned org/m"
    assert len(api.list_repo_commits(REPO)) == 2  # the repository's creation, and this
    assert publish.read_back(hub, REPO, done["commit"], files) == [] and done["url"] == f"{hub.endpoint}/{REPO}"
    assert (
        ModelCard.load(api.hf_hub_download(REPO, "README.md", local_dir=run.path / "back")).data.base_model == "org/m"
    )


def test_pushing_the_same_again_is_no_error(run, hub):
    files = publish.assemble(run)
    first, second = push(hub, files), push(hub, files)
    assert publish.read_back(hub, REPO, second["commit"], files) == [] and first["url"] == second["url"]


def test_reading_back_finds_a_changed_and_a_missing_file(run, hub, api):
    files = publish.assemble(run)
    push(hub, files)
    changed = [
        CommitOperationAdd("model.safetensors", b"W" * 3000),
        CommitOperationAdd("config.json", b"[]"),
        CommitOperationDelete("Dockerfile"),
    ]
    commit = api.create_commit(REPO, changed, commit_message="somebody else").oid
    assert sorted(publish.read_back(hub, REPO, commit, files)) == [
        "Dockerfile is missing",
        "config.json has other bytes",
        "model.safetensors has other bytes",
    ]


def test_large_files_are_compared_by_the_hash_that_lfs_keeps(run, tmp_path, monkeypatch):
    from tunegate.embedded.hub import EmbeddedHub

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with EmbeddedHub(tmp_path / "lfs", tokens={TOKEN: "me"}, uploads="lfs") as server:  # noqa: F811
        hub, files = Hub(server.url, token=TOKEN), publish.assemble(run)
        done = push(hub, files)
        tree = {entry.path: entry for entry in hub.api().list_repo_tree(REPO, recursive=True)}
        assert tree["model.safetensors"].lfs and publish.read_back(hub, REPO, done["commit"], files) == []
        (run.path / "checkpoints/final/model.safetensors").write_bytes(b"v" * 3000)
        assert publish.read_back(hub, REPO, done["commit"], files) == ["model.safetensors has other bytes"]


def test_what_the_target_holds(hub, api):
    assert publish.target(hub, REPO) is None
    api.create_repo(REPO, private=True)
    found = publish.target(hub, REPO)
    assert not found.public and found.files == () and found.head == api.model_info(REPO).sha
    api.update_repo_settings(REPO, private=False)
    api.create_commit(REPO, [CommitOperationAdd("a.bin", b"a")], commit_message="by hand")
    assert publish.target(hub, REPO).public and publish.target(hub, REPO).files == ("a.bin",)


def test_a_repository_that_changes_between_the_question_and_the_push_is_not_overwritten(run, hub, api):
    files = publish.assemble(run)
    api.create_repo(REPO, private=True)
    with pytest.raises(ToolFailure) as error:
        publish.push(hub, REPO, files, "x", None)  # there was none when it was looked for
    assert error.value.code == "unavailable" and "call push_hub again" in str(error.value)
    seen = publish.target(hub, REPO)
    api.create_commit(REPO, [CommitOperationAdd("config.json", b"precious")], commit_message="by hand")
    with pytest.raises(ToolFailure) as error:
        publish.push(hub, REPO, files, "x", seen)
    assert error.value.code == "unavailable" and len(api.list_repo_commits(REPO)) == 2


CODES = [(401, "access_denied"), (403, "access_denied"), (429, "unavailable"), (500, "unavailable"), (400, "rejected")]


@pytest.mark.parametrize(("status", "code"), CODES)
@pytest.mark.parametrize("path", ["/api/repos/create", "/commit/"])
def test_a_hub_that_refuses_or_fails(run, hub, server, path, status, code):  # noqa: F811
    server.faults.append(Fault(path, status=status, headers={"X-Error-Message": f"bad token {TOKEN}"}))
    with pytest.raises(ToolFailure) as error:
        push(hub, publish.assemble(run))
    assert error.value.code == code and REPO in str(error.value) and TOKEN not in str(error.value)
    assert error.value.__cause__ is None and error.value.__suppress_context__  # nor in a traceback
    server.faults.clear()
    assert push(hub, publish.assemble(run))["commit"]  # nothing was half-pushed


@pytest.mark.parametrize(("status", "code"), CODES[:4])
def test_a_hub_that_fails_while_reading_back(run, hub, server, status, code, monkeypatch):  # noqa: F811
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # the client tries five times
    files = publish.assemble(run)
    done = push(hub, files)
    server.faults.append(Fault("/tree/", status=status))
    with pytest.raises(ToolFailure) as error:
        publish.read_back(hub, REPO, done["commit"], files)
    assert error.value.code == code


@pytest.mark.parametrize(("token", "code"), [(OTHER, "access_denied"), ("hf_" + "unknown" * 4, "access_denied")])
def test_a_token_that_may_not_write_here(run, server, token, code):  # noqa: F811
    with pytest.raises(ToolFailure) as error:
        push(Hub(server.url, token=token), publish.assemble(run))
    assert error.value.code == code and "HF_TOKEN" in str(error.value) and token not in str(error.value)


def test_a_hub_that_is_not_there(run):
    with pytest.raises(ToolFailure) as error:
        push(Hub("http://127.0.0.1:9", token=TOKEN), publish.assemble(run))
    assert error.value.code == "unavailable"


def test_what_is_pushed_are_the_bytes_that_the_evidence_names(run):
    private, used = publish.copied(run)
    weights = "checkpoints/final/model.safetensors"
    honest = publish.assemble(private)["model.safetensors"].read_bytes()
    sealed.put(run, {weights: b"bought"})  # while it is uploaded
    assert publish.assemble(private)["model.safetensors"].read_bytes() == honest and weights in used
    with pytest.raises(ToolFailure, match=f"{weights} in .* was changed"):  # and before it is
        publish.copied(run)
