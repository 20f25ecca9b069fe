"""Step 6 through the server, onto the embedded Hub; the verification runs a project in miniature."""

from __future__ import annotations

import contextlib

import pytest
from huggingface_hub import CommitOperationAdd

from tests import sealed
from tests.publish.test_rerun import SCRIPTS
from tests.sealed import CONFIG
from tests.tiny import OTHER, TOKEN
from tunegate import evidence, gates, jobs
from tunegate.clients.hub import Hub
from tunegate.embedded.hub import Fault
from tunegate.evidence import ledger
from tunegate.evidence.approvals import CONFIRMED
from tunegate.publish import push as publish
from tunegate.publish import rerun
from tunegate.rundir import Run

pytestmark = pytest.mark.usefixtures("own_code")


REPO = "me/m-finetuned"
OVER = f"push over {REPO}, which holds what this run did not put there"
STAY = "those of the same name are replaced, the others stay beside the new ones"
PUBLIC = f"push to {REPO}, which is public; {OVER} (no files yet)"


def finished(call, scripts: dict[str, str] | None = None, **changes) -> Run:
    """A run whose gates 1 to 5 are open, with the files that belong to it."""
    files = {**sealed.PUSHABLE, **{name: sealed.script(text) for name, text in SCRIPTS.items()}, **(scripts or {})}
    config = CONFIG.model_copy(update=changes)
    return sealed.build(Run(call.workspace.root / "run"), until="stages/eval", config=config, files=files)


@pytest.fixture
def run(call) -> Run:
    return finished(call)


def push(call, **arguments):
    return call("push_hub", output_dir="run", **arguments)


def test_a_push_is_private_verified_and_evidence(call, run):
    found = push(call)
    api = call.workspace.hub.api()
    info = api.model_info(REPO)
    assert found["pushed"] and found["verified"] and info.private and info.sha == found["commit"]
    assert found["files"] == 9 and found["url"] == f"{call.workspace.hub.endpoint}/{REPO}"
    assert found["next"]["tool"] == "emit_rerun_skill" and gates.view(run).problems("push") == []
    facts = evidence.read(run, "push").facts
    assert facts["repo"] == REPO and "model.safetensors" in facts["files"] and facts["problems"] == []


def test_weights_that_change_after_the_push_close_its_gate(call, run):
    push(call)
    sealed.put(run, {"checkpoints/final/model.safetensors": b"v" * 3000})
    assert gates.view(run).problems("push") == ["is stale: checkpoints/final/model.safetensors was changed"]


def test_without_a_push(call, server):
    run = finished(call, push_to_hub=False)
    found = push(call)
    assert not found["pushed"] and found["url"] is None and "push_to_hub is false" in found["notes"][0]
    assert found["next"]["tool"] == "emit_rerun_skill" and server.requests("/api/repos/create") == []
    assert evidence.read(run, "push") is None
    assert call("emit_rerun_skill", output_dir="run")["next"] is None  # the run is complete


def test_a_public_repository_is_the_users_to_decide(call, run):
    api = call.workspace.hub.api()
    api.create_repo(REPO, private=False)
    before = api.model_info(REPO).sha
    error = push(call)["error"]
    assert error["code"] == "approval_required" and PUBLIC in error["message"]
    refused = push(call, user=False, confirm=PUBLIC)
    assert refused["error"]["code"] == "approval_required" and PUBLIC in refused["asked"][0]
    assert api.model_info(REPO).sha == before
    found = push(call, confirm=PUBLIC)
    assert found["pushed"] and found["notes"] == [f"{CONFIRMED}: {PUBLIC}"]
    assert PUBLIC in (run.meta / "ledger.jsonl").read_text()


def test_a_private_repository_that_this_run_did_not_create_is_the_users_to_decide(call, run):
    api = call.workspace.hub.api()
    api.create_repo(REPO, private=True)
    add(api, "model.safetensors", b"precious"), add(api, "evil.py", b"x")
    asked = f"{OVER} (its 2 files: {STAY})"
    error = push(call)["error"]
    assert error["code"] == "approval_required" and asked in error["message"]
    refused = push(call, user=False)
    assert refused["error"]["code"] == "approval_required" and asked in refused["asked"][0]
    assert len(api.list_repo_commits(REPO)) == 3
    assert push(call, confirm=f"push to {REPO}, which is public")["error"]["code"] == "approval_required"
    assert push(call, confirm=asked)["notes"] == [f"{CONFIRMED}: {asked}"]
    assert ledger.entries(run)[-1]["arguments"]["approved"] == asked
    assert push(call)["pushed"]  # what it holds now was decided, and is this run's


def test_an_empty_repository_of_somebody_else_is_asked_for_and_an_own_one_is_not(call, run, server):
    server.faults.append(Fault("/commit/", status=500))
    assert push(call)["error"]["code"] == "unavailable"
    server.faults.clear()
    assert call.workspace.hub.api().model_info(REPO).private  # made by the push that failed
    assert push(call)["pushed"]
    other = "me/empty"
    call.workspace.hub.api().create_repo(other, private=True)
    run.save_config(run.config().model_copy(update={"hf_model_repo": other}))
    error = push(call)["error"]
    assert error["code"] == "approval_required" and "no files yet" in error["message"]


def test_what_somebody_committed_after_this_runs_push_is_not_overwritten_unasked(call, run):
    push(call)
    add(call.workspace.hub.api(), "README.md", b"written by hand")
    assert f"{OVER} (its 9 files: {STAY})" in push(call)["error"]["message"]


def test_a_repository_made_anew_under_the_same_name_is_not_this_runs(call, run):
    push(call)
    api = call.workspace.hub.api()
    api.delete_repo(REPO)
    api.create_repo(REPO, private=True)
    assert push(call)["error"]["code"] == "approval_required"


def test_a_push_that_was_killed_after_its_commit_is_made_again_unasked(call, run, monkeypatch):
    with monkeypatch.context() as patch, contextlib.suppress(BaseException):
        patch.setattr(publish, "read_back", killed)
        push(call)
    assert publish.target(call.workspace.hub, REPO).files and "pushed" not in str(ledger.entries(run))
    assert push(call)["verified"]


def test_what_config_yaml_or_evidence_says_does_not_make_a_repository_this_runs(call, run):
    push(call)
    api, other = call.workspace.hub.api(), "me/production"
    api.create_repo(other, private=True)
    add(api, "model.safetensors", b"precious", other)
    facts = evidence.read(run, "push").facts | {"repo": other, "commit": api.model_info(other).sha}
    config = run.config().model_copy(
        update={"hf_model_repo": other, "notes": [f"approved by the user: push to {other}"]}
    )
    run.save_config(config)
    evidence.write(run, evidence.make(run, "push", facts, config=config))
    assert push(call)["error"]["code"] == "approval_required"


class Killed(BaseException):
    pass


def killed(*_):
    raise Killed


def add(api, name: str, content: bytes, repo: str = REPO) -> None:
    api.create_commit(repo, [CommitOperationAdd(name, content)], commit_message="by hand")


@pytest.mark.parametrize(
    ("status", "code"), [(401, "access_denied"), (403, "access_denied"), (429, "unavailable"), (500, "unavailable")]
)
def test_a_hub_that_refuses_or_fails(call, run, server, status, code):
    server.faults.append(Fault("/commit/", status=status))
    error = push(call)["error"]
    assert error["code"] == code and TOKEN not in str(error) and evidence.read(run, "push") is None
    assert ledger.entries(run)[-1]["outcome"] == code
    server.faults.clear()
    assert push(call)["verified"]


def test_a_token_of_somebody_else(call, run, server):
    call.workspace._made["hub"] = Hub(server.url, token=OTHER)
    error = push(call)["error"]
    assert error["code"] == "access_denied" and REPO in error["message"] and OTHER not in str(error)


def test_a_verification_that_was_killed_is_told_and_can_be_made_again(call):
    run = finished(call, {"infer.py": sealed.script("import os\nos.killpg(0, 9)")})
    push(call)
    error = emit(call, verify=True)["error"]
    assert error["code"] == "stage_failed" and "was killed" in error["message"]
    assert error["next"] is None and "was killed" in error["ask_user"] and jobs.inspect(run, rerun.JOB).state == "ended"
    sealed.rendered(run, {"infer.py": sealed.script("print(1)")})
    assert emit(call, verify=True)["verified"] == "passed"


def test_what_does_not_read_back_is_not_pushed(call, run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(publish, "read_back", lambda *_: ["config.json has other bytes"])
        error = push(call)["error"]
    assert error["code"] == "stage_failed" and error["gate"] == 6 and "config.json" in error["message"]
    assert evidence.read(run, "push").facts["verified"] is False
    status = call("gate_status", output_dir="run")
    assert not status["steps"][5]["passed"] and status["next"]["tool"] == "push_hub"


def test_not_before_the_evaluation(call):
    sealed.build(Run(call.workspace.root / "early"), until="stages/train")
    for tool in ("push_hub", "emit_rerun_skill"):
        error = call(tool, output_dir="early")["error"]
        assert error["code"] == "gate_closed" and error["gate"] == 5 and error["next"]["arguments"]["stage"] == "eval"


def test_the_skill_needs_the_push_first(call, run):
    error = call("emit_rerun_skill", output_dir="run")["error"]
    assert error["code"] == "gate_closed" and error["next"]["tool"] == "push_hub"


def emit(call, **arguments):
    return call("emit_rerun_skill", output_dir="run", **{"wait_s": 30, **arguments})


def test_the_skill_completes_the_run(call, run):
    push(call)
    found = emit(call)
    assert found["verified"] == "not asked" and found["rerun"] is None and found["next"] is None
    assert (found["metric"], found["expected"], found["tolerance"]) == ("accuracy", 0.9, 0.2121)
    assert found["skill"] == str(run.path / "skills/run-m/SKILL.md")
    assert call("gate_status", output_dir="run")["complete"]


def test_its_verification_runs_what_it_says(call, run):
    push(call)
    assert emit(call, verify=True, wait_s=0)["verified"] == "running"
    job = jobs.inspect(run, rerun.JOB).spec["id"]
    found = emit(call, verify=True)
    assert found["verified"] == "passed" and found["rerun"] == 0.89 and found["next"] is None
    assert jobs.inspect(run, rerun.JOB).spec["id"] == job  # followed, not started again
    assert emit(call, verify=True)["rerun"] == 0.89 and jobs.inspect(run, rerun.JOB).spec["id"] == job


def test_a_verification_that_gives_another_number_closes_the_gate(call):
    finished(call, {"run_eval.py": sealed.script(SCRIPTS["run_eval.py"].replace("0.89", "0.4"))})
    push(call)
    error = emit(call, verify=True)["error"]
    assert error["code"] == "stage_failed" and "0.4000 instead of 0.9000" in error["message"] and error["gate"] == 6
    status = call("gate_status", output_dir="run")
    assert not status["complete"] and status["next"]["tool"] == "emit_rerun_skill"


def test_evidence_of_a_verification_that_was_edited_is_written_again(call, run):
    push(call)
    emit(call, verify=True)
    path = run.meta / "rerun.json"
    path.write_text(path.read_text().replace("0.89", "0.95"))
    assert not call("gate_status", output_dir="run")["complete"]
    assert emit(call, verify=True)["rerun"] == 0.89 and call("gate_status", output_dir="run")["complete"]


def test_no_token_in_skill_card_or_answers(call, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    run = finished(call, {"infer.py": sealed.script(f"print({TOKEN!r})")})
    sealed.rendered(run, {"infer.py": sealed.script("import os\nprint(os.environ.get('HF_TOKEN'))")})
    answers = [push(call), emit(call, verify=True), call("gate_status", output_dir="run")]
    assert answers[1]["verified"] == "passed" and TOKEN not in str(answers)
    assert not any(TOKEN.encode() in path.read_bytes() for path in run.path.rglob("*") if path.is_file())
    api = call.workspace.hub.api()
    for name in ("README.md", "config.yaml"):
        assert TOKEN not in open(api.hf_hub_download(REPO, name, local_dir=run.path.parent / "back")).read()


def test_what_was_pushed_is_looked_at_again_when_the_gate_is_asked(call):
    run = finished(call)
    push(call), emit(call)
    assert call("gate_status", output_dir="run")["complete"]
    api = call.workspace.hub.api()
    repo = run.config().hf_model_repo
    api.create_commit(repo, [CommitOperationAdd("NOTES.md", b"mine")], commit_message="the user adds a file")
    assert call("gate_status", output_dir="run")["complete"]
    api.create_commit(repo, [CommitOperationAdd("README.md", b"# accuracy 1.00")], commit_message="somebody")
    found = call("gate_status", output_dir="run")
    said = next(check for check in found["steps"][5]["checks"] if check["name"] == "push")
    assert not said["ok"] and "README.md in " in said["detail"] and "was changed after the push" in said["detail"]
    assert found["next"]["tool"] == "push_hub"
    api.delete_repo(repo)
    assert "is gone from the Hub" in str(call("gate_status", output_dir="run")["steps"][5])


def test_a_hub_that_does_not_answer_leaves_the_gate_as_it_was(call, server):
    finished(call)
    push(call), emit(call)
    server.faults.append(Fault("/api/models/", status=503))
    found = call("gate_status", output_dir="run")
    assert found["complete"] and "could not be looked at again" in found["notes"][0]
