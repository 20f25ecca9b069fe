"""The whole path as an agent walks it: a real server process over stdio, a real Hub protocol, real training of a tiny model.

Along the way: wrong order, forged evidence, `kill -9` of the server in the middle of training, tampered results, secrets.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from huggingface_hub import HfApi
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from tests.scaffolds.conftest import CLASSES, MAKE_MODEL, draw
from tunegate import jobs, skill
from tunegate.embedded import web as recorded_web
from tunegate.embedded.hub import EmbeddedHub
from tunegate.rundir import Run
from tunegate.tools.answer import content_of

TOKEN = "hf_" + "Path" * 9
CHOICES = {
    "probe_model": {"platform": "local-process"},
    "probe_dataset": {"dataset_id": "me/shapes", "n_train": 150, "n_eval": 60},
    "render_project": {
        "overrides": {
            "n_epochs": 30,
            "learning_rate": 3e-3,
            "horizontal_flip": False,
            "per_device_train_batch_size": 16,
            "gradient_accumulation_steps": 1,
        }
    },
    "emit_rerun_skill": {"verify": True},
}


def shapes_parquet(seed: int, each: int) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, rows = random.Random(seed), []
    for name in CLASSES:
        for _ in range(each):
            buffer = io.BytesIO()
            draw(name, rng).save(buffer, "PNG")
            rows.append((name, buffer.getvalue()))
    rng.shuffle(rows)
    names = list(CLASSES)
    table = pa.table(
        {
            "image": pa.array(
                [{"bytes": data, "path": None} for _, data in rows],
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            "label": pa.array([names.index(name) for name, _ in rows], pa.int64()),
        }
    )
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), out)
    return out.getvalue()


class Agent:
    """One MCP client on one server process, which it can kill."""

    def __init__(self, root: Path, env: dict[str, str]):
        self.root = root
        self.server = StdioServerParameters(
            command=sys.executable, args=["-m", "tunegate", "serve", "--root", str(root)], env=env
        )

    def session(self, action) -> Any:
        async def go():
            async with Client(self.server) as client:
                return await action(client)

        return anyio.run(go)

    def call(self, name: str, **arguments) -> dict[str, Any]:
        return content_of(self.session(lambda client: client.call_tool(name, arguments)))

    async def follow(self, client: Client, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        while True:
            content = content_of(await client.call_tool(name, {**arguments, **CHOICES.get(name, {})}))
            if content.get("state") != "running" and content.get("verified") != "running":
                return content

    def walk(self, call: dict[str, Any], until: str | None) -> list[dict[str, Any]]:
        """Follow `next` from `call` until a stage of this name comes up, or to the end."""
        answers = []

        async def go(client):
            step = call
            while step and step["arguments"].get("stage") != until or until is None and step:
                content = await self.follow(client, step["tool"], step["arguments"])
                assert "error" not in content, (step, content)
                answers.append({"tool": step["tool"], **content})
                assert len(answers) < 60, "the same steps again and again"
                step = content["next"]

        self.session(go)
        return answers


def processes(text: str) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if (
                entry.isdigit()
                and int(entry) != os.getpid()
                and text.encode() in Path(f"/proc/{entry}/cmdline").read_bytes()
            ):
                found.append(int(entry))
    return found


@pytest.fixture(scope="module")
def world(stage_python, tmp_path_factory):
    """(agent, run, hub): an embedded Hub with a tiny model and drawn shapes, and a server root."""
    base = tmp_path_factory.mktemp("path")
    subprocess.run([stage_python, "-c", MAKE_MODEL, base / "model"], check=True, capture_output=True)
    model = {path.name: path for path in (base / "model").iterdir()}
    card = b"---\nlicense: apache-2.0\nlibrary_name: transformers\npipeline_tag: image-classification\n---\n# tiny\n"
    with EmbeddedHub(base / "hub", tokens={TOKEN: "me"}, extra_routes=recorded_web.routes()) as hub:
        hub.add_repo("model", "me/tiny", {**model, "README.md": card})
        hub.add_repo(
            "dataset",
            "me/shapes",
            {
                "data/train-00000-of-00001.parquet": shapes_parquet(1, 60),
                "data/test-00000-of-00001.parquet": shapes_parquet(2, 20),
            },
        )
        cache = Path(stage_python).parents[4] if "tunegate" in Path(stage_python).parts else Path.home() / ".cache"
        env = {
            **{key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ},
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "OMP_NUM_THREADS": "1",
            **{key: value for key, value in os.environ.items() if key.startswith("PIP_")},
            "TUNEGATE_WEB_MAP": recorded_web.web_map(hub.url),
            "XDG_STATE_HOME": str(base / "state"),
            "XDG_CACHE_HOME": str(cache),
            "HF_HOME": str(base / "hf"),
        }
        yield Agent(base / "root", env), Run(base / "root/run"), hub


@pytest.fixture(autouse=True)
def same_key(world, own_home, monkeypatch):
    """The test reads jobs and evidence with the key that the server seals them with."""
    monkeypatch.setenv("XDG_STATE_HOME", world[0].server.env["XDG_STATE_HOME"])


def status(agent: Agent) -> dict[int, bool]:
    return {step["step"]: step["passed"] for step in agent.call("gate_status", output_dir="run")["steps"]}


def test_1_to_the_smoke_test_with_every_shortcut_refused(world):
    agent, run, _ = world
    agent.root.mkdir(exist_ok=True)
    first = agent.call("probe_model", model_id="me/tiny", output_dir="run", platform="local-process")
    assert first["next"]["tool"] == "probe_dataset" and first["parameters"] > 0
    for tool, arguments in (
        ("docker_run", {"stage": "train"}),
        ("push_hub", {}),
        ("render_project", {}),
        ("audit_gpu", {}),
    ):
        error = agent.call(tool, output_dir="run", **arguments)["error"]
        assert error["code"] == "gate_closed" and error["gate"] == 1 and error["next"]["tool"] == "probe_dataset"
    answers = agent.walk(first["next"], until="smoke")
    assert answers[-1]["stage"] == "prepare" and answers[-1]["facts"]["n_eval"] == 60
    for forged in (
        {"passed": True},
        {
            "name": "stages/smoke",
            "tool": "docker_run",
            "run": str(run.path),
            "created": "now",
            "seal": "hmac-sha256:" + "0" * 64,
            "facts": {"passed": True, "loss": 1.0, "grad_norm": 1.0},
        },
    ):
        (run.meta / "stages/smoke.json").write_text(json.dumps(forged))
        error = agent.call("docker_run", output_dir="run", stage="train")["error"]
        assert error["code"] == "gate_closed" and error["gate"] == 4 and error["next"]["arguments"]["stage"] == "smoke"
    assert not status(agent)[4]


def test_2_smoke_and_preflight(world):
    agent, run, _ = world
    answers = agent.walk({"tool": "docker_run", "arguments": {"output_dir": "run", "stage": "smoke"}}, until="baseline")
    assert answers[0]["facts"]["loss"] > 0 and answers[0]["facts"]["grad_norm"] > 0
    preflight = agent.call("gate_status", output_dir="run")["preflight"]
    assert (
        all(preflight.values())
        and preflight["smoke"].startswith("PASSED")
        and preflight["push_to_hub"] == "me/tiny-finetuned"
    )


def wait_for(condition, run: Run, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, jobs.log_tail(run, "train")
        time.sleep(0.02)


def kill(text: str, cwd: Path | None = None, sent: signal.Signals = signal.SIGKILL) -> None:
    for pid in processes(text):
        with contextlib.suppress(OSError):
            if cwd is None or Path(os.readlink(f"/proc/{pid}/cwd")) == cwd:
                os.kill(pid, sent)


def private(run: Run) -> Path:
    """Where its training works."""
    return Path(json.loads((jobs.directory(run, "train") / "spec.json").read_text())["work"])


def stopped_with_a_checkpoint(run: Run) -> bool:
    """Stop the training (SIGSTOP) while a whole checkpoint is there, else let it go on: so small a one deletes them at once."""
    if not any(private(run).glob("checkpoints/checkpoint-*/trainer_state.json")):
        return False
    kill("\0train.py", private(run), signal.SIGSTOP)
    if any(private(run).glob("checkpoints/checkpoint-*/trainer_state.json")):
        return True
    kill("\0train.py", private(run), signal.SIGCONT)
    return False


def train_job(run: Run) -> str:
    return json.loads((jobs.directory(run, "train") / "spec.json").read_text())["id"]


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="finds processes in /proc")
def test_3_a_killed_training_resumes_and_a_killed_server_changes_nothing(world):
    agent, run, _ = world
    agent.walk({"tool": "docker_run", "arguments": {"output_dir": "run", "stage": "baseline"}}, until="train")
    log = run.path / "logs/train.jsonl"
    assert agent.call("docker_run", output_dir="run", stage="train", wait_s=0)["state"] == "running"
    wait_for(lambda: stopped_with_a_checkpoint(run), run)
    kill(str(jobs.directory(run, "train")))
    kill("\0train.py", private(run))
    wait_for(lambda: jobs.inspect(run, "train").state == "lost", run)
    assert agent.call("gate_status", output_dir="run")["jobs"] == {"train": "lost"}

    async def resume_and_die(client):
        content = (
            await client.call_tool("docker_run", {"output_dir": "run", "stage": "train", "wait_s": 0})
        ).structured_content
        assert content["state"] == "running", content
        size = log.stat().st_size
        await anyio.to_thread.run_sync(wait_for, lambda: log.exists() and log.stat().st_size > size, run)
        kill(f"serve\0--root\0{agent.root}")

    with contextlib.suppress(Exception):  # the client's own complaint about a server that is gone
        agent.session(resume_and_die)
    job = train_job(run)
    facts = agent.walk({"tool": "docker_run", "arguments": {"output_dir": "run", "stage": "train"}}, until="eval")[0][
        "facts"
    ]
    assert train_job(run) == job  # the same job, followed
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert (
        steps == sorted(set(steps))
        and facts["global_step"] == facts["max_steps"] == 270
        and facts["resumed_from"].startswith("checkpoint-")
    )


def test_4_a_training_that_passed_is_not_run_again(world):
    agent, run, _ = world
    job = train_job(run)
    assert agent.call("docker_run", output_dir="run", stage="train")["state"] == "passed" and train_job(run) == job


def test_5_evaluation_and_samples_and_a_tampered_result(world):
    agent, run, _ = world
    evaluated, sampled = (
        agent.call("docker_run", output_dir="run", stage=stage, wait_s=100) for stage in ("eval", "infer")
    )
    assert "error" not in evaluated, evaluated
    assert evaluated["facts"]["accuracy"] > 0.8, evaluated
    assert sampled["facts"]["samples"] == 5 and status(agent)[5]
    path = run.path / "reports/eval_results.json"
    honest = path.read_text()
    path.write_text(honest.replace('"accuracy": ', '"accuracy": 1'))
    error = agent.call("push_hub", output_dir="run")["error"]
    assert (
        error["code"] == "gate_closed" and error["gate"] == 5 and "eval_results.json was changed" in error["missing"][0]
    )
    path.write_text(honest)
    assert status(agent)[5]


def test_6_push_is_one_private_commit_that_reads_back(world):
    agent, run, hub = world
    pushed = agent.call("push_hub", output_dir="run")
    api = HfApi(endpoint=hub.url, token=TOKEN)
    info = api.model_info("me/tiny-finetuned", files_metadata=True)
    names = {sibling.rfilename for sibling in info.siblings}
    assert (
        pushed["verified"]
        and info.private
        and info.sha == pushed["commit"]
        and len(api.list_repo_commits("me/tiny-finetuned")) == 2
    )  # creation, push
    assert {
        "README.md",
        "config.yaml",
        "model.safetensors",
        "config.json",
        "preprocessor_config.json",
        "results/eval_results.json",
        "results/baseline_results.json",
        "Dockerfile",
        "requirements.txt",
        "inference_samples/0_pred.jpg",
    } <= names
    card = info.card_data
    assert card.base_model == "me/tiny" and card.datasets == ["me/shapes"]
    measured = json.loads((run.path / "reports/eval_results.json").read_text())["accuracy"]
    assert card.eval_results[0].metric_value == pytest.approx(measured, abs=1e-4)


def test_7_the_rerun_skill_reproduces_the_metric(world):
    agent, run, _ = world

    async def verify(client):
        return await agent.follow(client, "emit_rerun_skill", {"output_dir": "run"})

    answer = agent.session(verify)
    assert answer.get("verified") == "passed", answer
    assert abs(answer["rerun"] - answer["expected"]) <= answer["tolerance"]
    text = Path(answer["skill"]).read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["name"] == "run-tiny" and "python train.py" in text and not (run.path / ".verify").exists()
    validate = Path(sys.executable).with_name("agentskills")
    if validate.exists():
        assert (
            subprocess.run(
                [validate, "validate", Path(answer["skill"]).parent], capture_output=True, text=True
            ).returncode
            == 0
        )


def test_8_complete_and_the_same_on_the_command_line(world):
    agent, run, _ = world
    found = agent.call("gate_status", output_dir="run")
    assert found["complete"] and found["next"] is None and found["jobs"] == {}
    printed = subprocess.run(
        [sys.executable, "-m", "tunegate", "gates", str(run.path), "--json"],
        env=agent.server.env,
        capture_output=True,
        text=True,
    )
    assert json.loads(printed.stdout) == found


def test_9_an_edited_script_closes_the_gates_behind_it_and_is_checked_again(world):
    agent, run, _ = world
    path = run.path / "train.py"
    rendered = path.read_text()
    path.write_text(rendered.replace("seed=cfg[", "warmup_ratio=0.1,\n        seed=cfg["))
    assert [number for number, passed in status(agent).items() if not passed] == [4, 5, 6]
    error = agent.call("docker_run", output_dir="run", stage="check_api", wait_s=100)["error"]
    assert (
        error["code"] == "stage_failed"
        and "warmup_ratio" in error["message"]
        and "train.py" in error["message"]
        and error["next"]["tool"] == "diagnose"
    )
    found = agent.call("diagnose", output_dir="run", stage="check_api")
    assert found["findings"] and "warmup_steps" in json.dumps(found)
    path.write_text(rendered)
    assert agent.call("docker_run", output_dir="run", stage="check_api", wait_s=100)["state"] == "passed"
    assert all(status(agent).values())  # the file is again what every other stage saw


def test_no_secret_is_anywhere(world):
    agent, run, _ = world
    holders = [path for path in agent.root.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert holders == []
    assert TOKEN not in skill.text()
