"""What a run has only where it is asked for: pins, the monitoring's environment, and a key that is written nowhere."""

from __future__ import annotations

import pytest

from tests import sealed
from tests.sealed import CONFIG, script
from tests.stages.test_stages import end
from tunegate import jobs, stages
from tunegate.hardware import host
from tunegate.platforms.local_process.platform import LocalProcess
from tunegate.project import extras
from tunegate.rundir import Run
from tunegate.stage_table import STAGES

KEY = "wandb-key-0123456789abcdef"
WANDB = CONFIG.model_copy(update={"monitoring": "wandb"})
LIST = "transformers==5.23.0\npillow==13.0.0\n"


def test_nothing_is_pinned_that_is_not_on():
    assert extras.requirements(CONFIG, LIST) == LIST


def test_a_pin_is_added_or_takes_the_place_of_the_packages_own():
    found = extras.requirements(CONFIG.model_copy(update={"monitoring": "trackio", "emit_unit_tests": True}), LIST)
    lines = [line for line in found.splitlines() if not line.startswith("#")]
    assert [line.partition("==")[0] for line in lines] == ["transformers", "pillow", "pytest", "trackio"]
    assert "pillow==13" not in found  # trackio refuses it


@pytest.mark.parametrize(("mode", "needed"), [(None, True), ("online", True), ("offline", False), ("disabled", False)])
def test_the_audit_says_whether_the_key_is_there_and_no_more(tmp_path, monkeypatch, mode, needed):
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    facts = host.audit(WANDB, tmp_path, LocalProcess().audit, token_present=True)
    missing = [failure for failure in facts.hard_failures if "WANDB_API_KEY" in failure]
    assert bool(missing) == needed == ("WANDB_API_KEY" in facts.credentials)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    facts = host.audit(WANDB, tmp_path, LocalProcess().audit, token_present=True)
    assert not [failure for failure in facts.hard_failures if "WANDB" in failure] and KEY not in facts.model_dump_json()
    assert "WANDB_API_KEY" not in host.audit(CONFIG, tmp_path, LocalProcess().audit, token_present=True).credentials


def test_only_the_training_is_monitored(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_PROJECT", "shapes")
    for stage in stages.STAGES:
        monitored = stage == "train"
        assert extras.secrets(WANDB, stage) == (("WANDB_API_KEY",) if monitored else ())
        assert extras.environment(WANDB, stage) == (
            {"WANDB_PROJECT": "shapes"} if monitored else {"WANDB_MODE": "disabled"}
        )
        assert extras.secrets(CONFIG, stage) == () and extras.environment(CONFIG, stage) == {}
        assert not monitored or STAGES[stage].network  # else it had no network


def test_the_key_reaches_the_training_alone_and_is_written_nowhere(tmp_path, monkeypatch, own_code):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    run = sealed.build(Run(tmp_path / "run"), until="stages/smoke", config=WANDB)
    tell = script("import os; print('key:', os.environ.get('WANDB_API_KEY'), 'mode:', os.environ.get('WANDB_MODE'))")
    sealed.put(run, {"train.py": tell, "harness/smoke.py": tell})
    for stage, said in (("train", "key: <WANDB_API_KEY> mode: None"), ("smoke", "key: None mode: disabled")):
        stages.start(run, WANDB, stage)
        stages.collect(run, WANDB, end(run, stage))
        assert jobs.log_tail(run, stage) == [said]
    written = [path for path in run.path.rglob("*") if path.is_file()]
    assert len(written) > 10 and not [path for path in written if KEY.encode() in path.read_bytes()]
