"""The process beside a stage, run in the foreground: what test_jobs.py sees only from outside."""

from __future__ import annotations

import json
import sys

import pytest

from tunegate import jobs, runner, seal
from tunegate.rundir import Run, file_sha256


@pytest.fixture
def run(tmp_path) -> Run:
    found = Run(tmp_path / "run")
    (found.path / "logs").mkdir(parents=True)
    return found


def prepare(run: Run, code: str, forged: dict | None = None):
    where = jobs.directory(run, "train")
    where.mkdir(parents=True)
    spec = {
        "id": "1",
        "run": str(run.path),
        "stage": "train",
        "argv": [sys.executable, "-c", code],
        "makes": ["out/*"],
    }
    spec = {**spec, "seal": seal.sign(spec), **(forged or {})}
    (where / "spec.json").write_text(json.dumps(spec))
    return where


def result(where) -> dict:
    found = json.loads((where / "result.json").read_text())
    signature = found.pop("seal")
    assert seal.verify(found, signature)
    return found


def test_the_result_is_sealed_and_names_exactly_what_the_stage_made(run):
    where = prepare(
        run,
        "import os; os.mkdir('out'); open('out/a', 'w').write('a'); open('b', 'w').write('b'); os.symlink('/etc/passwd', 'out/l')",
    )
    assert runner.main(where) == 0
    found = result(where)
    assert found["made"] == {"out/a": file_sha256(run.path / "out/a")}  # not b: not asked for; not the symlink
    assert found["exit_code"] == 0 and found["id"] == "1" and found["run"] == str(run.path)


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137), ("1 / 0", 1)],
)
def test_exit_codes_are_counted_as_a_shell_counts(run, code, exit_code):
    where = prepare(run, code)
    assert runner.main(where) == 0 and result(where)["exit_code"] == exit_code


def test_both_streams_are_in_the_log_and_no_secret_is(run, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "k1k2k3k4k5")
    where = prepare(
        run,
        "import os, sys; print('out', os.environ['WANDB_API_KEY'], flush=True); print('hf_' + 'z' * 30, file=sys.stderr)",
    )
    runner.main(where)
    assert jobs.log_path(run, "train").read_text() == "out <WANDB_API_KEY>\n<HF_TOKEN>\n"


def test_a_log_without_end_is_cut_and_the_stage_goes_on(run, monkeypatch):
    monkeypatch.setattr(runner, "MAX_LOG_BYTES", 10_000)
    code = (
        "import os; [print('x' * 99) for _ in range(5000)]; print('x' * 200_000); os.mkdir('out'); open('out/a', 'w')"
    )
    where = prepare(run, code + "; print('the reason')")
    runner.main(where)
    assert sum(path.stat().st_size for path in (run.path / "logs").iterdir()) < 2 * (10_000 + runner.MAX_LINE_BYTES)
    assert jobs.log_tail(run, "train")[-1] == "the reason"  # the end is kept: there the reason of a failure stands
    assert result(where)["exit_code"] == 0 and "out/a" in result(where)["made"]


def test_bytes_that_are_no_text(run):
    where = prepare(run, r"import os; os.write(1, b'\xff\xfe ok\n')")
    runner.main(where)
    assert "ok" in jobs.log_path(run, "train").read_text()


@pytest.mark.parametrize("forged", [{"argv": ["/bin/true"]}, {"run": "/"}, {"makes": ["**"]}, {"seal": "x"}])
def test_what_the_server_did_not_seal_is_not_run(run, forged, capsys):
    where = prepare(run, "open('ran', 'w')", forged)
    assert runner.main(where) == 2 and not (where / "result.json").exists() and not (run.path / "ran").exists()
    assert "not sealed" in capsys.readouterr().err
