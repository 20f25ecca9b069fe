"""A test session that is killed leaves no engine running."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.engine.conftest import _not_tested

SESSION = """
import subprocess, sys, time
from pathlib import Path
from tests.engine.lease import STANDIN, leased
start = lambda: subprocess.run([STANDIN / "engine.sh", "start"], check=True, capture_output=True, text=True).stdout.strip()
with leased(Path(sys.argv[1]), start) as printed:
    print(printed, flush=True)
    time.sleep(600)
"""


def engines(home: Path) -> list[int]:
    """The processes of dockerd whose data lies in `home`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            argv = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if Path(argv[0]).name == "dockerd" and str(home) in argv:
            found.append(int(path.parent.name))
    return found


def wait_until(true, seconds: float) -> bool:
    ends = time.monotonic() + seconds
    while not (now := true()) and time.monotonic() < ends:
        time.sleep(0.2)
    return bool(now)


def test_the_engine_of_killed_sessions_ends_with_the_last_of_them(tmp_path):
    if os.getuid() or not all(map(shutil.which, ("dockerd", "docker", "ip", "flock"))):
        _not_tested("ending the engine of a killed session: root, docker.io, iproute2 and util-linux are needed")
    home, users = tmp_path / "engine", tmp_path / "users.lock"
    env = {**os.environ, "TUNEGATE_ENGINE_DIR": str(home), "TUNEGATE_ENGINE_SUBNET": "67"}
    env["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    argv = [sys.executable, "-c", SESSION, users]
    sessions: list[subprocess.Popen] = []
    try:
        for _ in range(2):
            sessions.append(subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True))
            assert sessions[-1].stdout.readline().startswith("export DOCKER_HOST=")
        assert len(engines(home)) == 1
        sessions[0].send_signal(signal.SIGKILL)  # the one that started it
        sessions[0].wait()
        assert not wait_until(lambda: not engines(home), 3), "the second session still uses it"
        sessions[1].send_signal(signal.SIGKILL)
        sessions[1].wait()
        assert wait_until(lambda: not engines(home), 20)
        assert wait_until(lambda: not Path("/sys/class/net/tgate67").exists(), 10)
    finally:
        for session in sessions:
            session.kill()
            session.wait()
        script = Path(__file__).resolve().parents[2] / "standin/engine.sh"
        subprocess.run([script, "stop", "--purge"], env=env, check=False)
