from __future__ import annotations

import hashlib
import json
import shutil

import pytest

from tunegate import evidence
from tunegate.config import RunConfig
from tunegate.evidence import ledger, seal
from tunegate.rundir import Run

CONFIG = RunConfig(model_id="org/m", model_revision="a" * 40, task="image-classification")


def write(run: Run, name: str, facts: dict, **kwargs) -> evidence.Evidence:
    made = evidence.make(run, name, facts, config=CONFIG, **kwargs)
    ledger.append(run, "test", {}, "ok", evidence.write(run, made))
    return made


def problems(run: Run, name: str, config: RunConfig = CONFIG) -> list[str]:
    return evidence.problems(run, name, config, ledger.latest(run))


@pytest.fixture
def run(tmp_path) -> Run:
    found = Run(tmp_path / "run")
    found.path.mkdir()
    (found.path / "weights").write_text("w")
    write(found, "model", {"verdict": "accept"}, files={"weights": hashlib.sha256(b"w").hexdigest()})
    write(found, "dataset", {"verdict": "accept"})
    return found


def forge(forged: Run, name: str, **changes) -> None:
    path = forged.meta / f"{name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_evidence_of_a_tool_counts(run):
    assert problems(run, "model") == [] and problems(run, "dataset") == []


def test_nothing_written_is_nothing_shown(run):
    assert problems(run, "host") == ["has not been written yet"]


def test_written_by_hand(run):
    (run.meta / "stages").mkdir()
    (run.meta / "stages/smoke.json").write_text(json.dumps({"passed": True}))
    assert "unreadable" in problems(run, "stages/smoke")[0]


def test_the_right_shape_without_the_seal(run):
    made = evidence.make(run, "stages/smoke", {"passed": True}, config=CONFIG).model_copy(
        update={"seal": "hmac-sha256:" + "0" * 64}
    )
    evidence.write(run, made)
    assert "not sealed" in problems(run, "stages/smoke")[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"facts": {"verdict": "accept", "more": 1}},
        {"files": {"f": "0"}},
        {"config": {}},
        {"after": {}},
        {"created": "now"},
        {"run": "/elsewhere"},
        {"sources": [{"url": "u", "time": "t"}]},
    ],
)
def test_any_edit_breaks_the_seal(run, changes):
    forge(run, "dataset", **changes)
    assert "not sealed" in problems(run, "dataset")[0]


def test_one_evidence_under_another_name(run):
    shutil.copy(run.meta / "model.json", run.meta / "host.json")
    assert "not sealed" in problems(run, "host")[0]


def test_copied_from_another_run(run, tmp_path):
    copy = Run(tmp_path / "copy")
    shutil.copytree(run.path, copy.path)
    ledger.start_over(copy)
    assert "another run" in evidence.problems(copy, "model", CONFIG, ledger.latest(copy))[0]


def test_an_older_version_put_back(run):
    old = (run.meta / "model.json").read_bytes()
    write(run, "model", {"verdict": "reject"})
    (run.meta / "model.json").write_bytes(old)
    assert "older one" in problems(run, "model")[0]


def test_sealed_but_in_no_ledger(run):
    evidence.write(run, evidence.make(run, "host", {}, config=CONFIG))
    assert "not recorded" in problems(run, "host")[0]


def test_a_changed_value_is_named_old_and_new(run):
    found = problems(run, "model", CONFIG.model_copy(update={"task": "object-detection"}))
    assert found == ['is stale: task was "image-classification", is now "object-detection"']


def test_a_value_that_it_does_not_rest_on_changes_nothing(run):
    assert problems(run, "model", CONFIG.model_copy(update={"n_epochs": 9, "notes": ["x"]})) == []


def test_changed_upstream_facts(run):
    write(run, "model", {"verdict": "accept", "parameters": 2})
    assert problems(run, "dataset") == ["is stale: model evidence has changed since"]


def test_the_same_upstream_facts_written_again_keep_it_fresh(run):
    write(run, "model", {"verdict": "accept"}, sources=[{"url": "http://x", "time": "later"}])
    assert problems(run, "dataset") == []


def test_a_changed_and_a_missing_file(run):
    (run.path / "weights").write_text("other")
    assert problems(run, "model") == ["is stale: weights was changed"]
    (run.path / "weights").unlink()
    assert problems(run, "model") == ["is stale: weights is missing"]


def test_no_secret_in_the_file(run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "z9" * 17)
    write(run, "host", {"log": "token hf_" + "z9" * 17})
    assert "z9z9" not in (run.meta / "host.json").read_text()


def test_every_kind_names_config_keys_that_exist():
    for name, kind in evidence.KINDS.items():
        assert set(kind.config) <= set(RunConfig.model_fields), name
        assert set(kind.after) <= set(evidence.KINDS), name


def test_the_seal_covers_every_field_but_itself():
    fields = set(evidence.Evidence.model_fields) - {"seal"}
    made = evidence.Evidence(name="a", tool="b", run="c", created="d", facts={})
    assert set(made.payload()) == fields and seal.sign(made.payload())
