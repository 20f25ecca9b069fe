"""Each gate: open on what its tools write, closed on anything else. Every check's evidence is forged in four ways."""

from __future__ import annotations

import json
import shutil

import pytest

from tests import sealed
from tests.sealed import CONFIG, FACTS, build, write
from tunegate import evidence, gates
from tunegate.errors import ToolFailure
from tunegate.project.render import HEADER
from tunegate.rundir import Run
from tunegate.stage_table import STAGES

GATE_OF = {
    "model": 1,
    "dataset": 1,
    "host": 2,
    "image": 2,
    "recipe": 3,
    "project": 4,
    "push": 6,
    "rerun": 6,
    **{f"stages/{name}": row.gate + 1 for name, row in STAGES.items()},
}
OPTIONAL = {
    f"stages/{name}" for name, row in STAGES.items() if not row.applies(CONFIG)
}  # evidence that only some runs have


@pytest.fixture
def run(tmp_path) -> Run:
    return build(Run(tmp_path / "run"))


def passed(run: Run) -> list[int]:
    return [step.step for step in gates.steps(gates.view(run)) if step.passed]


def test_a_complete_run_opens_all_six(run):
    assert passed(run) == [1, 2, 3, 4, 5, 6] and gates.next_call(gates.view(run)) is None
    gates.require(run, 6, "anything")


def test_evidence_is_refused_by_the_gate_that_reads_it(run):
    view = gates.view(run)
    found = {name: gates.gate_of(view, name) for name in evidence.KINDS}
    assert [found[name] for name in ("model", "host", "recipe", "project", "push", "rerun")] == [1, 2, 3, 4, 6, 6]
    config = view.config
    assert {n: found[f"stages/{n}"] for n, row in STAGES.items() if row.applies(config)} == {
        n: row.gate + 1 for n, row in STAGES.items() if row.applies(config)
    }


def test_every_kind_of_evidence_belongs_to_a_gate():
    assert set(GATE_OF) == set(evidence.KINDS) == {*FACTS, *OPTIONAL}


def test_an_adapter_must_have_been_merged_and_its_evidence_is_no_ones_word(tmp_path):
    adapted = CONFIG.model_copy(update={"training_method": "lora"})
    run = build(Run(tmp_path / "run"), config=adapted)
    assert passed(run) == [1, 2, 3, 4] and gates.next_call(gates.view(run)).arguments["stage"] == "merge"
    write(run, "stages/merge", {"passed": False, "problems": ["no effect"]}, adapted)
    assert passed(run) == [1, 2, 3, 4]
    path = run.meta / "stages/merge.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "facts": {"passed": True}}))
    assert passed(run) == [1, 2, 3, 4]
    write(run, "stages/merge", {"passed": True}, adapted)
    assert passed(run) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", FACTS)
def test_forged_evidence_closes_its_gate(run, name, tmp_path):
    path, gate = run.meta / f"{name}.json", GATE_OF[name]
    honest = path.read_text()
    other = build(Run(tmp_path / "other"))
    forgeries = {
        "written by hand": json.dumps({"name": name, "facts": FACTS[name]}),
        "edited": honest.replace('"created": "', '"created": "1'),
        "copied from another run": (other.meta / f"{name}.json").read_text(),
        "deleted": None,
    }
    for kind, text in forgeries.items():
        path.unlink() if text is None else path.write_text(text)
        assert passed(run) == list(range(1, gate)), kind  # and with it every gate behind it
        with pytest.raises(ToolFailure) as error:
            gates.require(run, gate, "push_hub")
        refusal = error.value.failure
        assert refusal.gate == gate and refusal.missing and refusal.next.tool == evidence.KINDS[name].tool, kind
        assert dict(evidence.KINDS[name].arguments).items() <= refusal.next.arguments.items()
        path.write_text(honest)
    assert gate in passed(run)


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("model", {"verdict": "reject", "reasons": ["no"]}),
        ("dataset", {"verdict": "reject"}),
        ("host", {"hard_failures": ["no disk"]}),
        ("host", {}),
        ("image", {}),
        ("recipe", {**FACTS["recipe"], "slots": {}}),
        ("stages/smoke", {"passed": False, "problems": ["loss 0.0"]}),
        ("stages/train", {"passed": False}),
        ("stages/eval", {}),
        ("push", {"verified": False}),
        ("rerun", {"valid": False}),
    ],
)
def test_sealed_evidence_that_says_no_closes_its_gate(run, name, facts):
    write(run, name, facts)
    assert passed(run) == list(range(1, GATE_OF[name]))


@pytest.mark.parametrize(
    ("key", "value", "closed"),
    [
        ("model_id", "org/other", 1),
        ("dataset_id", "org/other", 1),
        ("task", "object-detection", 1),
        ("class_names", ["b", "a"], 1),
        ("ngc_image", "x", 2),
        ("learning_rate", 0.5, 4),
        ("n_eval", 7, 4),
        ("seed", 7, 4),
        ("hf_model_repo", "me/other", 6),
        ("notes", ["x"], 7),
    ],
)
def test_an_edited_value_closes_the_first_gate_that_rests_on_it(run, key, value, closed):
    run.save_config(CONFIG.model_copy(update={key: value}))
    assert passed(run) == list(range(1, closed))


def test_an_edited_script_is_told_and_a_missing_header_refused(run):
    (run.path / "train.py").write_text(HEADER + "\nprint(1)\n")
    check = next(c for c in gates.steps(gates.view(run))[3].checks if c.name == "project_files")
    assert check.ok and "edited since rendering: train.py" in check.detail
    (run.path / "train.py").write_text("print(1)\n")
    assert 4 not in passed(run)


def test_a_script_that_is_itself_a_check_may_not_be_edited(run):
    write(run, "project", {**FACTS["project"], "guarded": ["train.py"]})
    assert 4 in passed(run)
    (run.path / "train.py").write_text(HEADER + "\nprint(1)\n")
    assert 4 not in passed(run)


@pytest.mark.parametrize("guarded", [True, False])
def test_a_link_in_place_of_a_rendered_file_closes_the_gate(run, tmp_path, guarded):
    """Nobody hashes what it points to."""
    sealed.rendered(run, {"run_eval.py": HEADER})
    facts = {**sealed.project(run), "guarded": ["run_eval.py"] if guarded else []}
    sealed.write(run, "project", facts, run.config())
    other = tmp_path / "other.py"
    other.write_text(HEADER)
    (run.path / "run_eval.py").unlink()
    (run.path / "run_eval.py").symlink_to(other)
    check = next(c for c in gates.steps(gates.view(run))[3].checks if c.name == "project_files")
    assert not check.ok and "run_eval.py is a link" in check.detail


def test_preflight_names_the_gpus(run):
    config = CONFIG.model_copy(update={"gpu_count": 2, "gpu_name": "NVIDIA H100", "driver_major": 580})
    facts = {"host": {"hard_failures": [], "gpu_count": 2, "compute_capability": "9.0"}}
    build(run, until="host", config=config, facts=facts)
    assert gates.preflight(gates.view(run))["hardware"] == "2x NVIDIA H100 (compute capability 9.0)"


def test_preflight_says_where_the_data_can_be_seen_and_what_changed_since(run):
    page = str(run.path / "reports/data.html")
    assert gates.preflight(gates.view(run))["data"] == f"{page}: to be looked at"
    run.save_config(run.config().model_copy(update={"image_size": 96}))
    assert gates.preflight(gates.view(run))["data"] == f"{page} (drawn with image_size None): to be looked at"


def test_a_blank_preflight_field_keeps_gate_4_closed(run):
    run.save_config(CONFIG.model_copy(update={"hf_model_repo": None}))
    view = gates.view(run)
    assert gates.preflight(view)["push_to_hub"] == "" and not gates.steps(view)[3].passed


def test_no_push_and_no_baseline_only_where_the_config_says_so(run):
    config = CONFIG.model_copy(update={"push_to_hub": False, "skip_baseline": True})
    (run.meta / "push.json").unlink()
    (run.meta / "stages/baseline.json").unlink()
    assert passed(run) == [1, 2, 3, 4]
    run.save_config(config)
    write(run, "rerun", FACTS["rerun"], config)
    assert passed(run) == [1, 2, 3, 4]  # eval was one with a baseline: run it as one without
    write(run, "stages/eval", FACTS["stages/eval"], config)
    assert passed(run) == [1, 2, 3, 4, 5, 6]


def test_a_broken_ledger_closes_everything_and_says_so(run):
    path = run.meta / "ledger.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[1:]) + "\n")
    view = gates.view(run)
    assert passed(run) == [] and "lines were removed" in view.ledger_problem
    assert gates.next_call(view).tool == "probe_model"


def test_a_copied_run_keeps_its_record_and_is_verified_again(run, tmp_path):
    copy = Run(tmp_path / "copy")
    shutil.copytree(run.path, copy.path)
    assert passed(copy) == [] and gates.next_call(gates.view(copy)).tool == "probe_model"
    assert (copy.meta / "stages/train.json").exists()
