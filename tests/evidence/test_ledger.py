from __future__ import annotations

import json
import os
import shutil

import pytest

from tunegate.errors import ToolFailure
from tunegate.evidence import anchor, ledger
from tunegate.rundir import Run


@pytest.fixture
def run(tmp_path) -> Run:
    found = Run(tmp_path)
    for number in range(3):
        ledger.append(found, "probe_model", {"n": number}, "ok", {"model": f"digest-{number}"})
    return found


def path(run: Run):
    return run.meta / "ledger.jsonl"


def test_the_newest_version_counts(run):
    assert ledger.latest(run) == {"model": "digest-2"}
    assert [entry["seq"] for entry in ledger.entries(run)] == [0, 1, 2]


@pytest.mark.parametrize(
    "tamper",
    [
        lambda lines: lines[1:],
        lambda lines: [lines[0], lines[2]],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [lines[0].replace("digest-0", "digest-9"), *lines[1:]],
        lambda lines: [*lines[:2], lines[2].replace("digest-2", "digest-9")],
        lambda lines: [*lines, json.dumps({"seq": 3, "tool": "push_hub", "wrote": {"push": "x"}})],
        lambda lines: [*lines, "not json"],
    ],
)
def test_a_ledger_that_was_touched_counts_for_nothing(run, tamper):
    path(run).write_text("\n".join(tamper(path(run).read_text().splitlines())) + "\n")
    with pytest.raises(ToolFailure):
        ledger.latest(run)


def test_a_line_cut_off_by_a_kill_never_happened(run):
    with path(run).open("a") as file:
        file.write('{"seq": 3, "tool": "tr')
    assert len(ledger.entries(run)) == 3
    ledger.append(run, "probe_dataset", {}, "ok")
    assert [entry["seq"] for entry in ledger.entries(run)] == [0, 1, 2, 3]


def test_a_copied_ledger_is_set_aside_not_deleted(run, tmp_path_factory):
    copy = Run(tmp_path_factory.mktemp("copy"))
    copy.meta.mkdir()
    path(copy).write_bytes(path(run).read_bytes())
    assert ledger.start_over(copy) and not ledger.start_over(run)
    assert ledger.latest(copy) == {} and (copy.meta / "ledger.foreign-1.jsonl").exists()


@pytest.mark.parametrize("how", ["older", "deleted", "cut to nothing", "of another run"])
def test_a_ledger_that_was_rolled_back_counts_for_nothing_and_is_begun_anew(run, tmp_path_factory, how):
    older = path(run).read_bytes()
    ledger.append(run, "probe_dataset", {}, "ok", {"dataset": "digest"})
    if how == "of another run":
        other = Run(tmp_path_factory.mktemp("other"))
        ledger.append(other, "probe_model", {}, "ok")
        older = path(other).read_bytes()
    path(run).unlink() if how == "deleted" else path(run).write_bytes(b"" if how == "cut to nothing" else older)
    with pytest.raises(ToolFailure, match="older one|is gone|another run|not sealed here"):
        ledger.latest(run)
    assert ledger.start_over(run) and ledger.latest(run) == {}
    ledger.append(run, "probe_model", {}, "ok", {"model": "anew"})
    assert ledger.latest(run) == {"model": "anew"} and not ledger.start_over(run)


def test_a_kill_between_the_line_and_its_anchor_locks_nobody_out(run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(anchor, "write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ledger.append(run, "probe_dataset", {}, "ok", {"dataset": "digest"})
    assert ledger.latest(run) == {"model": "digest-2", "dataset": "digest"} and not ledger.start_over(run)
    ledger.append(run, "audit_gpu", {}, "ok")
    assert len(ledger.entries(run)) == anchor.read(run)["count"] == 5


def test_a_run_that_was_moved_is_the_same_run(run, tmp_path):
    here = Run(tmp_path / "elsewhere/run")
    here.path.parent.mkdir()
    old = Run(tmp_path / "first")
    ledger.append(old, "probe_model", {}, "ok", {"model": "digest"})
    os.rename(old.path, here.path)
    assert ledger.moved_from(here) == old.path and ledger.is_this_run(here, str(old.path))
    assert ledger.latest(here) == {"model": "digest"} and not ledger.start_over(here)
    ledger.append(here, "probe_dataset", {}, "ok", {"dataset": "digest"})
    assert ledger.moved_from(here) is None and len(ledger.entries(here)) == 2
    assert ledger.is_this_run(here, str(old.path)) and not ledger.is_this_run(here, str(run.path))
    again = Run(tmp_path / "third")  # and on from there
    os.rename(here.path, again.path)
    assert len(ledger.entries(again)) == 2
    ledger.append(old, "probe_model", {}, "ok")  # a new run at the first place is another one
    assert not ledger.is_this_run(old, str(again.path)) and len(ledger.entries(again)) == 2


def test_a_run_that_was_rolled_back_and_moved_is_rolled_back(run, tmp_path):
    old = Run(tmp_path / "first")
    ledger.append(old, "probe_model", {}, "ok", {"model": "digest"})
    shutil.copytree(old.path, tmp_path / "kept")
    ledger.append(old, "docker_run", {}, "ok", {"stages/eval": "bad"})
    shutil.rmtree(old.path)
    with pytest.raises(ToolFailure, match="is an older one: it had 2 lines and has 1"):
        ledger.latest(Run(tmp_path / "kept"))


def test_an_old_ledger_is_not_put_back_where_a_new_one_was_about_to_begin(run):
    older = path(run).read_bytes()
    ledger.append(run, "docker_run", {}, "ok", {"stages/eval": "bad"})
    path(run).unlink()
    assert ledger.start_over(run) and ledger.latest(run) == {}  # and then the call is refused, so that no line follows
    path(run).write_bytes(older)
    with pytest.raises(ToolFailure, match="is an older one"):
        ledger.latest(run)


def test_a_run_that_was_moved_is_known_although_another_has_begun_at_its_place(run, tmp_path):
    old, here = Run(tmp_path / "first"), Run(tmp_path / "second")
    ledger.append(old, "probe_model", {}, "ok", {"model": "digest"})
    os.rename(old.path, here.path)
    ledger.start_over(old)
    ledger.append(old, "probe_model", {}, "ok", {"model": "another"})
    assert ledger.latest(here) == {"model": "digest"} and ledger.latest(old) == {"model": "another"}
    ledger.append(here, "probe_dataset", {}, "ok", {"dataset": "digest"})
    assert len(ledger.entries(here)) == 2 and len(ledger.entries(old)) == 1 and ledger.moved_from(here) is None


def test_a_copy_is_not_the_run_while_the_run_is_there(run, tmp_path_factory):
    copy = Run(tmp_path_factory.mktemp("copy") / "run")
    shutil.copytree(run.path, copy.path)
    assert ledger.moved_from(copy) is None
    with pytest.raises(ToolFailure, match="not sealed here"):
        ledger.latest(copy)
    assert ledger.latest(run) == {"model": "digest-2"}


def test_no_token_in_a_line(run):
    ledger.append(run, "probe_model", {"model_id": "hf_" + "x1" * 17}, "ok")
    assert "x1x1" not in path(run).read_text()
