"""`python -m tunegate.platforms.local_docker.docker_stage RUN STAGE INPUTS`: what the runner runs for a stage on local-docker.

`build` makes the image; every other stage is one container, and the container is the job: this process starts it, passes
its output on and waits for its exit code. Killed and started again, it finds the container by its labels and goes on. The
ended container stays until the server has the result in its evidence: it is a second record of how the stage ended.

A fourth argument says what to do with what is there, and that nothing is to be started: `follow` it, or `stop` it. TERM
asks for the same as `stop`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tunegate import evidence, jobs, nofollow
from tunegate.clients.docker import containers, engine_errors
from tunegate.clients.docker import engine as engines
from tunegate.clients.docker.containers import ContainerPlan
from tunegate.clients.docker.engine import Engine
from tunegate.clients.network import LOOPBACK, PROXIES, network_for
from tunegate.config import RunConfig, keys_resting
from tunegate.errors import ToolFailure, coded
from tunegate.evidence import ledger, seal
from tunegate.hardware import gpu_handover
from tunegate.jobs import snapshot
from tunegate.platforms.local_docker import image_build
from tunegate.project import extras, harness, listed
from tunegate.rundir import Run
from tunegate.stage_table import HUB_SECRETS, ON_IMAGE, STAGES

EXIT_SAVED = jobs.STOPPED[0]
OF_MEMORY = 0.95  # of the machine's: a stage that takes more is ended before the machine is
ENGINE_GONE_S = 600.0  # an engine that restarts or is upgraded is waited for this long


Answer = TypeVar("Answer")


def main(run: Run, stage: str, inputs: str, mode: str = "run", stopping: threading.Event | None = None) -> int:
    """Exit code of the stage; 1, with the remedy printed, when the engine refuses. mode: run, follow or stop."""
    stopping = stopping or threading.Event()
    if mode == "stop":
        stopping.set()
    try:
        if stage == "build":
            spec = _spec(run, stage, inputs)
            return image_build.build(
                Run(run.path, Path(spec["work"])), RunConfig.model_validate(spec["given"]["config"])
            )
        return follow(run, stage, inputs, mode, stopping)
    except ToolFailure as failure:
        print(f"{failure.code}: {coded(failure.diagnosis, str(failure)) if failure.diagnosis else failure}", flush=True)
        return 1


# -- what a container is given


def given(run: Run, config: RunConfig, stage: str, roots: tuple[Path, ...]) -> dict[str, Any]:
    """All that the stage's container gets and that depends on the config or on evidence: decided by the server, under the
    run's lock, and sealed into the job's spec, which alone is read when the container is started. Of secrets, and of what the
    environment says, it holds the names.

    config: as the gates were checked. Raises ToolFailure: gate_closed (evidence does not hold), unavailable (no GPUs).
    """
    if stage == "build":
        _held(run, config, "image")
        return {"config": evidence.values(config, ("model_id", *keys_resting(*ON_IMAGE)))}
    model, dataset, host, built = _held(run, config, "model", "dataset", "host", "stages/build")
    gpus = gpu_handover.proven(host.facts, config) if config.gpu_count and STAGES[stage].gpu else "none"
    network = _network(stage)
    secrets = [
        *(HUB_SECRETS if STAGES[stage].network and evidence.restricted(model, dataset) else ()),
        *extras.secrets(config, stage),
    ]
    if network != "none":  # a proxy's address may hold credentials
        secrets += [name for name in PROXIES if os.environ.get(name)]
    image = built.facts.get("measures", built.facts) if STAGES[stage].measures else built.facts
    return {
        "image": image["image_id"],
        "argv": _argv(config, stage),
        "name": f"tunegate-{config.short_name}-{stage}",
        "gpus": gpus,
        "network": network,
        "memory": int(float(host.facts["memory_gb"]) * 1e9 * OF_MEMORY) if host.facts.get("memory_gb") else None,
        "env": harness.of_stage(config)
        | ({"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"} if gpus != "none" else {}),
        "pass_on": ["HF_ENDPOINT", "OMP_NUM_THREADS", *extras.environment(config, stage)],
        "secrets": secrets,
        "read_only": listed.places(run, config),
        "roots": [str(root) for root in roots],
    }


def _held(run: Run, config: RunConfig, *names: str) -> list[evidence.Evidence]:
    """The newest evidence of these names. Raises ToolFailure(gate_closed) unless it holds for this config, as it was read."""
    newest, found = ledger.latest(run), []
    for name in names:
        read = evidence.read(run, name)
        wrong = evidence.problems(run, name, config, newest)
        if wrong or read is None or read.digest != newest[name]:
            why = wrong[0] if wrong else "was changed while it was read"
            raise ToolFailure("gate_closed", f"{name} evidence {why}: call gate_status", missing=[f"{name}: {why}"])
        found.append(read)
    return found


def _network(stage: str) -> str:
    if not STAGES[stage].network:
        return "none"
    hub = urlsplit(os.environ.get("HF_ENDPOINT", "")).hostname
    return "host" if hub in LOOPBACK else network_for(*PROXIES)


def _spec(run: Run, stage: str, inputs: str) -> dict[str, Any]:
    """What the server sealed for this very job. Raises ToolFailure(gate_closed)."""
    spec = jobs.spec(run, stage)
    if spec is None or spec["stage"] != stage or inputs not in spec["argv"] or not spec.get("given"):
        raise ToolFailure(
            "gate_closed",
            f"{jobs.directory(run, stage) / 'spec.json'} is not what tunegate started this {stage} with: nothing was run; "
            f"call docker_run(stage={stage!r}) again",
        )
    return spec


def plan(engine: Engine, run: Run, labels: dict[str, str], given: dict[str, Any]) -> ContainerPlan:
    """The stage's container: no network and no GPU unless the stage needs them, the token only for gated or private sources.

    run: with its private folder, which is all that the container sees of it.
    """
    nofollow.check(run.work)
    found, facts = engines.image(engine, given["image"]), engines.describe(engine)
    read_only = tuple(map(Path, given["read_only"]))
    for path in read_only:
        _refuse_socket(engine, path)
    return ContainerPlan(
        image=given["image"],
        argv=tuple(given["argv"]),
        name=f"{given['name']}-{labels['tunegate.job']}"[:120],
        labels=labels,
        output_dir=run.work,
        writable=snapshot.FOLDERS,
        hub=snapshot.hub(run),
        user=containers.user_for(facts),
        gpus=given["gpus"],
        network=given["network"],
        memory=None if facts.rootless else given["memory"],  # which may have no say over memory
        env=given["env"] | {name: os.environ[name] for name in given["pass_on"] if os.environ.get(name)},
        secrets=tuple(given["secrets"]),
        read_only=read_only,
        roots=tuple(map(Path, given["roots"])),
        path=found.env.get("PATH", "") if found else "",
    )


def _refuse_socket(engine: Engine, path: Path) -> None:
    """A root may be so wide that the engine's own socket lies in it. Raises ToolFailure(invalid_input)."""
    socket = engine.host.removeprefix("unix://")
    if engine.host.startswith("unix://") and Path(os.path.realpath(socket)).is_relative_to(path):
        raise ToolFailure(
            "invalid_input",
            f"local_dataset_path = {str(path)!r} holds the engine's socket {socket}, which no container may have: "
            "name the dataset's own directory",
        )


# -- the container's life


def follow(run: Run, stage: str, inputs: str, mode: str, stopping: threading.Event) -> int:
    """Start the stage's container, or find the one that an earlier follower left, and stay with it to its end."""
    engine = _patiently(engines.connect)
    labels = {"tunegate.run": str(run.path), "tunegate.stage": stage, "tunegate.job": inputs}
    found = _patiently(lambda: containers.find(engine, labels))
    if found and (found.status in ("created", "gone") or mode == "run" and _cut_off(found)):  # it only holds the name
        containers.remove(engine, found.id)
        found = None
    if found:
        container = found.id
        print(f"found the container of this {stage} ({found.status}): following it", flush=True)
    elif mode == "follow":
        print(_removed(stage), flush=True)
        return 1
    elif stopping.is_set():
        print(f"{stage} was asked to stop before it began", flush=True)
        return EXIT_SAVED
    else:
        container = _start(engine, run, stage, labels)
    threading.Thread(target=_stop_when_asked, args=(stopping, container), daemon=True).start()
    state = _to_the_end(engine, container)
    _say_how_it_ended(stage, state)
    return state.exit_code if state.exit_code is not None else 1


def _start(engine: Engine, run: Run, stage: str, labels: dict[str, str]) -> str:
    """Start the container. An engine that goes away meanwhile is waited for, and asked whether it has started it."""
    spec = _spec(run, stage, labels["tunegate.job"])
    given, run = spec["given"], Run(run.path, Path(spec["work"]))
    _token_from_store(given["secrets"])
    for again in (True, True, False):
        try:
            return containers.start(engine, plan(engine, run, labels, given))
        except ToolFailure as failure:
            if failure.code != "unavailable" or not again:
                raise
        time.sleep(1)
        found = _patiently(lambda: containers.find(engine, labels))
        if found and found.status in ("running", "exited"):
            return found.id
        if found:
            containers.remove(engine, found.id)
    raise AssertionError("unreachable")


def _patiently(ask: Callable[[], Answer]) -> Answer:
    """What the engine answers, once it answers. Raises ToolFailure(unavailable) after ENGINE_GONE_S."""
    began = time.monotonic()
    while True:
        try:
            return ask()
        except ToolFailure as failure:
            if failure.code != "unavailable" or time.monotonic() - began > ENGINE_GONE_S:
                raise
        time.sleep(1)


def _stop_when_asked(stopping: threading.Event, container: str) -> None:
    """TERM to the container, and KILL after the grace, on a connection of its own: the other one is busy reading."""
    stopping.wait()
    with contextlib.suppress(ToolFailure):
        _patiently(lambda: containers.stop(engines.connect(), container))


def _say_how_it_ended(stage: str, state: containers.ContainerState) -> None:
    """The last line of the log, where the stage cannot have written one itself."""
    if state.status == "gone":
        print(_removed(stage), flush=True)
    elif state.oom_killed and state.exit_code:
        how = f"the system killed {stage}: out of memory (exit {state.exit_code})"
        print(coded("killed-for-memory", how), flush=True)
    elif state.exit_code == 137:
        how = f"{stage} was killed from outside (exit 137), by hand or with its engine: run {stage} again"
        print(coded("killed", how), flush=True)


def _removed(stage: str) -> str:
    how = f"the container of {stage} was removed by someone else before it ended: run {stage} again"
    return coded("container-removed", how)


def _cut_off(state: containers.ContainerState) -> bool:
    """Ended by a signal from outside, as when the engine or the machine restarts: no result of the stage's own."""
    return state.status == "exited" and state.exit_code in (*jobs.STOPPED, 137) and not state.oom_killed


def end_others(run: Run, stage: str, inputs: str, done: bool) -> None:
    """End and remove containers that work on this stage from other inputs: their follower is gone, they would be rivals.

    done: the stage's last job has its result, so that an ended container of these inputs too has nothing more to tell.
    Called before a start, while no job of the stage runs. Raises ToolFailure(unavailable).
    """
    engine = engines.connect()
    for found, of_inputs in _of_stage(engine, run, stage):
        ours = of_inputs == inputs
        if not ours:
            containers.stop(engine, found.id, grace_s=0)  # what it would save is not wanted
        if not ours or done and found.status == "exited":
            containers.remove(engine, found.id)


def goes_on(run: Run, stage: str, inputs: str) -> bool:
    """Whether a container works on this stage from these inputs, or has ended by itself, so that `follow` will find it and
    start no other. Raises ToolFailure(unavailable)."""
    found = [state for state, of_inputs in _of_stage(engines.connect(), run, stage) if of_inputs == inputs]
    return any(state.status in ("running", "exited") and not _cut_off(state) for state in found)


def forget(run: Run, stage: str) -> None:
    """Remove the stage's ended containers. An engine that does not answer keeps them: `end_others` comes by again."""
    with contextlib.suppress(ToolFailure):
        engine = engines.connect()
        for found, _ in _of_stage(engine, run, stage):
            if found.status == "exited":
                containers.remove(engine, found.id)


def _of_stage(engine: Engine, run: Run, stage: str) -> list[tuple[containers.ContainerState, str]]:
    """(state, inputs) of every container of this run's stage."""
    labels = {"tunegate.run": str(run.path), "tunegate.stage": stage}
    with engine_errors.mapped(f"looking for containers of {stage}", engine.host):
        listed = engine.api.containers(all=True, filters={"label": [f"{k}={v}" for k, v in labels.items()]})
    return [(containers.state(engine, row["Id"]), row["Labels"].get("tunegate.job", "")) for row in listed]


def _token_from_store(secrets: list[str]) -> None:
    """The user's own token store is not in the container: where the token is needed, take it from there."""
    store = os.environ.get("HF_TOKEN_PATH")
    if store and not os.environ.get("HF_TOKEN") and "HF_TOKEN" in secrets:
        with contextlib.suppress(OSError):
            os.environ["HF_TOKEN"] = Path(store).read_text().strip()


def _argv(config: RunConfig, stage: str) -> list[str]:
    if stage == "train" and (config.gpu_count or 0) > 1:
        return ["torchrun", f"--nproc_per_node={config.gpu_count}", *STAGES[stage].argv]
    return ["python", *STAGES[stage].words]


def _to_the_end(engine: Engine, container: str) -> containers.ContainerState:
    """Pass the output on until the container has exited. The end of a log stream is not the end of the job: the engine may be gone."""
    since, gone_since, redactor = None, None, seal.Redactor()
    while True:
        _print(redactor.broken_off())  # a long line comes in pieces: what the engine did not send of it is lost
        try:
            for line in containers.follow_logs(engine, container, since):
                _print(redactor.feed(line.data))
                since = line.at
            state = containers.state(engine, container)
            if state.status in ("exited", "gone"):
                _print(redactor.close())
                return state
            gone_since = None
        except ToolFailure as failure:
            if failure.code == "not_found":  # removed between two looks
                return containers.ContainerState(container, "gone")
            gone_since = gone_since or time.monotonic()
            if failure.code != "unavailable" or time.monotonic() - gone_since > ENGINE_GONE_S:
                raise
        time.sleep(1)


def _print(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    asked = threading.Event()
    if sys.argv[2] != "build":  # a build has nothing to save: TERM ends it, and the engine stops with it
        signal.signal(signal.SIGTERM, lambda *_: asked.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # blocked until now by the runner
    sys.exit(main(Run(Path(sys.argv[1])), *sys.argv[2:5], stopping=asked))
