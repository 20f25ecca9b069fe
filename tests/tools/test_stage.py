"""docker_run and diagnose through the server. The project's scripts are a few lines of Python: what is tested is the frame."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from tests import sealed
from tests.sealed import script
from tests.stages.test_stages import META, PREPARE
from tests.tiny import TOKEN
from tunegate import evidence, gates, jobs, rundir, stages
from tunegate.evidence import ledger
from tunegate.rundir import Run
from tunegate.stage_table import DATA
from tunegate.tools import base
from tunegate.tools import stage as stage_tool
from tunegate.tools.base import Workspace

pytestmark = pytest.mark.usefixtures("own_code")


COUNT = 'open(RUN / "runs.txt", "a").write("x")\n'
PREPARED = PREPARE + "\n"
WAITS = 'import os, time\nwhile not os.path.exists(RUN / "go"): time.sleep(0.02)\n'
KILLED = "import os\nos.kill(os.getppid(), 9)\nos.kill(os.getpid(), 9)\n"  # itself and the process beside it, as the system does out of memory


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(base, "POLL_S", 0.03)


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """A server root without a Hub: nothing here asks for one."""
    return Workspace(tmp_path / "root")


@pytest.fixture
def run(call) -> Run:
    scripts = {"prepare_data.py": script(PREPARED)}
    return sealed.build(Run(call.workspace.root / "run"), until="stages/check_api", files=scripts)


def prepare(call, body: str | None = None, **arguments):
    """docker_run(prepare), after its script was written anew if `body` says what it does."""
    if body is not None:
        sealed.put(Run(call.workspace.root / "run"), {"prepare_data.py": script(COUNT + body)})
    return call("docker_run", output_dir="run", stage="prepare", **{"wait_s": 20, **arguments})


def runs(run: Run) -> int:
    path = run.path / "runs.txt"
    return len(path.read_text()) if path.exists() else 0


def ended(run: Run, stage: str = "prepare") -> None:
    deadline = time.monotonic() + 20
    while jobs.inspect(run, stage).state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.02)


LOSSY = {"split": "train", "rows": 300, "usable": 180, "left_out": {"no label": 120}, "objects_left_out": {}}
LOST = "train although 120 of 300 rows of split 'train' are left out: 120 no label"


def test_a_large_loss_is_the_users_to_accept_before_anything_is_trained(call, run):
    read = {"train": {**LOSSY, "classes": {}, "classes_left_out": {}}, "eval": None}
    found = prepare(call, f"{PREPARED}import json\nmeta = json.load(open('data/meta.json'))\nmeta['read'] = {read}\n"
                    "meta |= {'n_train': 144, 'n_eval': 36, 'train_histogram': {'a': 72, 'b': 72}, 'eval_histogram': {'a': 36}}\n"
                    "json.dump(meta, open('data/meta.json', 'w'))\n")  # fmt: skip
    assert found["state"] == "passed" and found["ask_user"] == f"{LOST}?", found
    assert found["next"] is None and f"confirm={LOST!r}" in found["notes"][-1]
    view = gates.view(run)
    assert gates.preflight(view)["rows"] == (
        "144 rows to train on; 36 rows to measure on; training split: 300 rows read, left out: 120 no label"
    )
    (check,) = (one for one in gates.steps(view)[3].checks if one.name == "prepare")
    assert not check.ok and LOST in check.detail
    refused = prepare(call)["error"]
    assert (refused["code"], refused["ask_user"]) == ("approval_required", f"{LOST}?")
    asked = prepare(call, user=False)  # by a client that can ask its user
    assert asked["error"]["code"] == "approval_required" and LOST in asked["asked"][0]
    found = prepare(call, confirm=LOST)
    assert found["state"] == "passed" and "ask_user" not in found and runs(run) == 1
    assert found["next"]["arguments"]["stage"] == "smoke" and run.config().notes[-1].endswith(LOST)
    sealed.put(run, {"data/meta.json": "{}"})  # the answer is of what was prepared, and of nothing else
    assert any("data/meta.json was changed" in problem for problem in gates.view(run).problems("stages/prepare"))


def test_a_stage_that_passes(call, run):
    found = prepare(call, PREPARED)
    assert (
        found["state"] == "passed"
        and found["facts"]["n_eval"] == 4
        and found["log"] == str(run.path / "logs/prepare.log")
    )
    assert found["next"]["arguments"] == {"output_dir": str(run.path), "stage": "smoke"}
    assert gates.view(run).problems("stages/prepare") == [] and gates.job_states(run) == {}
    assert any(entry["wrote"].get("stages/prepare") for entry in ledger.entries(run))


def test_what_passed_is_not_run_again_until_something_changed(call, run):
    prepare(call, PREPARED)
    assert prepare(call)["state"] == "passed" and runs(run) == 1
    assert prepare(call, PREPARED + "# edited\n")["state"] == "passed" and runs(run) == 2


def test_an_answer_does_not_wait_for_the_stage(call, run):
    found = prepare(call, WAITS + PREPARED, wait_s=0)
    assert found["state"] == "running" and found["facts"] == {}
    assert found["next"] == {
        "tool": "docker_run",
        "arguments": {"output_dir": str(run.path), "stage": "prepare"},
        "why": "prepare is running: follow it",
        "follow": True,
    }
    assert call("gate_status", output_dir="run")["jobs"] == {"prepare": "running"}
    (run.path / "go").touch()
    ended(run)
    assert call("gate_status", output_dir="run")["jobs"] == {"prepare": "ended"}  # nobody has looked yet
    assert prepare(call)["state"] == "passed" and runs(run) == 1


def test_a_second_start_follows_the_first(call, run):
    prepare(call, WAITS + PREPARED, wait_s=0)
    job = jobs.inspect(run, "prepare").spec["id"]
    for wait_s in (0, 0.1):
        assert prepare(call, wait_s=wait_s)["state"] == "running"
    (run.path / "go").touch()
    assert prepare(call)["state"] == "passed" and jobs.inspect(run, "prepare").spec["id"] == job and runs(run) == 1


def test_a_failure_names_the_error_and_the_way_to_its_fix(call, run):
    found = prepare(call, "raise ValueError('column img not found')")
    error = found["error"]
    assert error["code"] == "stage_failed" and error["gate"] == 4 and "column img not found" in error["message"]
    assert error["next"] == {
        **error["next"],
        "tool": "diagnose",
        "arguments": {"output_dir": str(run.path), "stage": "prepare"},
    }
    found = call("diagnose", output_dir="run")
    assert found["stage"] == "prepare" and "column img not found" in found["problems"][0]
    assert found["log_tail"][-1] == "ValueError: column img not found"
    assert found["next"] is None and "column img not found" in found["ask_user"]  # no row of the playbook matches


def test_a_stage_that_says_it_passed_and_left_nothing(call, run):
    assert "no usable report" in prepare(call, "print('all good')")["error"]["message"]


def test_a_fix_is_run_and_the_failure_forgotten(call, run):
    prepare(call, "1 / 0")
    assert prepare(call, PREPARED)["state"] == "passed"
    assert call("diagnose", output_dir="run")["notes"] == ["no stage of this run has failed"]


SAME = "run prepare again although it failed 3 times in a row with the same error"


def fail_three_times(call) -> None:
    for _ in range(3):
        assert prepare(call, "raise ValueError('the same')")["error"]["code"] == "stage_failed"


def test_the_same_error_three_times_is_the_users_to_decide(call, run):
    fail_three_times(call)
    error = prepare(call)["error"]
    assert error["code"] == "approval_required" and SAME in error["message"] and runs(run) == 3
    assert prepare(call, confirm="yes")["error"]["code"] == "approval_required" and runs(run) == 3
    assert prepare(call, confirm=SAME)["error"]["code"] == "stage_failed" and runs(run) == 4


def test_a_client_that_can_ask_is_made_to(call, run):
    fail_three_times(call)
    refused = prepare(call, user=False, confirm=SAME)
    assert refused["error"]["code"] == "approval_required" and SAME in refused["asked"][0] and runs(run) == 3
    granted = prepare(call, PREPARED, user=True)
    assert granted["state"] == "passed" and runs(run) == 4
    assert prepare(call, user=False)["asked"] == []


def test_a_job_that_is_killed_while_it_is_followed(call, run):
    error = prepare(call, KILLED)["error"]
    assert error["code"] == "stage_failed" and "was killed" in error["message"]
    assert error["next"] is None and "was killed" in error["ask_user"]  # by memory or by hand: the user knows which
    assert gates.job_states(run) == {"prepare": "lost"}
    assert prepare(call, PREPARED)["state"] == "passed"


def test_a_job_that_was_killed_while_nobody_looked_is_started_again(call, run):
    prepare(call, KILLED, wait_s=0)
    ended(run)
    assert call("gate_status", output_dir="run")["jobs"] == {"prepare": "lost"}
    assert prepare(call, PREPARED)["state"] == "passed"


# -- stop

SAVES = """import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
open(RUN / "ready", "w").close()
"""


def wait_until_ready(run: Run) -> None:
    deadline = time.monotonic() + 20
    while not (run.path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_stopped_stage_is_no_failure_and_goes_on_when_called_again(call, run):
    for _ in range(stages.SAME_ERROR_LIMIT + 1):
        prepare(call, SAVES + WAITS + PREPARED, wait_s=0)
        wait_until_ready(run)
        found = prepare(call, stop=True)
        assert found["state"] == "stopped" and "was stopped" in found["notes"][0], found
        assert found["next"]["arguments"] == {"output_dir": str(run.path), "stage": "prepare"}
        assert prepare(call, stop=True)["state"] == "stopped"  # and once more: nothing new happens
        (run.path / "ready").unlink()
    assert runs(run) == 4 and stages.repeated_failure(run, "prepare") is None
    assert evidence.read(run, "stages/prepare").facts["failures"] == []
    assert gates.job_states(run) == {} and not gates.steps(gates.view(run))[3].passed
    assert call("diagnose", output_dir="run")["notes"] == ["no stage of this run has failed"]
    (run.path / "go").touch()
    assert prepare(call)["state"] == "passed"


def test_stops_between_failures_neither_count_nor_make_forget(call, run):
    for _ in range(2):
        prepare(call, "raise ValueError('the same')")
    prepare(call, SAVES + WAITS + PREPARED, wait_s=0)
    wait_until_ready(run)
    assert prepare(call, stop=True)["state"] == "stopped" and stages.repeated_failure(run, "prepare") is None
    prepare(call, "raise ValueError('the same')")
    assert stages.repeated_failure(run, "prepare")


def test_what_does_not_listen_is_ended_all_the_same(call, run):
    prepare(call, 'open(RUN / "ready", "w").close()\n' + WAITS + PREPARED, wait_s=0)
    wait_until_ready(run)
    found = prepare(call, stop=True)
    assert found["state"] == "stopped" and evidence.read(run, "stages/prepare").facts["exit_code"] == 143


def test_a_stop_the_moment_after_the_start(call, run):
    prepare(call, WAITS + PREPARED, wait_s=0)
    assert prepare(call, stop=True)["state"] == "stopped" and gates.job_states(run) == {}


@pytest.mark.parametrize("before", ["nothing", "failed", "passed", "killed"])
def test_stopping_what_does_not_run_says_so(call, run, before):
    bodies = {"failed": "1 / 0", "passed": PREPARED, "killed": KILLED}
    if before in bodies:
        prepare(call, bodies[before])
    found = prepare(call, stop=True)
    assert found["state"] == ("passed" if before == "passed" else "stopped")
    assert "there was nothing to stop" in found["notes"][0] and runs(run) == (before in bodies)


def test_a_call_that_follows_does_not_start_again_what_another_call_stopped(call, run):
    prepare(call, SAVES + WAITS + PREPARED, wait_s=0)
    wait_until_ready(run)
    answers = []
    other = threading.Thread(target=lambda: answers.append(prepare(call)))
    other.start()
    time.sleep(0.5)
    assert prepare(call, stop=True)["state"] == "stopped"
    other.join(20)
    assert answers[0]["state"] == "stopped" and runs(run) == 1


def test_stages_in_order(call, run):
    error = call("docker_run", output_dir="run", stage="smoke")["error"]
    assert error["code"] == "gate_closed" and error["gate"] == 4 and error["missing"] == ["prepare"]
    assert error["next"]["arguments"]["stage"] == "prepare"
    error = call("docker_run", output_dir="run", stage="train")["error"]
    assert error["code"] == "gate_closed" and error["gate"] == 4 and jobs.inspect(run, "train").state == "none"


def finished(call, until: str = "stages/eval") -> Run:
    files = {
        "data/eval/rows.arrow": "held out",
        "reports/baseline_predictions.jsonl": "{}",
        "reports/eval_results.json": "{}",
    }
    run = sealed.build(Run(call.workspace.root / "run"), until=until, files=files)
    for stage in ("baseline", "train", *(["eval"] if until == "stages/eval" else [])):
        used = rundir.hash_files(run.path, (*stages.STAGES[stage].uses, *stages.STAGES[stage].makes))
        sealed.write(run, f"stages/{stage}", sealed.FACTS[f"stages/{stage}"], files=used)
    return run


def asked(call, stage: str) -> dict:
    return call("docker_run", output_dir="run", stage=stage, wait_s=20)


def test_eval_comes_after_the_baseline_unless_that_is_skipped(call):
    run = sealed.build(Run(call.workspace.root / "run"), until="stages/smoke")
    sealed.write(run, "stages/train", sealed.FACTS["stages/train"])
    error = asked(call, "eval")["error"]
    assert error["code"] == "gate_closed" and error["missing"] == ["baseline"]
    assert error["next"]["arguments"]["stage"] == "baseline"
    run.save_config(sealed.CONFIG.model_copy(update={"skip_baseline": True}))
    assert "baseline" not in asked(call, "eval")["error"].get("missing", [])


def test_held_out_rows_that_change_between_baseline_and_eval_close_the_gate_of_both(call):
    run = finished(call, until="stages/train")
    sealed.put(run, {"data/eval/rows.arrow": "easier ones"})
    error = asked(call, "eval")["error"]
    assert error["code"] == "gate_closed" and error["gate"] == 4 and "data/eval/rows.arrow was changed" in str(error)
    sealed.write(run, "stages/prepare", sealed.FACTS["stages/prepare"], files=rundir.hash_files(run.path, DATA))
    sealed.write(run, "stages/smoke", sealed.FACTS["stages/smoke"])
    assert asked(call, "eval")["error"]["missing"] == ["baseline"]  # prepared again; no training has seen them


def test_predictions_of_the_baseline_that_change_make_eval_stale(call):
    run = finished(call)
    assert gates.view(run).problems("stages/eval") == []
    sealed.put(run, {"reports/baseline_predictions.jsonl": '{"index": 0}'})
    assert "baseline_predictions.jsonl was changed" in gates.view(run).problems("stages/eval")[0]
    assert asked(call, "eval")["error"]["missing"] == ["baseline"]


def test_a_config_that_skips_the_baseline_later_makes_eval_stale(call):
    run = finished(call)
    run.save_config(sealed.CONFIG.model_copy(update={"skip_baseline": True}))
    assert "skip_baseline was false" in gates.view(run).problems("stages/eval")[0]


def test_code_that_nobody_checked_keeps_the_training_closed(call):
    run = sealed.build(Run(call.workspace.root / "run"), until="stages/smoke")
    sealed.put(run, {"torch.py": script("print('not torch')")})
    error = call("docker_run", output_dir="run", stage="train")["error"]
    assert error["code"] == "gate_closed" and error["gate"] == 4 and "torch.py" in str(error["missing"])
    assert error["next"]["arguments"]["stage"] == "check_api"


def test_an_edited_check_is_rendered_again_before_anything_runs(call, run):
    sealed.write(run, "project", {**sealed.project(run), "guarded": ["prepare_data.py"]})
    error = prepare(call, PREPARED)["error"]
    assert error["code"] == "gate_closed" and "prepare_data.py" in error["message"] and runs(run) == 0
    assert error["next"]["tool"] == "render_project" and error["next"]["arguments"]["overwrite"] is True


def test_nothing_runs_before_the_project_is_rendered(call):
    run = sealed.build(Run(call.workspace.root / "early"), until="recipe")
    error = call("docker_run", output_dir="early", stage="build")["error"]
    assert (
        error["code"] == "gate_closed"
        and error["next"]["tool"] == "render_project"
        and not (run.path / "logs").exists()
    )


def test_an_environment_that_is_gone_is_built_again(call, run):
    sealed.write(run, "stages/build", {**sealed.FACTS["stages/build"], "python": "/no/such/python"})
    error = prepare(call, PREPARED)["error"]
    assert error["code"] == "gate_closed" and error["next"]["arguments"]["stage"] == "build"


def test_two_agents_at_once(call, run, monkeypatch):
    monkeypatch.setattr(rundir, "LOCK_WAIT_S", 0.1)
    with rundir.lock(run, "render_project"):
        error = prepare(call, PREPARED)["error"]
    assert error["code"] == "run_locked" and "render_project" in error["message"] and runs(run) == 0


def test_a_job_that_another_agent_started_is_followed_without_the_lock(call, run, monkeypatch):
    monkeypatch.setattr(rundir, "LOCK_WAIT_S", 0.1)
    prepare(call, WAITS + PREPARED, wait_s=0)
    with rundir.lock(run, "something"):
        assert prepare(call, wait_s=0)["state"] == "running"
    (run.path / "go").touch()
    assert prepare(call)["state"] == "passed"


def test_a_tampered_result(call, run):
    prepare(call, PREPARED, wait_s=0)
    ended(run)
    sealed.put(run, {"data/meta.json": json.dumps({**META, "n_eval": 3})})
    assert "changed after the stage ended" in prepare(call)["error"]["message"]


def test_the_token_reaches_the_stage_and_no_answer(call, run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    sealed.write(run, "dataset", {"verdict": "accept", "gated": "auto"})
    sealed.write(run, "project", sealed.project(run))
    check = "import os\nprint('token is', os.environ['HF_TOKEN'])\n"
    answers = [prepare(call, check + PREPARED), prepare(call, check + "raise ValueError(os.environ['HF_TOKEN'])")]
    assert answers[0]["state"] == "passed" and answers[1]["error"]["code"] == "stage_failed"
    answers += [call("diagnose", output_dir="run"), call("gate_status", output_dir="run")]
    assert TOKEN not in str(answers) and "token is <HF_TOKEN>" in str(answers)
    assert not any(TOKEN.encode() in path.read_bytes() for path in run.path.rglob("*") if path.is_file())


def test_progress_of_a_training(call):
    row = {"step": 3, "max_steps": 9, "loss": 1.5, "eta_s": 12}
    body = f"import json, os\nos.makedirs('logs', exist_ok=True)\nopen('logs/train.jsonl', 'w').write({json.dumps(row)!r} + chr(10))\n"
    body += 'open(RUN / "ready", "w")\n' + WAITS
    run = sealed.build(Run(call.workspace.root / "run"), until="stages/smoke", files={"train.py": script(body)})
    assert call("docker_run", output_dir="run", stage="train", wait_s=0).get("state") == "running"
    deadline = time.monotonic() + 20
    while not (run.path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert call("docker_run", output_dir="run", stage="train", wait_s=0)["progress"] == row
    (run.path / "go").touch()
    ended(run, "train")


def test_diagnose_proposes_the_fix_that_it_knows(call, run):
    prepare(call, "raise MemoryError('x')")
    oom = "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB"
    sealed.write(run, "stages/smoke", {"passed": False, "problems": [f"exit code 1: {oom}"], "exit_code": 1})
    found = call("diagnose", output_dir="run", stage="smoke")
    assert found["findings"] and found["stage"] == "smoke"
    assert found["next"]["tool"] == ("render_project" if found["findings"][0]["overrides"] else "docker_run")


OOM = "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB"


def failed_smoke(call, facts: dict, model: dict, **config) -> dict:
    """What diagnose answers after a smoke test that ran out of memory."""
    changed = sealed.CONFIG.model_copy(update=config)
    known = {"model": {**sealed.FACTS["model"], **model}}
    run = sealed.build(Run(call.workspace.root / "run"), until="stages/prepare", config=changed, facts=known)
    sealed.write(run, "stages/smoke", {"passed": False, "problems": [f"exit code 1: {OOM}"], "exit_code": 1, **facts})
    return call("diagnose", output_dir="run", stage="smoke")


def test_out_of_memory_keeps_the_effective_batch(call):
    found = failed_smoke(call, {}, {}, per_device_train_batch_size=6, gradient_accumulation_steps=3)
    wanted = {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 6}
    assert found["next"]["tool"] == "render_project" and found["next"]["arguments"]["overrides"] == wanted
    found = failed_smoke(call, {}, {}, per_device_train_batch_size=5, gradient_accumulation_steps=1)
    assert found["next"]["arguments"]["overrides"] == {
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 5,
    }


def test_a_measured_peak_says_how_much_smaller(call):
    facts = {"memory": {"split": [4, 8]}}
    found = failed_smoke(call, facts, {}, per_device_train_batch_size=32, gradient_accumulation_steps=1)
    wanted = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 8}
    assert found["next"]["arguments"]["overrides"] == wanted == found["findings"][0]["overrides"]


def test_at_a_batch_of_one_layers_are_recomputed_where_the_model_can(call):
    one = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}
    found = failed_smoke(call, {}, {"model_type": "vit"}, training_arguments={"max_grad_norm": 0.5}, **one)
    wanted = {"training_arguments": {"max_grad_norm": 0.5, "activation_checkpointing": True}}
    assert found["next"]["arguments"]["overrides"] == wanted and not found["findings"][0]["needs_approval"]
    for model, arguments in (("convnext", {}), ("vit", wanted["training_arguments"])):
        found = failed_smoke(call, {}, {"model_type": model}, training_arguments=arguments, **one)
        assert found["findings"][0]["overrides"] == {} and found["findings"][0]["needs_approval"]
        assert found["next"]["tool"] == "docker_run"


def test_a_smoke_that_runs_out_of_memory_names_the_change_at_once(call):
    config = sealed.CONFIG.model_copy(update={"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1})
    body = script(f"raise RuntimeError({OOM!r})")
    sealed.build(
        Run(call.workspace.root / "run"), until="stages/prepare", config=config, files={"harness/smoke.py": body}
    )
    error = call("docker_run", output_dir="run", stage="smoke", wait_s=20)["error"]
    assert error["code"] == "stage_failed" and error["next"]["tool"] == "render_project"
    assert error["next"]["arguments"]["overrides"] == {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
    }


def test_diagnose_of_a_run_without_failures(call, run):
    found = call("diagnose", output_dir="run")
    assert found["stage"] is None and found["findings"] == [] and found["next"]["arguments"]["stage"] == "prepare"


def test_every_stage_is_one_that_the_tool_takes():
    assert set(stages.STAGES) == set(stage_tool.StageName.__args__) and Path(stage_tool.__file__).name == "stage.py"
