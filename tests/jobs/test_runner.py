"""The process beside a stage, run in the foreground: what test_jobs.py sees only from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tunegate import jobs
from tunegate.evidence import seal
from tunegate.jobs import runner
from tunegate.rundir import Run, file_sha256


@pytest.fixture
def run(tmp_path) -> Run:
    found = Run(tmp_path / "run")
    (found.path / "logs").mkdir(parents=True)
    return found


def prepare(run: Run, code: str, forged: dict | None = None, container: str | None = None):
    where = jobs.directory(run, "train")
    where.mkdir(parents=True)
    spec = {
        "id": "1",
        "run": str(run.path),
        "work": str(run.path),
        "stage": "train",
        "argv": [sys.executable, "-c", code],
        "makes": ["out/*"],
        "container": container,
        "resting_on": {},
        "files": {},
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


def test_the_result_says_what_the_stage_took_of_the_cores_but_not_for_a_container(run):
    where = prepare(run, "import time\nwhile time.process_time() < 0.5: pass")
    assert runner.main(where) == 0 and 0.5 <= result(where)["cpu_seconds"] < 5
    spec = json.loads((where / "spec.json").read_text()) | {"container": "abc"}
    del spec["seal"]
    (where / "spec.json").write_text(json.dumps({**spec, "seal": seal.sign(spec)}))
    assert runner.main(where) == 0 and "cpu_seconds" not in result(where)


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


@pytest.mark.parametrize("around", [runner.PIECE_BYTES, runner.MAX_LINE_BYTES])
def test_a_secret_across_a_boundary_of_what_is_read_is_not_in_the_log(run, monkeypatch, around):
    secret = "sEcReT-k1k2k3k4k5k6k7k8"
    monkeypatch.setenv("WANDB_API_KEY", secret)
    offsets = range(around - len(secret) - 1, around + 2)
    where = prepare(
        run, f"import os\nfor at in {offsets!r}: print('a' * at + os.environ['WANDB_API_KEY'] + 'a' * {3 * around})"
    )
    runner.main(where)
    lines = jobs.log_path(run, "train").read_text().splitlines()
    assert lines == ["a" * at + "<WANDB_API_KEY>" + "a" * 3 * around for at in offsets]


def test_a_secret_written_in_two_parts_with_a_pause_is_not_in_the_log(run, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "sEcReT-k1k2k3k4k5k6k7k8")
    code = "import os, time; s = os.environ['WANDB_API_KEY']; print('x'); print(s[:9], end='', flush=True); time.sleep(0.3); print(s[9:])"
    runner.main(prepare(run, code))
    assert jobs.log_path(run, "train").read_text() == "x\n<WANDB_API_KEY>\n"


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


# -- stops, kills, full disks


FOLLOWER = """import os, signal, sys
open("tries", "a").write("x")
tries = len(open("tries").read())
print("try", tries, sys.argv[1:], flush=True)
if tries < 3:
    os.kill(os.getpid(), 9)
sys.exit(5)
"""


def test_a_follower_that_is_killed_is_started_again_and_its_container_has_not_failed(run):
    where = prepare(run, FOLLOWER, container="inputs")
    assert runner.main(where) == 0 and result(where)["exit_code"] == 5
    assert jobs.log_path(run, "train").read_text() == "try 3 []\n"  # it tells everything from the beginning


def test_a_follower_that_is_killed_while_it_stops_the_container_goes_on_stopping_it(run):
    where, stopping = prepare(run, FOLLOWER, container="inputs"), threading.Event()
    stopping.set()
    assert runner.main(where, stopping) == 0
    assert "['stop']" in jobs.log_path(run, "train").read_text()


def test_a_follower_that_cannot_stay_alive_is_no_result(run, capsys):
    where = prepare(run, "import os; os.kill(os.getpid(), 9)", container="inputs")
    assert runner.main(where) == 1 and not (where / "result.json").exists()
    assert "killed again and again" in capsys.readouterr().err


def test_a_stop_is_passed_on_once_and_its_end_is_the_result(run):
    code = """import os, signal, sys, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
print("ready", flush=True)
while not asked: time.sleep(0.01)
time.sleep(0.5)
os.mkdir("out"); open("out/a", "w").write(str(len(asked)))
sys.exit(75)"""
    where, stopping = prepare(run, code), threading.Event()
    process = threading.Timer(0.5, stopping.set)
    process.start()
    assert runner.main(where, stopping) == 0 and result(where)["exit_code"] == 75
    assert (run.path / "out/a").read_text() == "1" and "out/a" in result(where)["made"]


def test_a_stage_that_does_not_end_is_killed_after_the_grace(run, monkeypatch):
    monkeypatch.setattr(jobs, "STOP_GRACE_S", -29.5)
    code = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: 0)\nwhile True: time.sleep(1)"
    where, stopping = prepare(run, code), threading.Event()
    threading.Timer(1.0, stopping.set).start()
    assert runner.main(where, stopping) == 0 and result(where)["exit_code"] == 137


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a child of its parent's death")
def test_a_stage_whose_runner_is_killed_is_asked_to_save_itself(run):
    code = """import signal, sys, time
def save(*_):
    open("saved", "w").close()
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
open("ready", "w").close()
time.sleep(30)"""
    job = jobs.start(
        run, "train", [sys.executable, "-c", code], env=jobs.environment({}), makes=(), resting_on={}, files={}
    )
    wait_for(lambda: (run.path / "ready").exists())
    os.kill(json.loads((jobs.directory(run, "train") / "process.json").read_text())["pid"], signal.SIGKILL)
    wait_for(lambda: (run.path / "saved").exists())
    wait_for(lambda: jobs.inspect(run, "train").state == "lost")
    assert job.spec["container"] is None


def wait_for(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_disk_that_is_full_takes_the_reason_and_the_result_from_the_reserve(run, tmp_path):
    """A real filesystem of 1 MB, filled by the stage."""
    small = tmp_path / "small"
    small.mkdir()
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small]).returncode:
        pytest.skip("mounting needs root")
    try:
        full = Run(small / "run")
        code = (
            "print('begins', flush=True)\nwith open('big', 'wb') as f:\n    while True: f.write(bytes(4096)); f.flush()"
        )
        jobs.start(
            full,
            "train",
            [sys.executable, "-c", code],
            env=jobs.environment({}),
            makes=("big",),
            resting_on={},
            files={},
        )
        wait_for(lambda: jobs.inspect(full, "train").state != "running")
        job = jobs.inspect(full, "train")
        assert job.state == "ended" and job.result["exit_code"] == 1 and "big" in job.result["made"]
        assert "No space left on device" in jobs.log_tail(full, "train")[-1]
    finally:
        subprocess.run(["umount", "-l", small], check=True)
