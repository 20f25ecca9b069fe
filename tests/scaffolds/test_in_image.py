"""in_image.sh, the way into a project's image by hand: what it asks `docker` for, by a `docker` that writes its arguments down."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys

import pytest

from tests import sealed
from tunegate.project import render

CONFIG = render.with_defaults(
    sealed.CONFIG.model_copy(
        update={"platform": "local-docker", "ngc_image": "a/b:1", "ngc_image_digest": "sha256:" + "5" * 64}
    ),
    {},
)
DOCKER = f"""#!{sys.executable}
import json, os, sys
if sys.argv[1] == "info":
    print(os.environ.get("SECURITY", "[name=seccomp]"))
else:
    json.dump(sys.argv[1:], open(os.environ["ASKED"], "w"))
"""


@pytest.fixture
def asked(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/docker").write_text(DOCKER)
    (tmp_path / "bin/docker").chmod(0o755)

    def call(*argv: str, config=CONFIG, **env: str) -> list[str]:
        (tmp_path / "in_image.sh").write_text(render.render_files(config, {})["in_image.sh"])
        environ = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "ASKED": str(tmp_path / "asked"), **env}
        subprocess.run(["bash", tmp_path / "in_image.sh", *argv], env=environ, check=True, cwd="/")
        return json.loads((tmp_path / "asked").read_text())

    return call


def after(words: list[str], option: str) -> list[str]:
    return [words[i + 1] for i, word in enumerate(words) if word == option]


@pytest.mark.parametrize(
    "command", ["prepare_data.py", "train.py", "train.py --smoke", "-m harness.smoke", "run_eval.py --baseline"]
)
def test_what_talks_to_the_hub_gets_network_token_and_proxies_by_name(asked, command):
    words = asked("python", *command.split(), HF_TOKEN="hf_secret", https_proxy="http://me:pw@p:1", NETWORK="host")
    assert after(words, "--network") == ["host"]
    assert {"HF_TOKEN", "https_proxy"} <= set(after(words, "-e")) and "HF_ENDPOINT" not in words
    assert "hf_secret" not in str(words) and "me:pw" not in str(words)


@pytest.mark.parametrize("command", ["-m harness.check_api", "run_eval.py", "infer.py", "-c pass"])
def test_the_others_get_neither(asked, command):
    words = asked("python", *command.split(), HF_TOKEN="hf_secret", NETWORK="host")
    assert after(words, "--network") == ["none"] and "HF_TOKEN" not in words


def test_who_it_runs_as(asked):
    assert after(asked("python", "infer.py"), "--user") == [f"{os.getuid()}:{os.getgid()}"]
    assert after(asked("python", "infer.py", SECURITY="[name=seccomp name=rootless]"), "--user") == ["0:0"]


def test_command_mounts_and_gpus(asked, tmp_path):
    words = asked("python", "infer.py", "--n", "5")
    assert words[-4:] == ["run-m", "infer.py", "--n", "5"]
    assert after(words, "-v") == [f"{tmp_path}:/workspace"] and after(words, "--entrypoint") == ["python"]
    assert "--gpus" not in words
    local = {"gpu_count": 1, "dataset_id": None, "local_dataset_path": "/data/shapes"}
    words = asked("python", "train.py", config=CONFIG.model_copy(update=local))
    assert after(words, "--gpus") == ["all"] and after(words, "--mount") == [
        "type=bind,source=/data/shapes,target=/data/shapes,readonly"
    ]
    both = CONFIG.model_copy(update={**local, "local_eval_path": "/data/held out"})
    assert after(asked("python", "prepare_data.py", config=both), "--mount") == [
        "type=bind,source=/data/shapes,target=/data/shapes,readonly",
        "type=bind,source=/data/held out,target=/data/held out,readonly",
    ]
    words = asked("python", "train.py", config=CONFIG.model_copy(update=local), GPU_FLAGS="--device nvidia.com/gpu=all")
    assert after(words, "--device") == ["nvidia.com/gpu=all"] and "--gpus" not in words


@pytest.mark.parametrize(
    "name",
    ["$(touch pwned)", "`touch pwned`", "a'; touch pwned; '", 'a"b', "a b", "a\nb", "a:b", "a,b", "$HOME", "a\\"],
)
def test_a_folders_name_is_a_name(asked, tmp_path, name):
    local = CONFIG.model_copy(update={"dataset_id": None, "local_dataset_path": f"/data/{name}"})
    [mount] = after(asked("python", "train.py", config=local), "--mount")
    [fields] = csv.reader(io.StringIO(mount, newline=""))  # as docker reads it
    assert fields == ["type=bind", f"source=/data/{name}", f"target=/data/{name}", "readonly"]
    assert not list(tmp_path.rglob("pwned"))
