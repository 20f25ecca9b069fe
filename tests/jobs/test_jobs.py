from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tunegate import jobs
from tunegate.rundir import Run, file_sha256


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path)


def start(run: Run, code: str, makes=("out.txt",), secrets=()) -> jobs.Job:
    return jobs.start(
        run,
        "train",
        [sys.executable, "-c", code],
        env=jobs.environment({}, secrets),
        makes=makes,
        resting_on={"a": 1},
        files={},
    )


def until(run: Run, *states: str, seconds: float = 20) -> jobs.Job:
    deadline = time.monotonic() + seconds
    while (job := jobs.inspect(run, "train")).state not in states:
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    return job


def test_a_job_runs_ends_and_reports_what_it_made(run):
    assert jobs.inspect(run, "train").state == "none"
    assert start(run, "print('hello'); open('out.txt', 'w').write('x')").state == "running"
    job = until(run, "ended")
    assert job.result["exit_code"] == 0 and job.result["made"] == {"out.txt": file_sha256(run.path / "out.txt")}
    assert jobs.log_tail(run, "train") == ["hello"]


def test_the_exit_code_of_a_failure(run):
    start(run, "raise SystemExit(3)")
    assert until(run, "ended").result["exit_code"] == 3


def test_a_program_that_is_not_there(run):
    jobs.start(run, "train", ["/no/such/python"], env=jobs.environment({}), makes=(), resting_on={}, files={})
    assert until(run, "ended").result["exit_code"] == 127
    assert "could not be started" in jobs.log_tail(run, "train")[0]


def test_a_job_outlives_the_process_that_started_it(run):
    """The server is killed with -9 while its job runs; another process sees the same job end."""
    code = (
        f"from tunegate import jobs; from tunegate.rundir import Run; from pathlib import Path; import os, sys; r = Run(Path({str(run.path)!r}));"
        "jobs.start(r, 'train', [sys.executable, '-c', 'import time; time.sleep(1.5); open(\"out.txt\", \"w\").write(\"x\")'],"
        "env=jobs.environment({}), makes=('out.txt',), resting_on={}, files={}); os.kill(os.getpid(), 9)"
    )
    server = subprocess.run([sys.executable, "-c", code])
    assert server.returncode == -signal.SIGKILL
    assert jobs.inspect(run, "train").state == "running"
    assert until(run, "ended").result["made"]


def _processes(text: str) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and text.encode() in open(f"/proc/{entry}/cmdline", "rb").read():
                found.append(int(entry))
        except OSError:
            pass
    return [pid for pid in found if pid != os.getpid()]


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="finds processes in /proc")
def test_a_killed_job_is_lost_but_only_when_the_last_of_its_processes_is_gone(run):
    marker = run.path.name + "-marker"
    start(run, f"import time\nx = {marker!r}\nwhile True: time.sleep(0.1); print('tick')")
    deadline = time.monotonic() + 20
    while not _processes(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in _processes(
        str(jobs.directory(run, "train"))
    ):  # the runner; its child still holds the lock until it writes
        os.kill(pid, signal.SIGKILL)
    job = until(run, "lost")
    assert job.spec["resting_on"] == {"a": 1} and not _processes(marker)


def test_a_result_written_by_hand_is_no_result(run):
    start(run, "raise SystemExit(1)")
    job = until(run, "ended")
    path = jobs.directory(run, "train") / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "exit_code": 0}))
    assert until(run, "lost")
    path.write_text(json.dumps({"id": job.spec["id"], "run": str(run.path), "exit_code": 0, "made": {}}))
    assert until(run, "lost")


def test_a_spec_written_by_hand_starts_nothing(run):
    start(run, "pass")
    until(run, "ended")
    path = jobs.directory(run, "train") / "spec.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "argv": ["/bin/true"]}))
    assert jobs.inspect(run, "train").state == "none"
    forged = subprocess.run(
        [sys.executable, "-m", "tunegate.jobs.runner", str(path.parent)], capture_output=True, text=True
    )
    assert forged.returncode == 2 and "not sealed" in forged.stderr


def test_secrets_reach_only_the_stages_that_need_them_and_never_the_log(run, monkeypatch):
    token = "hf_" + "q7" * 17
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setenv("SOMETHING_ELSE", "private")
    show = "import os; print(os.environ.get('HF_TOKEN'), os.environ.get('SOMETHING_ELSE'))"
    start(run, show)
    until(run, "ended")
    assert jobs.log_tail(run, "train") == ["None None"]
    start(run, show, secrets=("HF_TOKEN",))
    until(run, "ended")
    everything = b"".join(path.read_bytes() for path in run.path.rglob("*") if path.is_file())
    assert "<HF_TOKEN> None" in jobs.log_path(run, "train").read_text() and token.encode() not in everything


def test_nothing_that_lies_in_the_run_is_imported_beside_the_key(run):
    """A json.py, hmac.py or tunegate/ of the agent's would otherwise run in the process that holds the seal key."""
    for name in ("json.py", "hmac.py", "tunegate/__init__.py"):
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).write_text("open('imported', 'w').close()\n")
    start(run, "print('hello')")
    assert until(run, "ended").result["exit_code"] == 0 and jobs.log_tail(run, "train") == ["hello"]
    assert not (run.path / "imported").exists()


def test_a_log_that_is_a_symlink_is_not_written_through(run, tmp_path_factory):
    victim = tmp_path_factory.mktemp("outside") / "victim"
    victim.write_text("precious")
    (run.path / "logs").mkdir()
    (run.path / "logs/train.log").symlink_to(victim)
    start(run, "print('x')")
    until(run, "ended")
    assert victim.read_text() == "precious" and jobs.log_tail(run, "train") == ["x"]


def test_the_tail_of_a_log_shows_no_part_of_a_secret_at_its_beginning(run, monkeypatch):
    """Whoever wrote the log: a stage may write there itself."""
    secret = "sEcReT-k1k2k3k4k5k6k7k8"
    monkeypatch.setenv("WANDB_API_KEY", secret)
    jobs.log_path(run, "train").parent.mkdir(parents=True)
    for after in range(3980, 4002):
        jobs.log_path(run, "train").write_text("a" * 9000 + secret + "b" * after)
        tail = "".join(jobs.log_tail(run, "train"))
        shown = tail.replace("<WANDB_API_KEY>", "").strip("ab")
        assert shown == "" and tail.endswith("b" * 3980), after
