"""The frame around every call: the lock, the ledger's line, what a refusal leaves behind, a disk that is full."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import sealed
from tests.tiny import TOKEN
from tunegate import evidence, gates, rundir
from tunegate.errors import ToolFailure
from tunegate.evidence import ledger
from tunegate.rundir import Run
from tunegate.tools import base


@pytest.fixture
def run(tmp_path) -> Run:
    return sealed.build(Run(tmp_path / "run"), until="dataset")


def last(run: Run) -> dict:
    return ledger.entries(run)[-1]


def test_a_call_ends_with_one_line(run):
    before = len(ledger.entries(run))
    with base.recorded(run, "audit_gpu", {"output_dir": "run", "unset": None}) as wrote:
        base.keep(run, "host", {"hard_failures": []}, sealed.CONFIG, wrote)
    assert len(ledger.entries(run)) == before + 1
    line = last(run)
    assert (line["tool"], line["outcome"], line["arguments"]) == ("audit_gpu", "ok", {"output_dir": "run"})
    assert line["wrote"] == {"host": evidence.read(run, "host").digest}


def test_a_refused_call_is_recorded_with_its_code_and_with_what_it_wrote_before(run):
    with pytest.raises(ToolFailure), base.recorded(run, "push_hub", {}) as wrote:
        base.keep(run, "host", {}, sealed.CONFIG, wrote)
        raise ToolFailure("unavailable", "no")
    assert last(run)["outcome"] == "unavailable" and set(last(run)["wrote"]) == {"host"}


def test_no_secret_is_in_the_ledger(run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with base.recorded(run, "probe_model", {"confirm": f"use {TOKEN}"}):
        pass
    assert (
        TOKEN not in (run.meta / "ledger.jsonl").read_text() and last(run)["arguments"]["confirm"] == "use <HF_TOKEN>"
    )


def test_a_refused_first_call_takes_only_its_own_directory_away(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("x")
    for name in ("new/run", "mine"):
        with pytest.raises(ToolFailure), base.recorded(Run(tmp_path / name), "probe_model", {}):
            raise ToolFailure("not_found", "no")
    assert not (tmp_path / "new/run").exists() and (tmp_path / "mine/notes.txt").read_text() == "x"


def test_a_second_agent_that_waited_for_a_refused_first_call_begins_the_run(tmp_path, monkeypatch):
    """The refused call takes its new directory away, and with it the lock that the other one waits for."""
    monkeypatch.setattr(rundir, "LOCK_WAIT_S", 1.0)
    run, inside, go, failed = Run(tmp_path / "run"), threading.Event(), threading.Event(), []

    def refused():
        try:
            with base.recorded(run, "probe_model", {}):
                inside.set()
                go.wait(10)
                raise ToolFailure("not_found", "no such model")
        except ToolFailure as failure:
            failed.append(failure.code)

    first = threading.Thread(target=refused)
    first.start()
    assert inside.wait(10)
    threading.Timer(0.2, go.set).start()
    with base.recorded(run, "probe_model", {}):
        run.save_config(sealed.CONFIG)
        with pytest.raises(ToolFailure) as error, rundir.lock(run, "a third"):
            pass
    first.join()
    assert failed == ["not_found"] and error.value.code == "run_locked" and run.config() == sealed.CONFIG


def test_a_lock_on_a_file_that_was_taken_away_meanwhile_is_no_lock(run, monkeypatch):
    real, taken = rundir.fcntl.flock, []

    def flock(file, how):
        if not taken:
            (run.meta / ".lock").unlink()  # between this call's open and its lock
            taken.append(True)
        real(file, how)

    monkeypatch.setattr(rundir.fcntl, "flock", flock)
    monkeypatch.setattr(rundir, "LOCK_WAIT_S", 0.2)
    with rundir.lock(run, "first"), pytest.raises(ToolFailure, match="first"), rundir.lock(run, "second"):
        pass


def test_a_defect_lets_go_of_the_run(run):
    with pytest.raises(ZeroDivisionError), base.recorded(run, "audit_gpu", {}):
        raise ZeroDivisionError
    with base.recorded(run, "audit_gpu", {}):
        pass


def test_a_copied_run_begins_a_ledger_of_its_own(run, tmp_path):
    copy = Run(tmp_path / "copy")
    os.rename(run.path, copy.path)
    with base.recorded(copy, "probe_model", {}):
        pass
    assert len(ledger.entries(copy)) == 1 and (copy.meta / "ledger.foreign-1.jsonl").exists()


def test_evidence_that_is_missing_names_its_tool_and_its_gate(run):
    base.require_evidence(run, "model", "dataset", tool="x")
    with pytest.raises(ToolFailure) as error:
        base.require_evidence(run, "model", "stages/smoke", tool="docker_run")
    failure = error.value.failure
    assert failure.gate == 4 and failure.next.tool == "docker_run" and failure.next.arguments["stage"] == "smoke"
    assert failure.missing == ["stages/smoke: has not been written yet"]


def test_the_seams_are_made_once_and_when_they_are_needed(tmp_path):
    made = []
    workspace = base.Workspace(tmp_path, make_hub=lambda: made.append("hub") or SimpleNamespace())
    assert made == [] and workspace.hub is workspace.hub and made == ["hub"]


def test_a_workspace_finds_only_what_lies_below_its_root(run, tmp_path):
    assert base.Workspace(tmp_path).run("run") == run
    for output_dir, code in (("other", "not_found"), ("../x", "outside_root")):
        with pytest.raises(ToolFailure) as error:
            base.Workspace(tmp_path).run(output_dir)
        assert error.value.code == code


@pytest.fixture
def full(monkeypatch):
    """full(part): from now on every file whose path has `part` in it finds the disk full; full(None): space again."""
    real, where = os.fsync, {"part": None}

    def fsync(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if where["part"] is not None and where["part"] in path:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return lambda part: where.update(part=part)


def snapshot(run: Run) -> dict[str, bytes]:
    return {
        p.name: p.read_bytes() for p in run.path.rglob("*") if p.is_file() and p.name not in (".lock", "ledger.jsonl")
    }


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names a descriptor's file by /proc")
@pytest.mark.parametrize("part", ["/meta/.host.json", "config.yaml", "/run/"])
def test_a_full_disk_keeps_every_file_whole(run, full, part):
    before = snapshot(run)
    full(part)
    with pytest.raises(ToolFailure) as error, base.recorded(run, "audit_gpu", {}) as wrote:
        run.save_config(sealed.CONFIG)
        base.keep(run, "host", {"hard_failures": []}, sealed.CONFIG, wrote)
    assert error.value.code == "disk_full" and "free disk space" in str(error.value)
    assert snapshot(run) == before  # no evidence, nothing half-written, no temporary file
    full(None)
    assert all(entry["wrote"].keys() <= {"model", "dataset"} for entry in ledger.entries(run))
    with base.recorded(run, "audit_gpu", {}) as wrote:
        base.keep(run, "host", {"hard_failures": []}, sealed.CONFIG, wrote)
    assert gates.view(run).problems("host") == []


def test_not_even_the_lock_can_be_written(run, monkeypatch):
    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(ToolFailure) as error, base.recorded(run, "audit_gpu", {}):
            pass
    assert error.value.code == "disk_full"
    with base.recorded(run, "audit_gpu", {}):  # it did not keep the lock
        pass


def test_a_line_cut_off_by_a_full_disk_is_dropped_by_the_next_call(run):
    path = run.meta / "ledger.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"seq":99,"tool":"audi')
    assert len(ledger.entries(run)) == whole.count(b"\n")
    assert path.read_bytes() != whole  # a reader holds no lock: it must not cut what another call is writing
    with base.recorded(run, "audit_gpu", {}):
        pass
    assert last(run)["tool"] == "audit_gpu" and path.read_bytes().startswith(whole)
