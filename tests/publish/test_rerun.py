"""The rerun skill: what makes it invalid, what it says, and its verification by running what it says."""

from __future__ import annotations

import json
import re
import shlex
import time

import pytest
import yaml

from tests import sealed
from tests.sealed import CONFIG, FACTS
from tunegate import evidence, jobs
from tunegate.errors import ToolFailure
from tunegate.jobs import snapshot
from tunegate.publish import rerun
from tunegate.rundir import Run
from tunegate.stage_table import STAGES

pytestmark = pytest.mark.usefixtures("own_code")
NAME = "run-m"
# A project in miniature: each script does one thing that the next needs, and the metric comes out at the end.
SCRIPTS = {
    **{row.rerun[0]: "" for row in STAGES.values() if row.rerun and row.applies(CONFIG)},
    "prepare_data.py": "open('rows', 'w').write('rows')",
    "train.py": "import sys\nassert open('rows').read() == 'rows'\nif '--fresh' in sys.argv: open('model', 'w')",
    "run_eval.py": "import json, os, sys\nos.makedirs('reports', exist_ok=True)\n"
    "kind = 'baseline' if '--baseline' in sys.argv else 'eval'\n"
    "if kind == 'eval': open('model')\n"
    "json.dump({'accuracy': 0.89}, open(f'reports/{kind}_results.json', 'w'))",
    "infer.py": "import os, sys\nprint('sampled', os.environ.get('HF_HOME'))",
}


@pytest.fixture
def run(tmp_path) -> Run:
    return sealed.build(Run(tmp_path / "run"), until="push", files=SCRIPTS)


@pytest.fixture
def text(run) -> str:
    return rerun.emit(run)[1]


def test_what_is_emitted_is_valid_and_lies_where_it_says(run):
    path, text = rerun.emit(run)
    assert path == f"skills/{NAME}/SKILL.md" and (run.path / path).read_text() == text
    assert rerun.problems(text, NAME) == []
    assert "\n## Run\n\n```bash\n" + "\n".join(map(shlex.join, rerun.commands(CONFIG))) + "\n```\n" in text
    for said in ("0.9000", "0.1000 (random-head)", "transformers==5.23.0", sealed.ORIGIN["url"], "train took 3.0 s"):
        assert said in text, said


def test_a_skipped_baseline_is_no_command(tmp_path):
    config = CONFIG.model_copy(update={"skip_baseline": True})
    text = rerun.emit(sealed.build(Run(tmp_path / "run"), until="push", config=config))[1]
    assert "python run_eval.py --baseline" not in text and "| baseline | not measured |" in text


def test_what_was_overcome_is_told(run):
    assert "- no stage of this run failed" in rerun.emit(run)[1]
    sealed.write(run, "stages/smoke", {**FACTS["stages/smoke"], "overcome": ["exit code #: loss is nan, got None"]})
    text = rerun.emit(run)[1]
    assert (
        "- seen on this run: `smoke: exit code #: loss is nan, got None`" in text and "no stage of this run" not in text
    )


def test_a_class_may_have_any_name(tmp_path):
    config = CONFIG.model_copy(update={"class_names": ["None", "nan", "TODO", "<UNKNOWN>", "{{ x }}"]})
    assert "- TODO" in rerun.emit(sealed.build(Run(tmp_path / "run"), until="push", config=config))[1]


def test_one_with_a_hole_is_not_kept(run):
    rerun.emit(run)
    kept = (run.path / f"skills/{NAME}/SKILL.md").read_text()
    sealed.write(run, "stages/train", {**FACTS["stages/train"], "last_loss": None})
    with pytest.raises(ToolFailure, match="'None'") as error:
        rerun.emit(run)
    assert error.value.code == "internal" and (run.path / f"skills/{NAME}/SKILL.md").read_text() == kept


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("# Rerun", "# {{ title }}", "'{{ title }}'"),
        ("# Rerun", "{% if x %}# Rerun", "'{% if x %}'"),
        ("## Environment", "## <MODEL_NAME>", "'<MODEL_NAME>'"),
        ("## Environment", "## TODO", "'TODO'"),
        ("## Environment", "## TBD", "'TBD'"),
        ("loss 2.3,", "loss nan,", "'nan'"),
        ("loss 2.3,", "loss None,", "'None'"),
        ("license: Apache-2.0\n", "", "no license"),
        ("allowed-tools: Bash Read\n", "", "no allowed-tools"),
        ("compatibility: Python", "compatibility:\nx: Python", "no compatibility"),
        ("  author: tunegate\n", "", "no author"),
        ("  version: ", "  revision: ", "no version"),
        (f"name: {NAME}\n", "name: another\n", "not the folder's name"),
        (f"name: {NAME}\n", "name: [\n", "no YAML front matter"),
        ("---\nname", "name", "no YAML front matter"),
        ("description: ", f"description: {'x' * 1100} # ", "longer than 1024"),
        ("<!--\nCopyright", "<!--\nWritten", "copyright notice"),
        ("---\n<!--\n", "---\n# A title first\n<!--\n", "copyright notice"),
    ],
)
def test_what_makes_it_invalid(text, old, new, says):
    assert old in text
    found = rerun.problems(text.replace(old, new, 1), NAME)
    assert any(says in problem for problem in found), found


@pytest.mark.parametrize("name", ["run-M", "run--m", "-run", "run_m", "r" * 65])
def test_a_name_that_no_loader_takes(text, name):
    assert rerun.problems(text.replace(f"name: {NAME}", f"name: {name}"), name)


def verify(run: Run) -> dict:
    """The verification's exit code and its report."""
    ended = job(run)
    return {"code": ended.result["exit_code"], **json.loads((run.path / rerun.RERUN_REPORT).read_text())}


def test_verification_runs_the_emitted_commands_in_a_clean_copy(run):
    rerun.emit(run)
    sealed.put(run, {"rows": "stale", "model": "stale", "reports/eval_results.json": '{"accuracy": 0.1}'})
    found = verify(run)
    assert found["code"] == 0 and found["failed"] is None and found["results"] == {"accuracy": 0.89}
    assert found["commands"] == rerun.commands(CONFIG)
    assert "$ python train.py --fresh" in jobs.log_tail(run, rerun.JOB)
    assert (run.path / "rows").read_text() == "stale"  # the run is untouched


def test_a_command_that_fails_is_named_and_ends_it(run):
    rerun.emit(run)
    sealed.put(run, {"train.py": "import sys; sys.exit('--fresh' in sys.argv)"})
    found = verify(run)
    assert (found["code"], found["failed"], found["results"]) == (1, "python train.py --fresh", {})


def test_nothing_that_stands_in_the_skill_is_run(run, tmp_path):
    """The commands are the ones that were made; SKILL.md is for people."""
    path, text = rerun.emit(run)
    (run.path / path).write_text(text.replace("```bash\n", f"```bash\ntouch {tmp_path}/run-from-markdown\n"))
    assert rerun.judge(run, job(run)) == (0.89, [])
    assert not (tmp_path / "run-from-markdown").exists()


LINES = "shapes\n\n## Run\n\n```bash\ntouch {}/pwned\n```\n"


@pytest.mark.parametrize("key", ["local_dataset_path", "train_split", "class_names"])
def test_a_name_with_line_breaks_adds_no_heading_no_block_and_no_command(tmp_path, key):
    name = LINES.format(tmp_path)
    local = {"dataset_id": None, "local_dataset_path": "/data/shapes"}
    value = {"class_names": ["a", name], "local_dataset_path": f"/data/{name}"}.get(key, name)
    config = CONFIG.model_copy(update={**local, key: value})
    run = sealed.build(Run(tmp_path / "run"), until="push", config=config, files=SCRIPTS)
    text = rerun.emit(run)[1]
    shaped = lambda text: [line for line in text.splitlines() if line.startswith(("#", "`"))]  # noqa: E731
    assert [re.sub("`{3,}", "```", line) for line in shaped(text)[1:]] == shaped(
        rerun.emit(sealed.build(Run(tmp_path / "b"), "push"))[1]
    )[1:]
    assert f"\ntouch {tmp_path}/pwned" not in text and rerun.problems(text, NAME) == []
    assert rerun.judge(run, job(run)) == (0.89, []) and not (tmp_path / "pwned").exists()


def test_no_failure_and_no_edited_file_is_markdown(run):
    failure = "x\n```bash\nrm -rf ~\n```\n## Run"
    sealed.write(run, "stages/smoke", {**FACTS["stages/smoke"], "overcome": [failure]})
    text = rerun.emit(run)[1]
    assert "\nrm -rf" not in text and text.count("\n## Run") == 1


@pytest.mark.parametrize("ticks", ["```", "`````", "a\n````\nb"])
def test_the_snapshots_block_is_closed_by_its_own_end_alone(tmp_path, ticks):
    config = CONFIG.model_copy(update={"class_names": ["a", ticks], "eval_split": ticks})
    text = rerun.emit(sealed.build(Run(tmp_path / "run"), until="push", config=config))[1]
    opened = re.search(r"^(`{3,})yaml\n(.*?)^\1$", text, re.S | re.M)
    assert yaml.safe_load(opened[2])["class_names"] == ["a", ticks]


def test_a_folder_may_be_called_like_a_placeholder(tmp_path):
    for name in ("TODO list (photos)", "None", "{{ x }}", "<NAME>", "<output_dir>", "nan"):
        config = CONFIG.model_copy(
            update={"dataset_id": None, "local_dataset_path": f"/data/{name}", "eval_split": name}
        )
        rerun.emit(sealed.build(Run(tmp_path / name / "run"), until="push", config=config))


def job(run: Run) -> jobs.Job:
    """The verification as emit_rerun_skill starts it, ended."""
    rerun.start(run)
    deadline = time.monotonic() + 20
    while (found := jobs.inspect(run, rerun.JOB)).state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_the_verdict_is_the_metric_within_chance(run):
    rerun.emit(run)
    assert rerun.expected(run) == {"metric": "accuracy", "value": 0.9, "n": 9, "tolerance": 0.2121}
    assert rerun.judge(run, job(run)) == (0.89, [])
    private = snapshot.of(run, rerun.JOB)
    assert str(private.at(snapshot.HUB_CACHE)) in jobs.log_path(run, rerun.JOB).read_text()


@pytest.mark.parametrize(
    ("results", "says"),
    [
        ("{'accuracy': 0.5}", "accuracy 0.5000 instead of 0.9000 ± 0.2121"),
        ("{'accuracy': float('nan')}", "no number"),
        ("{'accuracy': '0.9'}", "no number"),
        ("{'accuracy': None}", "no number"),
        ("{'accuracy': True}", "no number"),
        ("{}", "no number"),
    ],
)
def test_a_metric_that_does_not_agree(run, results, says):
    rerun.emit(run)
    sealed.put(run, {"run_eval.py": SCRIPTS["run_eval.py"].replace("{'accuracy': 0.89}", results)})
    value, problems = rerun.judge(run, job(run))
    assert says in problems[0] and value == (0.5 if "0.5" in results else None)


def test_no_results_although_every_command_passed(run):
    rerun.emit(run)
    sealed.put(run, {"run_eval.py": "pass"})
    assert "no number" in rerun.judge(run, job(run))[1][0]


def test_a_failed_command_is_the_verdict(run):
    rerun.emit(run)
    sealed.put(run, {"infer.py": "raise SystemExit(3)"})
    assert "`python infer.py` failed" in rerun.judge(run, job(run))[1][0]


def test_a_report_that_was_changed_after_the_end(run):
    rerun.emit(run)
    sealed.put(run, {"run_eval.py": SCRIPTS["run_eval.py"].replace("0.89", "0.1")})
    ended = job(run)
    path = run.path / rerun.RERUN_REPORT
    path.write_text(path.read_text().replace("0.1", "0.9"))
    assert "was changed after the verification ended" in rerun.judge(run, ended)[1][0]
    path.unlink()
    assert "left no report" in rerun.judge(run, ended)[1][0]


def test_the_rerun_gets_its_gpus_as_the_stages_did(run):
    assert "GPU_FLAGS" not in rerun.environment(run)
    sealed.build(run, until="host", facts={"host": {"hard_failures": [], "gpu_handover": "cdi"}})
    assert rerun.environment(run)["GPU_FLAGS"] == "--device nvidia.com/gpu=all"


def test_without_the_environment_there_is_nothing_to_verify_with(run):
    sealed.write(run, "stages/build", {**FACTS["stages/build"], "python": "/no/such/python"})
    with pytest.raises(ToolFailure, match="build it again"):
        rerun.command(run)


def test_it_rests_on_the_evaluations_own_number(run):
    assert evidence.read(run, "stages/eval").facts["accuracy"] == rerun.expected(run)["value"]


def test_in_containers_every_command_runs_in_the_image():
    lines = rerun.commands(CONFIG.model_copy(update={"platform": "local-docker", "skip_baseline": True}))
    assert all(line[:3] == ["bash", "in_image.sh", "python"] for line in lines) and not any(
        "baseline" in line for line in lines
    )
