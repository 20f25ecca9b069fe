"""The private folder of a stage: what it is filled with, what of it is shown in the run, and what an agent can do to either."""

from __future__ import annotations

import hashlib
import os

import pytest

from tests.sealed import put
from tunegate.errors import ToolFailure
from tunegate.jobs import snapshot
from tunegate.rundir import Run


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def run(tmp_path) -> Run:
    found = snapshot.of(Run(tmp_path / "run"), "eval")
    put(found, {"data/eval/0.arrow": "rows", "run_eval.py": "edited", "notes.txt": "x", "config.yaml": ""})
    return found


def laid(run: Run) -> dict[str, str]:
    return {name: run.at(name).read_text() for name in snapshot.matching(run.work, ("**/*",))}


def test_it_holds_what_was_named_and_nothing_else(run):
    snapshot.lay(run, {"run_eval.py": "as rendered"}, {"data/eval/0.arrow": sha("rows"), "run_eval.py": sha("edited")})
    assert laid(run) == {"data/eval/0.arrow": "rows", "run_eval.py": "as rendered"}
    assert not run.work.is_relative_to(run.path) and run.work.stat().st_mode & 0o077 == 0
    put(run, {"data/eval/0.arrow": "other rows"})  # a change in the run is none here
    assert laid(run)["data/eval/0.arrow"] == "rows"
    snapshot.lay(run, {}, {})
    assert laid(run) == {}


def test_a_file_that_is_not_what_the_evidence_names_is_not_taken(run):
    with pytest.raises(ToolFailure, match="data/eval/0.arrow in .* was changed while it was read"):
        snapshot.lay(run, {}, {"data/eval/0.arrow": sha("what the gates saw")})


@pytest.mark.parametrize("name", ["data/eval/0.arrow", "data/eval", "data"])
def test_no_link_is_followed_on_the_way_in(run, tmp_path, name):
    put(Run(tmp_path / "other"), {"0.arrow": "rows", "eval/0.arrow": "rows"})
    os.rename(run.path / "data", tmp_path / "moved")
    if name != "data":
        os.rename(tmp_path / "moved", run.path / "data")
        os.rename(run.path / name, tmp_path / "moved")
    (run.path / name).symlink_to(tmp_path / "moved")
    with pytest.raises(ToolFailure, match="symlink"):
        snapshot.lay(run, {}, {"data/eval/0.arrow": sha("rows")})


@pytest.mark.parametrize("planted", ["link", "hard link", "pipe"])
def test_what_is_shown_replaces_what_lies_there_and_nothing_outside(run, tmp_path, planted):
    snapshot.lay(run, {}, {})
    (victim := tmp_path / "victim").write_text("mine")
    target = run.path / "reports/eval_results.json"
    target.parent.mkdir()
    if planted == "link":
        target.symlink_to(victim)
    elif planted == "hard link":
        os.link(victim, target)
    else:
        os.mkfifo(target)
    run.at("reports/eval_results.json").write_text("made")
    put(run, {"reports/eval_old.json": "of an earlier start", "reports/other.json": "x"})
    assert snapshot.publish(run, ("reports/eval_*",)) == {"reports/eval_results.json": sha("made")}
    assert victim.read_text() == "mine" and target.read_text() == "made"
    assert sorted(path.name for path in target.parent.iterdir()) == ["eval_results.json", "other.json"]


def test_a_folder_that_is_a_link_is_not_written_into(run, tmp_path):
    snapshot.lay(run, {}, {})
    (tmp_path / "elsewhere").mkdir()
    (run.path / "reports").symlink_to(tmp_path / "elsewhere")
    run.at("reports/eval_results.json").write_text("made")
    with pytest.raises(ToolFailure, match="reports is a symlink"):
        snapshot.publish(run, ("reports/eval_*",))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_logs_are_shown_while_they_grow(run):
    snapshot.lay(run, {}, {})
    log, seen = run.at("logs/train.jsonl"), {}
    for text in ("1\n", "1\n2\n"):
        log.write_text(text)
        snapshot.show(run, ("logs/*.jsonl",), seen)
        assert (run.path / "logs/train.jsonl").read_text() == text
    (run.path / "logs/train.jsonl").unlink()
    snapshot.show(run, ("logs/*.jsonl",), seen)
    assert not (run.path / "logs/train.jsonl").exists()  # nothing new


def test_what_a_stage_downloads_lasts_and_that_of_the_rows_is_apart(run):
    prepare, smoke = (snapshot.of(run, stage) for stage in ("prepare", "smoke"))
    assert snapshot.hub(smoke) == snapshot.hub(run) != snapshot.hub(prepare)
    for found in (prepare, smoke):
        snapshot.lay(found, {}, {})
        (snapshot.hub(found) / "blob").write_text("downloaded")
        snapshot.lay(found, {}, {})
        assert (snapshot.hub(found) / "blob").exists()


def test_what_is_private_to_a_run_that_is_gone_is_removed(run, monkeypatch):
    snapshot.lay(run, {}, {})
    other = snapshot.of(Run(run.path.parent / "other"), "eval")
    snapshot.lay(other, {}, {})
    monkeypatch.setattr(snapshot, "FORGOTTEN_S", -1)
    snapshot.lay(run, {}, {})
    assert run.work.exists() and not other.work.exists()
