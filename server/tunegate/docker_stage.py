"""`python -m tunegate.docker_stage RUN STAGE INPUTS`: what the runner runs for a stage on local-docker.

`build` makes the image; every other stage is one container, and the container is the job: this process starts it, passes
its output on and waits for its exit code. Killed and started again, it finds the container by its labels and goes on.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from tunegate import containers, engine_errors, evidence, gpu_handover, image_build, wheelhouse
from tunegate import engine as engines
from tunegate.config import RunConfig
from tunegate.containers import ContainerPlan
from tunegate.engine import Engine
from tunegate.errors import ToolFailure
from tunegate.rundir import Run
from tunegate.stages import STAGES, needs_token
from tunegate.web import LOOPBACK

ENGINE_GONE_S = 600.0  # an engine that restarts or is upgraded is waited for this long
TALKS_TO_HUB = ("prepare", "smoke", "baseline", "train")  # the other stages have no network
COMPUTES = ("smoke", "baseline", "train", "eval", "infer")  # the other stages have no GPU


def main(run: Run, stage: str, inputs: str) -> int:
    """Exit code of the stage; 1, with the remedy printed, when the engine refuses."""
    try:
        config = run.config()
        return image_build.build(run, config) if stage == "build" else follow(run, config, stage, inputs)
    except ToolFailure as failure:
        print(f"{failure.code}: {failure}", flush=True)
        return 1


def plan(
    engine: Engine, run: Run, config: RunConfig, stage: str, labels: dict[str, str], argv: tuple[str, ...], image: str
) -> ContainerPlan:
    """The stage's container: no network and no GPU unless the stage needs them, the token only for gated or private sources."""
    facts = engines.describe(engine)
    gpus = gpu_handover.proven(run, config) if config.gpu_count and stage in COMPUTES else "none"
    endpoint = os.environ.get("HF_ENDPOINT", "")
    network = "none"
    if stage in TALKS_TO_HUB:
        network = "host" if urlsplit(endpoint).hostname in LOOPBACK else wheelhouse.network_for(*wheelhouse.PROXIES)
    env = {"HF_ENDPOINT": endpoint} if endpoint else {}
    env |= {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"} if gpus != "none" else {}
    env |= {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
    secrets = ("HF_TOKEN",) if stage in TALKS_TO_HUB and needs_token(run) else ()
    if network != "none":  # a proxy's address may hold credentials
        secrets += tuple(name for name in wheelhouse.PROXIES if os.environ.get(name))
    local = config.local_dataset_path
    found = engines.image(engine, image)
    return ContainerPlan(
        image=image,
        argv=argv,
        name=f"tunegate-{config.short_name}-{stage}-{labels['tunegate.job']}"[:120],
        labels=labels,
        output_dir=run.path,
        user=containers.user_for(facts),
        gpus=gpus,
        network=network,
        env=env,
        secrets=secrets,
        read_only=(Path(local),) if local else (),
        path=found.env.get("PATH", "") if found else "",
    )


def follow(run: Run, config: RunConfig, stage: str, inputs: str) -> int:
    """Start the stage's container, or find the one that an earlier follower left, and stay with it to its end."""
    engine = engines.connect()
    labels = {"tunegate.run": str(run.path), "tunegate.stage": stage, "tunegate.job": inputs}
    found = containers.find(engine, labels)
    if found and (found.status in ("created", "gone") or _cut_off(found)):  # it only holds the name
        containers.remove(engine, found.id)
        found = None
    if found is None:
        _token_from_store(run)
        image = evidence.read(run, "stages/build").facts["image_id"]
        container = containers.start(engine, plan(engine, run, config, stage, labels, _argv(config, stage), image))
    else:
        container = found.id
        print(f"found the container of this {stage} ({found.status}): following it", flush=True)
    state = _to_the_end(engine, container)
    if state.status == "gone":
        print(f"the container of {stage} was removed by someone else before it ended: run {stage} again", flush=True)
        return 1
    with contextlib.suppress(ToolFailure):  # the stage has ended with this code, whatever becomes of the engine
        containers.remove(engine, container)
    if state.oom_killed:
        print(f"the system killed {stage} for want of memory (exit 137)", flush=True)
    elif _cut_off(state):
        print(f"{stage} was stopped from outside, by an engine's restart or by hand: run {stage} again", flush=True)
    return state.exit_code if state.exit_code is not None else 1


def _cut_off(state: containers.ContainerState) -> bool:
    """Ended by a signal from outside, as when the engine or the machine restarts: no result of the stage's own."""
    return state.status == "exited" and state.exit_code in (137, 143) and not state.oom_killed


def end_others(run: Run, stage: str, inputs: str) -> None:
    """End and remove containers that work on this stage from other inputs: their follower is gone, they would be rivals.

    Called before a start, while no job of the stage runs. Raises ToolFailure(unavailable).
    """
    engine = engines.connect()
    labels = {"tunegate.run": str(run.path), "tunegate.stage": stage}
    with engine_errors.mapped(f"looking for other containers of {stage}", engine.host):
        listed = engine.api.containers(all=True, filters={"label": [f"{k}={v}" for k, v in labels.items()]})
    for row in listed:
        if row["Labels"].get("tunegate.job") != inputs:
            containers.stop(engine, row["Id"], grace_s=0)  # what it would save is not wanted
            containers.remove(engine, row["Id"])


def _token_from_store(run: Run) -> None:
    """The user's own token store is not in the container: where the token is needed, take it from there."""
    store = os.environ.get("HF_TOKEN_PATH")
    if store and not os.environ.get("HF_TOKEN") and needs_token(run):
        with contextlib.suppress(OSError):
            os.environ["HF_TOKEN"] = Path(store).read_text().strip()


def _argv(config: RunConfig, stage: str) -> tuple[str, ...]:
    if stage == "train" and (config.gpu_count or 0) > 1:
        return ("torchrun", f"--nproc_per_node={config.gpu_count}", *STAGES[stage].argv)
    return ("python", *STAGES[stage].argv)


def _to_the_end(engine: Engine, container: str) -> containers.ContainerState:
    """Pass the output on until the container has exited. The end of a log stream is not the end of the job: the engine may be gone."""
    since, gone_since = None, None
    while True:
        try:
            for line in containers.follow_logs(engine, container, since):
                sys.stdout.buffer.write(line.data)
                sys.stdout.buffer.flush()
                since = line.at
            state = containers.state(engine, container)
            if state.status in ("exited", "gone"):
                return state
            gone_since = None
        except ToolFailure as failure:
            if failure.code == "not_found":  # removed between two looks
                return containers.ContainerState(container, "gone")
            gone_since = gone_since or time.monotonic()
            if failure.code != "unavailable" or time.monotonic() - gone_since > ENGINE_GONE_S:
                raise
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main(Run(Path(sys.argv[1])), sys.argv[2], sys.argv[3]))
