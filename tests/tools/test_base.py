"""The frame around every call: the lock, the ledger's line, what a refusal leaves behind, a disk that is full."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from functools import partial
from inspect import iscoroutinefunction
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest

from tests import sealed
from tests.tiny import TOKEN
from tunegate import evidence, gates, nofollow, rundir
from tunegate.errors import ToolFailure
from tunegate.evidence import ledger
from tunegate.rundir import Run
from tunegate.tools import base
from tunegate.tools.answer import content_of


@pytest.fixture
def run(tmp_path) -> Run:
    return sealed.build(Run(tmp_path / "run"), until="dataset")


def last(run: Run) -> dict:
    return ledger.entries(run)[-1]


def host_evidence(run: Run) -> dict[str, str]:
    return evidence.write(run, evidence.make(run, "host", {"hard_failures": []}, config=sealed.CONFIG))


def test_a_call_ends_with_one_line(run):
    before = len(ledger.entries(run))
    with base.recorded(run, "audit_gpu", {"output_dir": "run", "unset": None}) as wrote:
        wrote.update(host_evidence(run))
    assert len(ledger.entries(run)) == before + 1
    line = last(run)
    assert (line["tool"], line["outcome"], line["arguments"]) == ("audit_gpu", "ok", {"output_dir": "run"})
    assert line["wrote"] == {"host": evidence.read(run, "host").digest}


def test_a_refused_call_is_recorded_with_its_code_and_with_what_it_wrote_before(run):
    with pytest.raises(ToolFailure), base.recorded(run, "push_hub", {}) as wrote:
        wrote.update(host_evidence(run))
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
    real, taken = nofollow.lock, []

    def lock(file):
        if not taken:
            (run.meta / ".lock").unlink()  # between this call's open and its lock
            taken.append(True)
        return real(file)

    monkeypatch.setattr(nofollow, "lock", lock)
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
    shutil.copytree(run.path, copy.path)
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
        wrote.update(host_evidence(run))
    assert error.value.code == "disk_full" and "free disk space" in str(error.value)
    assert snapshot(run) == before  # no evidence, nothing half-written, no temporary file
    full(None)
    assert all(entry["wrote"].keys() <= {"model", "dataset"} for entry in ledger.entries(run))
    with base.recorded(run, "audit_gpu", {}) as wrote:
        wrote.update(host_evidence(run))
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


@pytest.fixture
def declared(monkeypatch, tmp_path):
    """declared(body, **how): the body as a tool, ready to be called with its arguments."""
    monkeypatch.setattr(base, "TOOLS", [])
    ctx = SimpleNamespace(request_context=SimpleNamespace(lifespan_context=base.Workspace(tmp_path)))

    def declare(body, **how):
        base.tool("A toy", **how)(body)
        made = partial(base.TOOLS[-1].function, ctx)
        return lambda **arguments: (
            made(**arguments) if not iscoroutinefunction(body) else anyio.run(partial(made, **arguments))
        )

    return declare


class Toy(base.Result):
    seen: str


def test_a_tool_finds_its_run_holds_it_records_itself_and_says_what_comes_next(run, declared):
    def audit_gpu(call: base.Call, output_dir: str, size: int = 1, confirm: str | None = None) -> Toy:
        """Toy."""
        with pytest.raises(ToolFailure, match="audit_gpu"), rundir.lock(call.run, "another"):
            pass
        call.line["approved"] = "yes"
        call.record_evidence("host", {"hard_failures": []}, sealed.CONFIG)
        return Toy(seen="x")

    before = len(ledger.entries(run))
    said = content_of(declared(audit_gpu)(output_dir="run", size=2, confirm="yes"))
    assert said["output_dir"] == str(run.path) and said["next"]["tool"] == "pick_ngc_image"  # host holds by now
    assert len(ledger.entries(run)) == before + 1
    assert (
        last(run)["arguments"] == {"output_dir": "run", "size": 2, "approved": "yes"} and "host" in last(run)["wrote"]
    )


def test_a_read_only_tool_leaves_no_trace_and_a_body_may_set_next(run, declared):
    def diagnose(call: base.Call, output_dir: str) -> Toy:
        return Toy(seen="x", next=None)

    before = snapshot(run), len(ledger.entries(run))
    assert content_of(declared(diagnose, read_only=True)(output_dir="run"))["next"] is None
    assert (snapshot(run), len(ledger.entries(run))) == before


def test_a_body_that_asks_for_the_gates_sees_its_own_line(run, declared):
    def audit_gpu(call: base.Call, output_dir: str) -> Toy:
        call.record_evidence("host", {"hard_failures": []}, sealed.CONFIG)
        return lambda seen: Toy(seen=str(seen.problems("host")))

    assert content_of(declared(audit_gpu)(output_dir="run"))["seen"] == "[]"


def test_an_async_body_holds_the_run_only_while_it_says_so(run, declared):
    async def docker_run(call: base.Call, output_dir: str, wait_s: float = 1.0) -> Toy:
        with rundir.lock(call.run, "another"):
            pass
        with call.recorded():
            call.record_evidence("host", {}, sealed.CONFIG)
        return Toy(seen=str(call.wrote.keys()))

    assert "host" in content_of(declared(docker_run)(output_dir="run", wait_s=3))["seen"]
    assert last(run)["arguments"] == {"output_dir": "run"} and last(run)["tool"] == "docker_run"


def test_a_tool_that_begins_a_run_names_it_after_the_model(tmp_path, declared):
    def probe_model(call: base.Call, model_id: str, output_dir: str | None = None) -> Toy:
        call.run.save_config(sealed.CONFIG)
        return Toy(seen=call.again("it runs", deep=True).model_dump_json())

    said = content_of(declared(probe_model, begins_run=True)(model_id="org/vit", output_dir=None))
    assert said["output_dir"] == str(tmp_path / "output/vit")
    assert '"deep":true' in said["seen"] and '"follow":true' in said["seen"] and '"model_id":"org/vit"' in said["seen"]
