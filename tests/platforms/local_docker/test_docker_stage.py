"""What a stage's process does with an engine: the real SDK against a fake one."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from tests import fake_engine, sealed
from tests.fake_engine import IMAGE_ID, FakeEngine
from tunegate import jobs
from tunegate.clients import network
from tunegate.clients.docker import containers, engine
from tunegate.config import RunConfig
from tunegate.errors import ToolFailure
from tunegate.jobs import snapshot
from tunegate.platforms.local_docker import docker_stage
from tunegate.project import harness
from tunegate.rundir import Run
from tunegate.stage_table import LAUNCH

CONFIG = sealed.CONFIG.model_copy(
    update={"platform": "local-docker", "ngc_image": "nvcr.io/nvidia/pytorch:26.03-py3", "ngc_image_digest": "sha256:5"}
)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    for name in ("OMP_NUM_THREADS", *network.PROXIES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(docker_stage.time, "sleep", lambda _: time_slice())
    with FakeEngine(tmp_path / "docker.sock") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        server.images[IMAGE_ID] = {"Id": IMAGE_ID, "Config": {"Env": ["PATH=/opt/venv/bin:/bin"]}}
        yield server


def time_slice(wait=threading.Event().wait) -> None:
    wait(0.01)


@pytest.fixture
def run(tmp_path) -> Run:
    (tmp_path / "run").mkdir()
    return built(Run(tmp_path / "run"))


def built(run: Run, config: RunConfig = CONFIG, **facts: dict) -> Run:
    """A run up to its smoke test. facts: further ones of a piece of evidence."""
    own = {name: {**sealed.FACTS[name], **more} for name, more in facts.items()}
    image = {**sealed.FACTS["stages/build"], "image_id": IMAGE_ID}
    return sealed.build(run, until="stages/smoke", config=config, facts={"stages/build": image, **own})


def labels(run: Run, stage: str = "train", job: str = "j1") -> dict[str, str]:
    return {"tunegate.run": str(run.path), "tunegate.stage": stage, "tunegate.job": job}


def planned(run: Run, stage: str, config: RunConfig = CONFIG, roots: tuple[Path, ...] = ()) -> containers.ContainerPlan:
    given = docker_stage.given(run, config, stage, roots)
    assert json.loads(json.dumps(given)) == given  # as it lies in the sealed spec
    return docker_stage.plan(engine.connect(), private(run, stage), labels(run, stage), given)


def private(run: Run, stage: str) -> Run:
    """The run with the folder that the stage was given."""
    found = snapshot.of(run, stage)
    snapshot.lay(found, {}, {})
    return found


# -- plan


@pytest.mark.parametrize(
    ("endpoint", "hub"), [("", "default"), ("https://hub.example", "default"), ("http://127.0.0.1:9", "host")]
)
def test_only_stages_that_talk_to_the_hub_have_a_network(fake, run, monkeypatch, endpoint, hub):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    for stage in ("prepare", "smoke", "baseline", "train"):
        assert planned(run, stage).network == hub
    for stage in ("check_api", "eval", "infer"):
        assert planned(run, stage).network == "none"
    ours = harness.of_stage(CONFIG)
    assert planned(run, "train").env == ours | ({"HF_ENDPOINT": endpoint} if endpoint else {})


def test_gpus_only_for_stages_that_compute_and_only_if_the_run_has_any(fake, run, monkeypatch):
    assert {planned(run, stage).gpus for stage in ("smoke", "train", "eval")} == {"none"}
    with_gpus = CONFIG.model_copy(update={"gpu_count": 2})
    built(run, with_gpus, host={"gpu_handover": "cdi"})
    for stage in ("smoke", "baseline", "train", "eval", "infer"):
        asked = planned(run, stage, with_gpus)
        assert asked.gpus == "cdi" and "PYTORCH_CUDA_ALLOC_CONF" in asked.env
    assert {planned(run, stage, with_gpus).gpus for stage in ("prepare", "check_api", "merge")} == {"none"}


@pytest.mark.parametrize(("source", "flag"), [("model", "gated"), ("dataset", "private")])
def test_the_token_only_where_a_source_needs_one(fake, run, source, flag):
    assert planned(run, "train").secrets == ()
    built(run, **{source: {flag: True}})
    assert {planned(run, stage).secrets for stage in ("prepare", "smoke", "baseline", "train")} == {("HF_TOKEN",)}
    assert {planned(run, stage).secrets for stage in ("check_api", "eval", "infer")} == {()}


def test_a_proxy_reaches_stages_with_a_network_by_name_only(fake, run, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pa55word@proxy.example:3128")
    monkeypatch.setenv("no_proxy", "localhost")
    asked = planned(run, "prepare")
    assert asked.secrets == ("HTTPS_PROXY", "no_proxy") and asked.network == "default"
    assert "pa55word" not in repr(asked)  # the value goes from our environment into the container's, past every record
    assert "pa55word" not in str(containers.container_spec(asked))
    assert planned(run, "eval").secrets == ()
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:3128")
    assert planned(run, "prepare").network == "host"  # a proxy on this machine's loopback


def with_local(run: Run, path: Path) -> RunConfig:
    config = CONFIG.model_copy(update={"dataset_id": None, "local_dataset_path": str(path)})
    built(run, config)
    return config


def test_local_data_is_read_only_at_its_own_path(fake, run, tmp_path):
    (tmp_path / "shapes").mkdir()
    asked = planned(run, "prepare", with_local(run, tmp_path / "shapes"), (tmp_path,))
    assert asked.read_only == (tmp_path / "shapes",)
    mounts = {mount["Target"]: mount for mount in containers.container_spec(asked)["HostConfig"]["Mounts"]}
    assert mounts[str(tmp_path / "shapes")]["ReadOnly"] and mounts["/workspace"]["Source"] == str(
        private(run, "prepare").work
    )


def test_no_local_data_from_outside_the_servers_roots(fake, run, tmp_path):
    (tmp_path / "shapes").mkdir()
    asked = planned(run, "prepare", with_local(run, tmp_path / "shapes"), (run.path,))
    with pytest.raises(ToolFailure) as caught:
        containers.start(engine.connect(), asked)
    assert caught.value.code == "outside_root" and fake.containers == {}


def test_a_directory_with_the_engines_socket_is_given_to_no_container(fake, run, tmp_path):
    with pytest.raises(ToolFailure, match="docker.sock, which no container may have"):
        planned(run, "prepare", with_local(run, tmp_path), (tmp_path,))


def test_what_a_container_is_given_is_decided_before_it_is_started(fake, run, tmp_path, monkeypatch):
    """config.yaml and the evidence are changed as soon as the job's spec is sealed: none of it reaches the container."""
    (tmp_path / "shapes").mkdir()
    config = with_local(run, tmp_path / "shapes")
    sealed.spec(run, "train", "j1", docker_stage.given(run, config, "train", (tmp_path,)))
    run.save_config(config.model_copy(update={"local_dataset_path": str(tmp_path / "docker.sock"), "gpu_count": 8}))
    for name, facts in (
        ("stages/build", {"image_id": "sha256:another"}),
        ("host", {"gpu_handover": "cdi"}),
        ("model", {"gated": True}),
    ):
        path = run.meta / f"{name}.json"
        found = json.loads(path.read_text())
        path.write_text(json.dumps({**found, "facts": {**found["facts"], **facts}}))
    monkeypatch.setenv("HF_TOKEN", "hf_secret_secret_secret")
    thread, codes = following(run, spec=False)
    made = only(fake)
    assert made.config["Image"] == IMAGE_ID and "harness/launch.py train.py" in made.config["Cmd"][0]
    mounts = [mount["Source"] for mount in made.config["HostConfig"]["Mounts"]]
    of_state = str(snapshot.home(run))
    assert [source for source in mounts if not source.startswith(of_state)] == [str(tmp_path / "shapes")]
    assert made.config["HostConfig"]["DeviceRequests"] == [] and "hf_secret" not in str(made.config["Env"])
    fake.end(made, 0)
    assert ended(thread, codes) == 0


@pytest.mark.parametrize("change", ["none", "edited", "other inputs", "other stage", "nothing given"])
def test_a_spec_that_is_not_this_jobs_starts_nothing(fake, run, change, capfdbinary):
    given = docker_stage.given(run, CONFIG, "train", ())
    path = jobs.directory(run, "train") / "spec.json"
    if change == "other stage":
        sealed.spec(run, "eval", "j1", given)
        sealed.put(run, {"meta/jobs/train/spec.json": (run.meta / "jobs/eval/spec.json").read_text()})
    elif change != "none":
        sealed.spec(
            run, "train", "j0" if change == "other inputs" else "j1", given if change != "nothing given" else None
        )
    if change == "edited":
        path.write_text(path.read_text().replace("python", "sh"))
    assert docker_stage.main(run, "train", "j1") == 1 and fake.containers == {}
    assert "spec.json is not what tunegate started this train with" in capfdbinary.readouterr().out.decode()


@pytest.mark.parametrize("name", ["model", "dataset", "host", "stages/build"])
def test_evidence_that_does_not_hold_gives_nothing(run, name):
    path = run.meta / f"{name}.json"
    path.write_text(path.read_text().replace('"facts": {', '"facts": {"more": 1, '))
    with pytest.raises(ToolFailure, match=name) as caught:
        docker_stage.given(run, CONFIG, "train", ())
    assert caught.value.code == "gate_closed"


def test_a_config_that_the_evidence_does_not_rest_on_gives_nothing(run):
    with pytest.raises(ToolFailure, match="dataset evidence is stale: local_dataset_path"):
        docker_stage.given(run, CONFIG.model_copy(update={"local_dataset_path": "/var/run/docker.sock"}), "train", ())


def test_no_value_of_the_environment_is_written_down(run, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pa55word@proxy.example:3128")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:pa55word@hub.example")
    given = docker_stage.given(run, CONFIG, "prepare", ())
    assert "pa55word" not in json.dumps(given) and {"HTTPS_PROXY"} <= set(given["secrets"])


def test_the_rest_of_the_plan(fake, run, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    asked = planned(run, "eval")
    assert asked.labels == labels(run, "eval") and asked.env == harness.of_stage(CONFIG) | {"OMP_NUM_THREADS": "3"}
    assert (
        asked.image == IMAGE_ID and asked.path == "/opt/venv/bin:/bin" and asked.output_dir == private(run, "eval").work
    )
    assert asked.hub == snapshot.hub(private(run, "eval")) and set(asked.writable) == {
        "data",
        "checkpoints",
        "logs",
        "reports",
        ".cache",
    }
    made = containers.container_spec(asked)["HostConfig"]
    assert made["Memory"] == 7_600_000_000  # of 8 GB
    mounts = made["Mounts"]
    assert mounts[0]["ReadOnly"] and not any(str(run.path) in mount["Source"] for mount in mounts)
    assert asked.user == containers.user_for(engine.describe(engine.connect()))


def test_several_gpus_train_under_torchrun():
    several = CONFIG.model_copy(update={"gpu_count": 4})
    assert docker_stage._argv(several, "train") == ["torchrun", "--nproc_per_node=4", "train.py"]
    assert docker_stage._argv(several, "eval") == ["python", *LAUNCH, "run_eval.py"]
    assert docker_stage._argv(CONFIG, "train") == ["python", *LAUNCH, "train.py"]


# -- follow


def following(
    run: Run,
    stage: str = "train",
    job: str = "j1",
    mode: str = "run",
    stopping: threading.Event | None = None,
    spec: bool = True,
) -> tuple[threading.Thread, list[int]]:
    """The follower of a job, in a thread; spec: as the server has just started it."""
    if spec:
        sealed.spec(run, stage, job, docker_stage.given(run, CONFIG, stage, ()))
    codes: list[int] = []
    go = lambda: codes.append(docker_stage.main(run, stage, job, mode, stopping))  # noqa: E731
    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    return thread, codes


def until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time_slice()


def only(fake: FakeEngine) -> fake_engine.Container:
    until(lambda: fake.containers and next(iter(fake.containers.values())).state["Status"] == "running")
    return next(iter(fake.containers.values()))


def ended(thread: threading.Thread, codes: list[int]) -> int:
    thread.join(20)
    assert codes, "the follower did not end"
    return codes[0]


@pytest.mark.parametrize("code", [0, 3])
def test_one_container_its_output_its_exit_code(fake, run, capfdbinary, code):
    thread, codes = following(run)
    made = only(fake)
    assert made.config["Labels"] == labels(run) and made.config["Image"] == IMAGE_ID
    assert "exec python -I -u harness/launch.py train.py" in made.config["Cmd"][0]
    fake.write(made, "step 1\n")
    fake.write(made, "step 2\n")
    fake.end(made, code)
    assert ended(thread, codes) == code
    assert capfdbinary.readouterr().out == b"step 1\nstep 2\n"
    assert len(fake.asked("POST", "/containers/create")) == 1
    assert list(fake.containers) == [made.id]  # kept as a second record, until the server has the result
    docker_stage.forget(run, "train")
    assert fake.containers == {}


@pytest.mark.parametrize("still_running", [True, False])
def test_what_an_earlier_follower_left_is_followed_and_not_started_again(fake, run, capfdbinary, still_running):
    made = fake.running(**labels(run))
    fake.write(made, "step 1\n")
    if not still_running:
        fake.end(made, 5)
    thread, codes = following(run)
    if still_running:
        until(lambda: fake.asked("GET", "/logs"))
        fake.write(made, "step 2\n")
        fake.end(made, 5)
    assert ended(thread, codes) == 5 and fake.asked("POST", "/containers/create") == []
    said = capfdbinary.readouterr().out
    assert said.count(b"step 1\n") == 1 and said.count(b"step 2\n") == still_running
    assert (b"(running): following it" if still_running else b"(exited): following it") in said


@pytest.mark.parametrize("other", [{"job": "j0"}, {"stage": "eval"}])
def test_another_jobs_container_is_not_ours(fake, run, other):
    stranger = fake.running(**labels(run, **other))
    thread, codes = following(run)
    until(lambda: len(fake.containers) == 2)
    ours = next(made for made in fake.containers.values() if made is not stranger)
    until(lambda: ours.state["Status"] == "running")
    fake.end(ours, 0)
    assert ended(thread, codes) == 0 and list(fake.containers.values()) == [stranger, ours]
    docker_stage.forget(run, "train")
    assert list(fake.containers.values()) == [stranger]


def test_one_that_was_made_and_never_started_does_not_block_the_name(fake, run):
    left = fake.create(planned(run, "train").name, {"Labels": labels(run)})
    thread, codes = following(run)
    until(lambda: left.id not in fake.containers)
    fake.end(only(fake), 0)
    assert ended(thread, codes) == 0


@pytest.mark.parametrize("code", [75, 137, 143])
def test_one_that_a_restart_of_the_engine_cut_off_is_no_result(fake, run, code):
    left = fake.running(**labels(run))
    fake.end(left, code)
    thread, codes = following(run)
    until(lambda: left.id not in fake.containers)
    fake.end(only(fake), 0)
    assert ended(thread, codes) == 0


def test_a_container_that_someone_removed(fake, run, capfdbinary):
    thread, codes = following(run)
    made = only(fake)
    del fake.containers[made.id]
    fake.end(made, 137)
    assert ended(thread, codes) == 1
    said = capfdbinary.readouterr().out.decode()
    assert "removed by someone else" in said and "run train again" in said


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (404, "No such container: {}"),
        (409, "can not get logs from container which is dead or marked for removal"),
    ],
)
def test_one_removed_between_two_looks(fake, run, capfdbinary, code, said):
    made = fake.running(**labels(run))
    fake.refuse("GET", f"^/containers/{made.id}/logs", code, said.format(made.id))
    assert docker_stage.main(run, "train", "j1") == 1
    assert "run train again" in capfdbinary.readouterr().out.decode()


@pytest.mark.parametrize(("state", "says"), [({"OOMKilled": True}, "out of memory"), ({}, "killed from outside")])
def test_a_kill_is_said_for_what_it_was(fake, run, capfdbinary, state, says):
    thread, codes = following(run)
    fake.end(only(fake), 137, **state)
    assert ended(thread, codes) == 137
    assert says in capfdbinary.readouterr().out.decode().splitlines()[-1]


def test_an_engine_that_was_gone_and_came_back(fake, run, capfdbinary):
    thread, codes = following(run)
    made = only(fake)
    fake.write(made, "step 1\n")
    until(lambda: fake.asked("GET", "/logs"))
    fake.on("GET", "^/containers/", cut=True, left=6)  # as while it restarts: every connection breaks
    fake.die()
    until(lambda: fake.rules[0].left == 0)
    fake.dead = False
    fake.write(made, "step 2\n")
    fake.end(made, 0)
    assert ended(thread, codes) == 0
    assert capfdbinary.readouterr().out == b"step 1\nstep 2\n"
    assert len(fake.asked("POST", "/containers/create")) == 1


def test_an_engine_that_stays_away(fake, run, monkeypatch, capfdbinary):
    monkeypatch.setattr(docker_stage, "ENGINE_GONE_S", 0.2)
    fake.running(**labels(run))
    fake.on("GET", "^/containers/.*/logs", cut=True)
    assert docker_stage.main(run, "train", "j1") == 1
    assert "\nunavailable: [engine-gone] reading the job's output" in capfdbinary.readouterr().out.decode()


def test_an_engine_that_is_away_when_the_container_is_to_be_forgotten(fake, run):
    made = fake.running(**labels(run))
    fake.end(made, 0)
    fake.on("DELETE", "^/containers/", cut=True)
    docker_stage.forget(run, "train")
    assert list(fake.containers) == [made.id]


def test_an_engine_that_is_away_at_first_is_waited_for(fake, run):
    made = fake.running(**labels(run))
    fake.end(made, 0)
    fake.on("GET", "^/(version|containers/json)", cut=True, left=4)
    assert docker_stage.main(run, "train", "j1") == 0 and fake.rules[0].left == 0


def test_an_engine_that_goes_away_while_it_starts_the_container_is_asked_whether_it_did(fake, run):
    fake.on("POST", "/start$", cut=True, left=1)
    thread, codes = following(run)
    until(lambda: fake.rules[0].left == 0)
    fake.end(only(fake), 0)
    assert ended(thread, codes) == 0
    assert len(fake.asked("POST", "/containers/create")) == 2 and len(fake.containers) == 1


# -- stop


def test_asked_to_stop_it_stops_the_container_and_tells_its_own_exit_code(fake, run):
    stopping = threading.Event()
    thread, codes = following(run, stopping=stopping)
    made = only(fake)
    stopping.set()
    assert ended(thread, codes) == 143 and made.state["Status"] == "exited"
    assert [request.query["t"] for request in fake.asked("POST", "/stop$")] == [str(jobs.STOP_GRACE_S)]


def test_a_stop_waits_for_an_engine_that_is_away(fake, run):
    stopping = threading.Event()
    thread, codes = following(run, stopping=stopping)
    only(fake)
    fake.on("POST", "/stop$", cut=True, left=2)
    stopping.set()
    assert ended(thread, codes) == 143 and len(fake.asked("POST", "/stop$")) == 3


def test_asked_to_stop_before_it_began_it_starts_nothing(fake, run):
    stopping = threading.Event()
    stopping.set()
    thread, codes = following(run, stopping=stopping)
    assert ended(thread, codes) == 75 and fake.containers == {}


@pytest.mark.parametrize(("mode", "code"), [("stop", 75), ("follow", 1)])
def test_a_new_follower_of_what_is_gone_starts_nothing(fake, run, mode, code):
    thread, codes = following(run, mode=mode)
    assert ended(thread, codes) == code and fake.asked("POST", "/containers/create") == []


@pytest.mark.parametrize("code", [0, 75, 137])
def test_a_new_follower_tells_how_it_ended_meanwhile(fake, run, code):
    fake.end(fake.running(**labels(run)), code)
    thread, codes = following(run, mode="follow")
    assert ended(thread, codes) == code and fake.asked("POST", "/containers/create") == []


def test_a_follower_that_stops_what_another_one_left(fake, run):
    made = fake.running(**labels(run))
    thread, codes = following(run, mode="stop")
    assert ended(thread, codes) == 143 and made.state["Status"] == "exited"


def test_a_container_that_a_follower_would_find_is_known_before_the_start(fake, run):
    inputs = labels(run)["tunegate.job"]
    assert not docker_stage.goes_on(run, "train", inputs)
    made = fake.running(**labels(run))
    assert docker_stage.goes_on(run, "train", inputs) and not docker_stage.goes_on(run, "train", "other")
    for code, found in ((0, True), (1, True), (137, False)):  # 137: cut off, and started again from its checkpoint
        fake.end(made, code)
        assert docker_stage.goes_on(run, "train", inputs) == found, code


def test_the_token_of_the_users_store_reaches_a_gated_model(fake, run, tmp_path, monkeypatch):
    built(run, model={"gated": "manual"})
    (tmp_path / "token").write_text("hf_fromTheStore123456\n")
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    handed = []

    def spec(plan, secrets_file, of=containers.container_spec):
        handed.append(secrets_file.read_text())
        return of(plan, secrets_file=secrets_file)

    monkeypatch.setattr(containers, "container_spec", spec)
    thread, codes = following(run)
    made = only(fake)
    assert handed == ["export HF_TOKEN=hf_fromTheStore123456\n"]
    assert "hf_fromTheStore123456" not in str(made.config)
    fake.end(made, 0)
    assert ended(thread, codes) == 0


def test_rivals_of_other_inputs_are_ended_before_a_start(fake, run):
    same, rival, other = (
        fake.running(**labels(run, s, j)) for s, j in (("train", "j1"), ("train", "j0"), ("eval", "x"))
    )
    docker_stage.end_others(run, "train", "j1", done=True)
    assert list(fake.containers.values()) == [same, other] and rival.state["Status"] == "exited"


@pytest.mark.parametrize("done", [True, False])
def test_an_ended_container_counts_until_its_result_is_known(fake, run, done):
    made = fake.running(**labels(run))
    fake.end(made, 5)
    docker_stage.end_others(run, "train", "j1", done=done)
    assert (made.id in fake.containers) is not done


# -- refusals


def test_a_refusal_is_printed_with_its_code(run, monkeypatch, tmp_path, capfdbinary):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    monkeypatch.setattr(docker_stage, "ENGINE_GONE_S", 0.1)
    assert docker_stage.main(run, "eval", "j1") == 1
    assert capfdbinary.readouterr().out.decode().startswith("unavailable: [engine-gone] the Docker engine at unix://")
    with pytest.raises(ToolFailure):
        docker_stage.end_others(run, "eval", "j1", done=False)
