"""The whole path on platform local-docker: a real server, a real engine, the stand-in image, real training of a tiny model.

Along the way: `kill -9` of the follower and of the server, and a container that is removed, in the middle of training.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import docker.errors
import pytest

from tests import test_path
from tests.scaffolds.conftest import MAKE_MODEL
from tests.test_path import TOKEN, Agent, kill, shapes_parquet, status, train_job, wait_for
from tunegate import evidence, jobs, stages
from tunegate.embedded import web as recorded_web
from tunegate.embedded.hub import EmbeddedHub
from tunegate.rundir import Run

EPOCHS, STEPS = 320, 2880  # long enough to be killed several times


@pytest.fixture(scope="module")
def world(stage_python, ngc_image, engine, wheelhouse, tmp_path_factory):
    """(agent, run, hub) as in tests/test_path.py, with an engine and wheels."""
    base = tmp_path_factory.mktemp("docker")
    subprocess.run([stage_python, "-c", MAKE_MODEL, base / "model"], check=True, capture_output=True)
    model = {path.name: path for path in (base / "model").iterdir()}
    card = b"---\nlicense: apache-2.0\nlibrary_name: transformers\npipeline_tag: image-classification\n---\n# tiny\n"
    extras = {"emit_unit_tests": True, "emit_report": True, "monitoring": "tensorboard"}
    overrides = {**test_path.CHOICES["render_project"]["overrides"], "n_epochs": EPOCHS, **extras}
    with (
        EmbeddedHub(base / "hub", tokens={TOKEN: "me"}, extra_routes=recorded_web.routes()) as hub,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setitem(test_path.CHOICES, "render_project", {"overrides": overrides})
        patch.setitem(test_path.CHOICES, "probe_model", {"platform": "local-docker"})
        patch.setitem(
            test_path.CHOICES, "emit_rerun_skill", {"verify": False}
        )  # test_6b does, which trains all steps again
        hub.add_repo("model", "me/tiny", {**model, "README.md": card})
        shapes = {f"data/{name}-00000-of-00001.parquet": (seed, each) for name, seed, each in SPLITS}
        hub.add_repo("dataset", "me/shapes", {name: shapes_parquet(*args) for name, args in shapes.items()})
        env = {
            **{key: os.environ[key] for key in ("PATH", "HOME", "DOCKER_HOST") if key in os.environ},
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "OMP_NUM_THREADS": "1",
            "TUNEGATE_WHEELHOUSE": str(wheelhouse),
            "TUNEGATE_WEB_MAP": recorded_web.web_map(hub.url),
            "XDG_STATE_HOME": str(base / "state"),
            "HF_HOME": str(base / "hf"),
        }
        run = Run(base / "root/run")
        yield Agent(base / "root", env), run, hub
        for container in engine.containers.list(all=True, filters={"label": f"tunegate.run={run.path}"}):
            container.remove(force=True)
        with contextlib.suppress(docker.errors.ImageNotFound):
            engine.images.remove("run-tiny:latest", force=True)


SPLITS = (("train", 1, 60), ("test", 2, 20))


@pytest.fixture(autouse=True)
def same_key(world, own_home, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", world[0].server.env["XDG_STATE_HOME"])


@pytest.fixture(scope="module")
def seen(world, engine):
    """{stage: what `docker inspect` says of its container, while it runs}, of every stage's container so far."""
    found: dict[str, dict] = {}
    stream = engine.api.events(decode=True, filters={"type": "container", "label": f"tunegate.run={world[1].path}"})

    def watch():
        for event in stream:
            if event.get("Action") == "start" and "tunegate.stage" in event["Actor"]["Attributes"]:
                with contextlib.suppress(docker.errors.NotFound):
                    inspected = engine.api.inspect_container(event["Actor"]["ID"])
                    found[event["Actor"]["Attributes"]["tunegate.stage"]] = inspected

    threading.Thread(target=watch, daemon=True).start()
    yield found
    stream.close()


def train_containers(engine, run: Run) -> list[str]:
    labels = [f"tunegate.run={run.path}", "tunegate.stage=train"]
    return [row["Id"] for row in engine.api.containers(filters={"label": labels})]


def begin_training(agent: Agent) -> None:
    answer = agent.call("docker_run", output_dir="run", stage="train", wait_s=0)
    assert answer.get("state") == "running", answer


def kill_follower(run: Run) -> None:
    kill(str(jobs.directory(run, "train")))
    kill(f"tunegate.platforms.local_docker.docker_stage\0{run.path}\0train")
    wait_for(lambda: jobs.inspect(run, "train").state == "lost", run)


def done(run: Run) -> list[int]:
    """Every optimizer step that was ever done, in order."""
    path = test_path.private(run) / "logs/steps.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


def steps(run: Run) -> list[int]:
    try:
        return [
            json.loads(line)["step"] for line in (test_path.private(run) / "logs/train.jsonl").read_text().splitlines()
        ]
    except (OSError, ValueError):
        return []


def test_1_to_training_in_containers(world, seen):
    agent, run, _ = world
    agent.root.mkdir(exist_ok=True)
    answers = agent.walk({"tool": "probe_model", "arguments": {"model_id": "me/tiny", "output_dir": "run"}}, "train")
    built = evidence.read(run, "stages/build").facts
    assert built["image_id"].startswith("sha256:") and built["base"].endswith(run.config().ngc_image_digest)
    assert built["packages"]["transformers"] == "5.23.0" and built["wheels"] > 10
    assert [a["stage"] for a in answers if a["tool"] == "docker_run"][-2:] == ["smoke", "baseline"]
    assert {"look", "check_api", "test", "prepare", "smoke", "baseline"} <= set(seen)
    assert evidence.read(run, "stages/test").facts["tests"] > 10
    assert status(agent)[4] and any("stand-in" in note for a in answers for note in a["notes"])


def test_2_a_follower_that_was_killed_finds_the_same_container(world, engine):
    agent, run, _ = world
    begin_training(agent)
    wait_for(lambda: steps(run), run)
    before = train_containers(engine, run)
    kill_follower(run)
    assert len(before) == 1 and train_containers(engine, run) == before
    seen_steps = len(steps(run))
    wait_for(lambda: len(steps(run)) > seen_steps, run)  # it trains on, followed or not
    begin_training(agent)
    wait_for(lambda: "following it" in jobs.log_path(run, "train").read_text(), run)
    assert train_containers(engine, run) == before
    assert agent.call("gate_status", output_dir="run")["jobs"] == {"train": "running"}


def test_2b_a_follower_that_alone_was_killed_comes_back_by_itself_and_nothing_has_failed(world, engine):
    agent, run, _ = world
    job, before = train_job(run), train_containers(engine, run)
    (follower,) = followers = test_path.processes(f"tunegate.platforms.local_docker.docker_stage\0{run.path}\0train")
    kill(f"tunegate.platforms.local_docker.docker_stage\0{run.path}\0train")
    wait_for(
        lambda: (
            test_path.processes(f"tunegate.platforms.local_docker.docker_stage\0{run.path}\0train")
            not in ([], followers)
        ),
        run,
    )
    begin_training(agent)
    assert train_job(run) == job and train_containers(engine, run) == before
    assert evidence.read(run, "stages/train") is None and not Path(f"/proc/{follower}").exists()


def test_3_a_server_that_is_killed_changes_nothing(world, engine):
    agent, run, _ = world
    job, before = train_job(run), train_containers(engine, run)

    async def die(client):
        call = client.call_tool("docker_run", {"output_dir": "run", "stage": "train", "wait_s": 0})
        assert (await call).structured_content["state"] == "running"
        await anyio.to_thread.run_sync(kill, f"serve\0--root\0{agent.root}")

    with contextlib.suppress(Exception):  # the client's own complaint about a server that is gone
        agent.session(die)
    begin_training(agent)
    assert train_job(run) == job and train_containers(engine, run) == before != []
    logged = steps(run)
    assert logged == sorted(set(logged))


def test_3b_stopped_by_the_user_it_saves_everything_and_goes_on_with_the_next_step(world, engine):
    agent, run, _ = world
    before = len(done(run))
    wait_for(lambda: len(done(run)) > before, run)
    answer = agent.call("docker_run", output_dir="run", stage="train", stop=True, wait_s=100)
    last = answer["facts"]["global_step"]
    assert answer["state"] == "stopped" and f"goes on with step {last + 1}" in answer["notes"][0]
    assert done(run) == list(range(1, last + 1)) and answer["facts"]["steps_repeated"] == 0
    assert train_containers(engine, run) == [] and stages.repeated_failure(run, "train") is None
    assert agent.call("docker_run", output_dir="run", stage="train", stop=True)["state"] == "stopped"
    assert agent.call("gate_status", output_dir="run")["next"]["arguments"]["stage"] == "train"
    begin_training(agent)
    wait_for(lambda: len(done(run)) > last, run)
    assert done(run)[: last + 1] == list(range(1, last + 2))


def test_3c_a_training_without_a_follower_is_stopped_too(world, engine):
    agent, run, _ = world
    begin_training(agent)
    wait_for(lambda: "step " in jobs.log_path(run, "train").read_text(), run)
    kill_follower(run)
    answer = agent.call("docker_run", output_dir="run", stage="train", stop=True, wait_s=100)
    assert answer["state"] == "stopped" and train_containers(engine, run) == []
    assert done(run) == list(range(1, answer["facts"]["global_step"] + 1))


def test_3d_memory_that_ran_out_is_said_to_have(world, engine):
    """A limit put on the running container: the kernel ends the training, and the engine knows why."""
    agent, run, _ = world
    begin_training(agent)
    before = len(done(run))
    wait_for(lambda: len(done(run)) > before and train_containers(engine, run), run)
    (container,) = train_containers(engine, run)
    limit = engine.api.stats(container, stream=False)["memory_stats"]["usage"]
    with contextlib.suppress(docker.errors.APIError):  # until not even its cache can be taken away
        while True:
            engine.api.update_container(container, mem_limit=limit, memswap_limit=limit)
            limit = limit * 97 // 100
    more = engine.api.exec_create(container, ["python", "-c", "x = b'1' * 64 * 2**20"])  # the larger one is killed
    engine.api.exec_start(more, detach=True)
    error = agent.call("docker_run", output_dir="run", stage="train", wait_s=100)["error"]
    assert "out of memory" in error["message"]
    assert error["code"] == "stage_failed" and "resumes from checkpoint-" in error["missing"][1]
    found = agent.call("diagnose", output_dir="run", stage="train")["findings"][0]
    assert found["id"] == "killed-for-memory-in-training" and found["overrides"]["per_device_train_batch_size"] == 8
    begin_training(agent)


def test_4_a_removed_container_is_a_failure_and_the_next_goes_on_from_its_checkpoint(world, engine):
    agent, run, _ = world
    wait_for(lambda: list(test_path.private(run).glob("checkpoints/checkpoint-*/trainer_state.json")), run)
    wait_for(lambda: train_containers(engine, run), run)
    (container,) = train_containers(engine, run)
    engine.api.remove_container(container, force=True)
    error = agent.call("docker_run", output_dir="run", stage="train", wait_s=60)["error"]
    assert error["code"] == "stage_failed" and "removed" in error["message"] and "run train again" in error["message"]
    assert error["next"]["tool"] == "diagnose"
    found = agent.call("diagnose", output_dir="run", stage="train")["findings"][0]
    assert found["id"] == "container-removed"
    begin_training(agent)
    wait_for(lambda: train_containers(engine, run), run)
    assert train_containers(engine, run) != [container]


def test_5_killed_again_it_ends_at_the_original_step(world, engine):
    agent, run, _ = world
    wait_for(lambda: "step " in jobs.log_path(run, "train").read_text(), run)
    kill_follower(run)
    answer = agent.walk({"tool": "docker_run", "arguments": {"output_dir": "run", "stage": "train"}}, until="eval")[0]
    facts, logged = answer["facts"], steps(run)
    assert facts["global_step"] == facts["max_steps"] == STEPS == logged[-1]
    assert facts["resumed_from"].startswith("checkpoint-") and logged == sorted(set(logged))
    every = -(-STEPS // 200)
    assert set(range(every, STEPS, every)) <= set(logged)  # none left out
    printed = re.findall(r"^step (\d+)/", jobs.log_path(run, "train").read_text(), re.M)
    assert printed and len(printed) == len(set(printed))  # replayed from its beginning, once
    assert train_containers(engine, run) == []


def test_6_to_the_end(world, seen):
    agent, run, _ = world
    answers = agent.walk({"tool": "docker_run", "arguments": {"output_dir": "run", "stage": "eval"}}, until=None)
    assert answers[0]["facts"]["accuracy"] > 0.8 and answers[-1]["verified"] == "not asked"
    found = agent.call("gate_status", output_dir="run")
    assert found["complete"] and found["jobs"] == {} and {"eval", "infer", "report"} <= set(seen)
    assert evidence.read(run, "stages/report").facts["pdf_kb"] > 50
    assert list(run.path.glob("logs/tensorboard/events.out.*"))
    assert "bash in_image.sh python train.py" in Path(answers[-1]["skill"]).read_text()


@pytest.mark.slow
def test_6b_the_rerun_in_containers(world, monkeypatch):
    agent, run, _ = world
    monkeypatch.setitem(test_path.CHOICES, "emit_rerun_skill", {"verify": True})
    answer = agent.session(lambda client: agent.follow(client, "emit_rerun_skill", {"output_dir": "run"}))
    assert answer["verified"] == "passed" and abs(answer["rerun"] - answer["expected"]) <= answer["tolerance"]


def test_7_no_container_had_more_than_its_stage_needs(world, seen):
    agent, run, _ = world
    for stage, container in seen.items():
        made, config = container["HostConfig"], container["Config"]
        assert made["CapDrop"] == ["ALL"] and made["SecurityOpt"] == ["no-new-privileges"], stage
        assert not made["Privileged"] and not made["CapAdd"] and not made["DeviceRequests"], stage
        talks = stage in ("test", "prepare", "smoke", "baseline", "train")
        assert made["NetworkMode"] == ("host" if talks else "none"), stage  # host: this Hub listens on loopback
        mounts = {mount["Destination"]: mount for mount in container["Mounts"]}
        if stage in stages.STAGES:  # and not a look at the image or at the GPUs
            written = {"data", "checkpoints", "logs", "reports", ".cache", ".cache/huggingface"}
            assert set(mounts) == {"/workspace", *(f"/workspace/{name}" for name in written)}, stage
            assert not mounts["/workspace"]["RW"] and not any(str(run.path) in m["Source"] for m in mounts.values())
        else:
            assert set(mounts) == {"/workspace"}, stage
        assert config["User"] == f"{os.getuid()}:{os.getgid()}" and config["Labels"]["tunegate.stage"] == stage
        assert not any(line.startswith("HF_TOKEN") for line in config["Env"]), stage  # both repositories are public
        assert TOKEN not in json.dumps(container)
    assert seen["train"]["Image"] == evidence.read(run, "stages/build").facts["image_id"]
    holders = [path for path in agent.root.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert holders == []


def test_8_a_changed_line_of_code_reuses_the_dependencies(world, tmp_path):
    agent, run, _ = world
    for name in ("Dockerfile", "requirements.txt", "config.yaml"):
        shutil.copy(run.path / name, tmp_path)
    for path in run.path.glob("*.py"):
        shutil.copy(path, tmp_path)
    shutil.copytree(run.path / "harness", tmp_path / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "train.py").write_text((run.path / "train.py").read_text() + "# one line more\n")
    build = "image_build.build(run := Run(Path(sys.argv[1])), run.config())"
    imports = "import sys; from pathlib import Path; from tunegate.platforms.local_docker import image_build; from tunegate.rundir import Run"
    argv = [sys.executable, "-P", "-c", f"{imports}; {build}", tmp_path]
    done = subprocess.run(argv, env=agent.server.env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    taken = [
        re.search(r"Step \d+/\d+ : (\w+)", part)[0]
        for part in re.split(r"(?=^Step )", done.stdout, flags=re.M)
        if "Using cache" in part
    ]
    commands = [line.split(" : ")[1].split()[0] for line in taken]
    assert commands == ["WORKDIR", "COPY", "COPY", "RUN"] and "pip install" not in done.stdout.split("Using cache")[-1]


def test_9_the_stage_is_refused_with_a_next_step_when_the_engine_is_gone(world, tmp_path):
    agent, run, _ = world
    gone = Agent(agent.root, {**agent.server.env, "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"})
    assert gone.call("docker_run", output_dir="run", stage="eval")["state"] == "passed"  # whatever the engine does now
    (run.path / "reports/eval_results.json").unlink()
    error = gone.call("docker_run", output_dir="run", stage="eval", wait_s=60)["error"]
    assert error["code"] in ("unavailable", "stage_failed") and "start Docker" in error["message"]
    assert agent.call("docker_run", output_dir="run", stage="eval", wait_s=100)["state"] == "passed"
