from __future__ import annotations

import json

import pytest

from tunegate.errors import ToolFailure
from tunegate.evidence import ledger
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


def test_no_token_in_a_line(run):
    ledger.append(run, "probe_model", {"model_id": "hf_" + "x1" * 17}, "ok")
    assert "x1x1" not in path(run).read_text()
