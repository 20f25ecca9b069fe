"""How a stage starts, what its evidence says, and what it rests on. Its scripts are a line or two of Python."""

from __future__ import annotations

import importlib.util
import json
import py_compile
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests import sealed
from tests.sealed import CONFIG, script
from tunegate import evidence, jobs, stages
from tunegate.errors import ToolFailure
from tunegate.evidence import ledger
from tunegate.jobs import snapshot
from tunegate.platforms.local_docker.platform import LocalDocker
from tunegate.platforms.local_process.platform import LocalProcess
from tunegate.project import render
from tunegate.rundir import Run

pytestmark = pytest.mark.usefixtures("own_code")


META = {
    "n_train": 8,
    "n_eval": 4,
    "class_names": ["a", "b"],
    "train_histogram": {"a": 4, "b": 4},
    "eval_histogram": {"a": 2, "b": 2},
}
PREPARE = f"""import json, pathlib, sys
for split in ("train", "eval"):
    pathlib.Path("data", split).mkdir(parents=True, exist_ok=True)
    pathlib.Path("data", split, "0.arrow").write_text("rows")
pathlib.Path("data/meta.json").write_text(json.dumps({META}))
pathlib.Path("reports").mkdir(exist_ok=True)
pathlib.Path("reports/data.html").write_text("<!doctype html><html><body></body></html>")
told = dict(rows=dict(train=8, eval=4), without_rows=None, problems=[], drawn_with=dict())
pathlib.Path("reports/data.json").write_text(json.dumps(told))
print("prepared", *sys.argv[1:])"""


@pytest.fixture
def run(tmp_path) -> Run:
    found = sealed.build(Run(tmp_path / "run"), until="stages/check_api")
    sealed.put(found, {"prepare_data.py": script(PREPARE), "train.py": script("import sys; print(sys.argv[1:])")})
    return found


def end(run: Run, stage: str) -> jobs.Job:
    deadline = time.monotonic() + 20
    while (job := jobs.inspect(run, stage)).state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return job


def play(run: Run, stage: str, config=CONFIG) -> evidence.Evidence:
    stages.start(run, config, stage)
    found, wrote = stages.collect(run, config, end(run, stage))
    failed = {} if found.facts["passed"] else {"failed": stages.signature(found.facts["problems"])}
    ledger.append(run, "docker_run", {"stage": stage, **failed}, "ok", wrote)
    return found


def passed(run: Run, stage: str, config=CONFIG) -> bool:
    return stages.passed(run, config, stage, ledger.latest(run))


def test_a_row_speaks_of_stages_before_it_and_of_what_it_makes():
    before: list[str] = []
    for name, row in stages.STAGES.items():
        assert {*row.needs, *filter(None, [row.instead_of])} <= set(before), name
        assert set(row.after) <= set(evidence.KINDS) and row.gate in (3, 4), name
        for pattern, _ in row.published:
            assert any(fnmatch(pattern, makes) for makes in row.makes), f"{name} does not make {pattern}"
        before.append(name)


def test_what_a_row_runs_is_rendered_where_it_applies():
    options = {row.option: True for row in stages.STAGES.values() if row.option}
    config = CONFIG.model_copy(update={"task": "text-generation", "training_method": "lora", **options})
    files = render.render_files(render.with_defaults(config, {}), {})
    for name, row in stages.STAGES.items():
        assert row.applies(config), name
        for words in filter(None, (row.argv, row.rerun)):
            script = words[1].replace(".", "/") + ".py" if words[0] == "-m" else words[0]
            assert script in files or script == "pytest.py", f"{name}: {script} is not rendered (scaffolds/_shared)"


def test_every_judge_has_a_test():
    written = "".join(path.read_text() for path in (Path(__file__).parent / "verdicts").glob("test_*.py"))
    assert [name for name in stages.STAGES if f'"{name}"' not in written] == [], (
        "tests/stages/verdicts/ tests no such judge"
    )


def test_a_stage_that_passed_is_sealed_with_what_it_used_and_made(run):
    found = play(run, "prepare")
    assert found.facts["passed"] and found.facts["n_eval"] == 4 and passed(run, "prepare")
    data = {"data/meta.json", "data/train/0.arrow", "data/eval/0.arrow", "reports/data.html", "reports/data.json"}
    assert set(found.files) == {"prepare_data.py", *data}
    assert found.config["dataset_id"] == "org/d" and stages.collected(run, jobs.inspect(run, "prepare"))
    assert jobs.log_tail(run, "prepare") == ["prepared"]


@pytest.mark.parametrize("name", ["prepare_data.py", "data/meta.json"])
def test_changing_what_it_used_or_made_takes_the_pass_away(run, name):
    play(run, "prepare")
    before = (run.path / name).read_bytes()
    (run.path / name).write_bytes(before + b"\n")
    assert not passed(run, "prepare")
    (run.path / name).write_bytes(before)
    assert passed(run, "prepare")


def test_a_value_that_changed_while_it_ran_is_not_the_value_it_rests_on(run):
    stages.start(run, CONFIG, "prepare")
    later = CONFIG.model_copy(update={"seed": 7})
    found, wrote = stages.collect(run, later, end(run, "prepare"))
    ledger.append(run, "docker_run", {}, "ok", wrote)
    assert found.config["seed"] == 42 and not passed(run, "prepare", later) and passed(run, "prepare", CONFIG)


def test_what_was_changed_between_its_end_and_the_verdict_fails_it(run):
    stages.start(run, CONFIG, "prepare")
    job = end(run, "prepare")
    sealed.put(run, {"data/meta.json": json.dumps({**META, "n_eval": 3})})
    found, _ = stages.collect(run, CONFIG, job)
    assert (
        not found.facts["passed"] and "data/meta.json was changed after the stage ended" in found.facts["problems"][0]
    )


def test_a_file_that_appeared_after_its_end_fails_it_too(run):
    stages.start(run, CONFIG, "prepare")
    job = end(run, "prepare")
    sealed.put(run, {"data/train/more.arrow": "x"})
    assert "more.arrow" in stages.collect(run, CONFIG, job)[0].facts["problems"][0]


def fail(run: Run, message: str) -> None:
    sealed.put(run, {"prepare_data.py": script(f"raise ValueError({message!r})")})
    assert not play(run, "prepare").facts["passed"]


def test_the_same_error_three_times_whatever_its_numbers(run):
    for number in (1, 22):
        fail(run, f"row {number} is bad")
        assert stages.repeated_failure(run, "prepare") is None
    fail(run, "row 333 is bad")
    assert "ValueError: row # is bad" in stages.repeated_failure(run, "prepare")


def test_another_error_or_a_pass_between_begins_the_count_again(run):
    for message in ("x", "x", "y", "x", "x"):
        fail(run, message)
    assert stages.repeated_failure(run, "prepare") is None
    sealed.put(run, {"prepare_data.py": script(PREPARE)})
    play(run, "prepare")
    fail(run, "x")
    assert stages.repeated_failure(run, "prepare") is None


def test_what_was_overcome_is_remembered_for_the_rerun_skill(run):
    fail(run, "no disk")
    fail(run, "no disk")
    sealed.put(run, {"prepare_data.py": script(PREPARE)})
    assert play(run, "prepare").facts["overcome"] == ["exit code #: ValueError: no disk"]
    assert len(play(run, "prepare").facts["overcome"]) == 1


def train(run: Run, config=CONFIG) -> list[str]:
    """Names in checkpoints/ that the training finds; it leaves a checkpoint of its own, as if it had been cut off."""
    stages.start(run, config, "train")
    end(run, "train")
    return jobs.log_tail(run, "train")


TRAIN = """import os
os.makedirs("checkpoints", exist_ok=True)
print(sorted(os.listdir("checkpoints")))
os.makedirs("checkpoints/checkpoint-1", exist_ok=True)"""


def test_a_new_training_starts_without_checkpoints_and_the_same_one_resumes(run):
    sealed.put(run, {"train.py": script(TRAIN), "checkpoints/checkpoint-9/x": "of another training"})
    assert train(run) == ["[]"]
    assert train(run) == ["['checkpoint-1']"]  # the same values and files: this checkpoint is its own
    sealed.put(run, {"data.py": script("x = 1")})
    assert train(run) == ["[]"]
    assert train(run, CONFIG.model_copy(update={"learning_rate": 0.5})) == ["[]"]


def test_a_finished_model_is_set_aside_and_never_deleted(run):
    sealed.put(run, {"train.py": script(TRAIN)})
    for number in (1, 2):
        sealed.put(run, {"checkpoints/final/model.safetensors": f"weights {number}"})
        assert train(run, CONFIG.model_copy(update={"seed": number})) == ["[]"]
        assert (run.path / f"checkpoints.old-{number}/final/model.safetensors").read_text() == f"weights {number}"


def test_checkpoints_behind_a_symlink_are_not_touched(run, tmp_path):
    sealed.put(run, {"train.py": script(TRAIN)})
    sealed.put(Run(tmp_path / "elsewhere"), {"precious": "x"})
    (run.path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ToolFailure, match="symlink"):
        stages.start(run, CONFIG, "train")
    assert (tmp_path / "elsewhere/precious").exists()


def test_an_environment_that_is_gone(run):
    facts = sealed.FACTS["stages/build"]
    for broken in ({**facts, "python": "/no/such/python"}, {"passed": True}):
        sealed.write(run, "stages/build", broken)
        with pytest.raises(ToolFailure, match="build it again") as error:
            stages.start(run, CONFIG, "prepare")
        assert error.value.failure.next.arguments["stage"] == "build"


def test_build_runs_on_the_servers_own_python_and_the_rest_on_the_stages(run):
    sealed.write(run, "stages/build", {**sealed.FACTS["stages/build"], "python": "/bin/sh"})
    build, prepare = (LocalProcess().launch(run, CONFIG, stage, "i", (), True) for stage in ("build", "prepare"))
    assert build.argv[0] == sys.executable
    assert build.argv[build.argv.index("-m") + 1] == "tunegate.platforms.local_process.envs"
    assert (
        prepare.argv == ["/bin/sh", "-I", "-u", "harness/launch.py", "prepare_data.py"]
        and prepare.handle is prepare.given is None
    )


def test_what_measures_runs_in_the_environment_as_rendered(run):
    facts = {**sealed.FACTS["stages/build"], "python": sys.executable, "measures": {"python": "/bin/sh"}}
    sealed.write(run, "stages/build", facts)
    found = {stage: LocalProcess().launch(run, CONFIG, stage, "i", (), True).argv[0] for stage in stages.STAGES}
    assert {stage for stage, python in found.items() if python == "/bin/sh"} == {
        stage for stage, row in stages.STAGES.items() if row.measures
    }
    assert not LocalProcess().build_is_gone(facts)
    assert LocalProcess().build_is_gone({**facts, "measures": {"python": "/gone"}})


def test_what_a_stage_needs_before_it(run):
    assert stages.missing_before(run, CONFIG, "smoke") == ["prepare"]
    play(run, "prepare")
    assert stages.missing_before(run, CONFIG, "smoke") == [] == stages.missing_before(run, CONFIG, "build")


SHOW = "import os; print('HF_TOKEN' in os.environ, 'HF_TOKEN_PATH' in os.environ, os.environ['HF_HOME'])"


@pytest.mark.parametrize("gated", [None, "auto"])
def test_the_token_goes_only_where_it_is_needed(run, monkeypatch, gated):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "t" * 30)
    sealed.write(run, "dataset", {"verdict": "accept", "gated": gated})
    sealed.put(run, {"prepare_data.py": script(SHOW), "harness/check_api.py": script(SHOW)})
    for stage, has in (("prepare", bool(gated)), ("check_api", False)):
        play(run, stage)
        hub = snapshot.hub(snapshot.of(run, stage))
        assert jobs.log_tail(run, stage) == [f"{has} False {hub}"] and not hub.is_relative_to(run.path)


def test_a_token_in_the_clients_store_is_found_by_its_path(tmp_path, monkeypatch):
    assert stages.hub_environment(tmp_path, True)["HF_TOKEN_PATH"].endswith("hf_home/token")
    assert "HF_TOKEN_PATH" not in stages.hub_environment(tmp_path, False)
    monkeypatch.setenv("HF_TOKEN_PATH", "/elsewhere/token")
    assert stages.hub_environment(tmp_path, True)["HF_TOKEN_PATH"] == "/elsewhere/token"


@pytest.mark.parametrize("module", ["data", "harness.rows", "harness.readers.coco"])
def test_a_stage_runs_the_source_that_was_hashed(run, module):
    """A compiled module in __pycache__ would be imported instead of the source beside it."""
    path = run.path / f"{module.replace('.', '/')}.py"
    source = {path.relative_to(run.path).as_posix(): "x = 'honest'\n"}
    sealed.put(run, source | {"prepare_data.py": script(f"import {module} as found; print(found.x)")})
    cached = path.parent / "__pycache__"
    sealed.put(run, {"other.py": "x = 'forged'\n"})
    py_compile.compile(
        run.path / "other.py",
        importlib.util.cache_from_source(path),
        dfile=path.name,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    assert cached.is_dir()
    play(run, "prepare")
    assert jobs.log_tail(run, "prepare") == ["honest"]


def test_progress_is_the_last_logged_step_else_the_logs_last_line(run):
    assert stages.progress(run, "train") == {}
    sealed.put(run, {"logs/train.log": "loading\n", "logs/prepare.log": "one\ntwo\n"})
    assert stages.progress(run, "train") == {"last_line": "loading"}
    rows = [{"step": n, "max_steps": 9, "loss": 1 / n, "eta_s": 9 - n, "learning_rate": 0.1} for n in (1, 2)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    training = snapshot.of(run, "train").at("logs/train.jsonl")
    training.parent.mkdir(parents=True)
    training.write_text(text)
    assert stages.progress(run, "train") == {"step": 2, "max_steps": 9, "loss": 0.5, "eta_s": 7}
    training.write_text(text + '{"step": 3, "lo')  # being written
    assert stages.progress(run, "train") == {"last_line": "loading"}
    assert stages.progress(run, "prepare") == {"last_line": "two"}


def test_a_built_image_that_was_removed_is_built_again(run, monkeypatch):
    from tunegate.clients.docker import engine as engines

    sealed.write(run, "stages/build", {**sealed.FACTS["stages/build"], "image_id": "sha256:1"})
    monkeypatch.setattr(engines, "connect", lambda: None)
    for found, gone in ((None, True), ("an image", False)):
        monkeypatch.setattr(engines, "image", lambda engine, reference, found=found: found)
        assert LocalDocker().build_is_gone(evidence.read(run, "stages/build").facts) is gone


def test_a_new_follower_has_the_lost_jobs_inputs_and_starts_nothing(run, monkeypatch):
    started = {}
    monkeypatch.setattr(stages.jobs, "start", lambda run, stage, argv, **more: started.update(argv=argv, **more))
    spec = {
        "container": "abc",
        "makes": ["x/*"],
        "resting_on": {"platform": "local-docker"},
        "files": {"train.py": "0"},
    }
    for mode in ("follow", "stop"):
        stages.reattach(run, jobs.Job("train", "lost", spec), mode)
        assert started["argv"][-4:] == [str(run.path), "train", "abc", mode] and started["container"] == "abc"
        assert (started["makes"], started["resting_on"], started["files"]) == (
            ("x/*",),
            {"platform": "local-docker"},
            {"train.py": "0"},
        )
