"""benchmarks/kills.py, shortened: five random kills around one training, on an engine of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.conftest import STANDIN

pytestmark = pytest.mark.slow  # needs root, docker.io and a minute or two for the engine's own stand-in image
KILLS = 5


@pytest.fixture(scope="module")
def own_engine():
    """DOCKER_HOST and the rest of the environment of an engine that may be killed."""
    own = {
        "TUNEGATE_ENGINE_DIR": "/var/lib/tunegate-engine-kills",
        "TUNEGATE_ENGINE_SUBNET": "62",
        "TUNEGATE_STANDIN_PORT": "5056",
    }
    env = {**os.environ, **({} if "TUNEGATE_ENGINE_DIR" in os.environ else own)}
    if not env.get("TUNEGATE_WHEELHOUSE"):
        pytest.skip("no wheels for the image: set TUNEGATE_WHEELHOUSE")
    started = subprocess.run([STANDIN / "engine.sh", "start"], env=env, capture_output=True, text=True)
    if started.returncode:
        pytest.skip(f"no engine: {started.stderr.strip()}")
    env["DOCKER_HOST"] = started.stdout.strip().removeprefix("export DOCKER_HOST=")
    subprocess.run([STANDIN / "build.sh"], env=env, check=True, capture_output=True)
    yield env
    subprocess.run([STANDIN / "engine.sh", "stop"], env=env, check=True)


def test_no_run_is_lost_and_no_step_is_trained_twice(own_engine):
    script = Path(__file__).resolve().parents[2] / "benchmarks/kills.py"
    argv = [sys.executable, script, "--kills", str(KILLS), "--epochs", "4", "--seed", "1"]
    found = subprocess.run(argv, env=own_engine, capture_output=True, text=True)
    said = found.stdout
    assert found.returncode == 0, said + found.stderr
    assert f"kills               {KILLS} in" in said
    assert re.search(r"^runs lost +0$", said, re.M) and re.search(r"^steps trained twice 0$", said, re.M)
    must, were = re.search(r"^control +(\d+) steps .* (\d+) were$", said, re.M).groups()
    assert must == were != "0"  # the count can be other than 0
