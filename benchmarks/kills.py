"""`python benchmarks/kills.py`: one training on local-docker, and many random kills of everything around it.

Kills the server, the processes that follow the container, and the engine (KILL and TERM, with and without live-restore), and
stops the training as a user would; after each, a fresh server and client go on. Prints what was killed, how many runs were
lost, how many optimizer steps were trained twice (by what train.py wrote down at each step), the metric, and gate 5.
Then, as a control of that count, it kills the training itself, where steps must be trained twice.

It stops and restarts the engine: give it one of its own (TUNEGATE_ENGINE_DIR, see standin/README.md), with the stand-in image
built, and wheels for it (TUNEGATE_WHEELHOUSE). Linux, root. `--kills 5 --epochs 3` is a short one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import docker
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from tunegate import demo
from tunegate.embedded import web as recorded_web
from tunegate.embedded.hub import EmbeddedHub
from tunegate.tools.answer import content_of

TOKEN = "hf_" + "Kills" * 8
PATIENCE_S = 240  # from a kill to a training that runs again


class Engine:
    """The dockerd behind DOCKER_HOST=unix:///…/docker.sock, with its pid file beside the socket; restarted as it was started."""

    def __init__(self, host: str):
        self.host, self.folder = host, Path(host.removeprefix("unix://")).parent
        process = Path(f"/proc/{self.pid}")
        self.argv = [part for part in (process / "cmdline").read_bytes().decode().split("\0") if part]
        environ = (process / "environ").read_bytes().decode().split("\0")
        self.env = dict(line.split("=", 1) for line in environ if "=" in line)
        self.live_restore, self.child = "--live-restore" in self.argv, None
        self.argv = [part for part in self.argv if part != "--live-restore"]

    @property
    def pid(self) -> int:
        return int((self.folder / "pid").read_text())

    def end(self, number: int) -> None:
        pid = self.pid
        os.kill(pid, number)
        if self.child:
            self.child.wait()  # a process that nobody has waited for is still there, says dockerd of its pid file
        with contextlib.suppress(OSError):  # a dockerd that meets the old one's dying containerd gives up, after 15 s
            number = int((self.folder / "exec/containerd/containerd.pid").read_text())
            while Path(f"/proc/{number}").exists():
                time.sleep(0.05)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.05)

    def start(self, live_restore: bool = False) -> None:
        """Waits until it answers."""
        with (self.folder / "log").open("ab") as log:
            argv = [*self.argv, *(["--live-restore"] if live_restore else [])]
            self.child = subprocess.Popen(argv, env=self.env, stdout=log, stderr=log, start_new_session=True)
        self.live_restore = live_restore
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(Exception):
                docker.APIClient(base_url=self.host, timeout=5).ping()
                return
            if self.child.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the engine did not start again: see {self.folder / 'log'}")
            time.sleep(0.1)


class Agent:
    """An MCP client; each call gets a server process of its own, as after a kill."""

    def __init__(self, root: Path, env: dict[str, str]):
        self.root = root
        argv = ["-m", "tunegate", "serve", "--root", str(root)]
        self.server = StdioServerParameters(command=sys.executable, args=argv, env=env)

    def call(self, tool: str, **arguments) -> dict[str, Any]:
        async def go():
            async with Client(self.server) as client:
                return content_of(await client.call_tool(tool, {"output_dir": "run", **arguments}))

        return anyio.run(go)

    def train(self, **arguments) -> dict[str, Any]:
        return self.call("docker_run", stage="train", **arguments)

    def walk(self, call: dict[str, Any] | None, until: str) -> None:
        """Follow `next` up to a stage of this name, or until the gate of this number is open."""
        while call and call["arguments"].get("stage") != until:
            arguments = {**call["arguments"], **demo.CHOICES.get(call["tool"], {}), "output_dir": "run"}
            content = self.call(call["tool"], **arguments)
            if "error" in content:
                raise SystemExit(f"{call['tool']}: {content['error']['message']}")
            if content.get("state") != "running":
                print(f"  {call['tool']} {call['arguments'].get('stage', '')}", flush=True)
            call = content["next"]
            if until == "gate 5" and call and call["tool"] == "push_hub":
                return


def processes(*words: str) -> list[int]:
    """Processes whose command line has all these words."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and all(w.encode() in (entry / "cmdline").read_bytes() for w in words):
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


def kill(*words: str) -> bool:
    found = processes(*words)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


class Trial:
    """What is killed, each by a method that says whether there was anything to kill."""

    def __init__(self, agent: Agent, engine: Engine, run: Path, rng: random.Random):
        self.agent, self.engine, self.run, self.rng = agent, engine, run, rng

    def server(self) -> bool:
        """In the middle of a call that follows the training."""
        hit = []

        async def go():
            with anyio.move_on_after(20):
                async with Client(self.agent.server) as client, anyio.create_task_group() as group:
                    arguments = {"output_dir": "run", "stage": "train", "wait_s": 60}
                    group.start_soon(client.call_tool, "docker_run", arguments)
                    await anyio.sleep(self.rng.uniform(0, 1.5))
                    hit.append(kill("serve", "--root", str(self.agent.root)))

        with contextlib.suppress(Exception, BaseExceptionGroup):  # the client's complaint about a server that is gone
            anyio.run(go)
        return any(hit)

    def follower(self) -> bool:
        return kill("tunegate.platforms.local_docker.docker_stage", str(self.run), "train")

    def runner(self) -> bool:
        return kill("tunegate.jobs.runner", str(self.run / "meta/jobs/train"))

    def runner_and_follower(self) -> bool:
        return any([self.runner(), self.follower()])

    def engine_kill(self, live_restore: bool = False, number: int = signal.SIGKILL) -> bool:
        self.engine.end(number)
        time.sleep(self.rng.uniform(0, 2))
        self.engine.start(live_restore)
        return True

    def engine_term(self) -> bool:
        return self.engine_kill(number=signal.SIGTERM)

    def engine_kill_live_restore(self) -> bool:
        """Containers outlive an engine that runs with live-restore: the first restart turns it on."""
        return self.engine_kill(live_restore=True)

    def engine_term_live_restore(self) -> bool:
        return self.engine_kill(live_restore=True, number=signal.SIGTERM)

    def stop_by_user(self) -> bool:
        answer = self.agent.train(stop=True)
        return "nothing to stop" not in str(answer.get("notes"))


KINDS = (
    "server",
    "follower",
    "runner",
    "runner_and_follower",
    "engine_kill",
    "engine_term",
    "engine_kill_live_restore",
    "engine_term_live_restore",
    "stop_by_user",
)


def steps(run: Path) -> list[tuple[str, int]]:
    """(session, step) of every optimizer step that was ever done."""
    path = run / "logs/steps.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [(row["session"], row["step"]) for row in map(json.loads, filter(lambda x: x.endswith("\n"), lines))]


def ended(run: Path) -> bool:
    return (run / "checkpoints/final").exists()


def twice(run: Path) -> int:
    done = steps(run)
    return len(done) - len({step for _, step in done})


def go_on(agent: Agent, run: Path, answers: Counter) -> bool:
    """Do what the answers say until the training runs and has done a step, or has passed. False: lost."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        before = len(steps(run))
        content = agent.train(wait_s=1)
        state = content.get("state") or content["error"]["code"]
        answers[state] += 1
        if state == "approval_required":
            return False
        if state == "stage_failed" and content["error"]["next"]["tool"] != "docker_run":
            print(f"  FAILED: {content['error']['message']}", flush=True)
            return False
        if state == "passed" or state == "running" and len(steps(run)) > before:
            return True
    return False


def trials(agent: Agent, engine: Engine, run: Path, options: argparse.Namespace) -> tuple[Counter, int, Counter]:
    """(kills by kind, runs lost, answers of docker_run)."""
    rng, kinds, answers, lost = random.Random(options.seed), Counter(), Counter(), 0
    trial = Trial(agent, engine, run, rng)
    assert go_on(agent, run, answers), "the training does not start"
    while kinds.total() < options.kills and not ended(run):
        kind = rng.choice(KINDS)
        time.sleep(rng.uniform(0, 2.5))
        before, began = steps(run), time.monotonic()
        if not getattr(trial, kind)() or ended(run):  # nothing to kill, or nothing left to disturb
            continue
        kinds[kind] += 1
        if rng.random() < 0.3:  # while it starts again, or not: something else is killed before anybody looks
            time.sleep(rng.uniform(0, 2))
        elif not go_on(agent, run, answers):
            lost += 1
            break
        after = steps(run)
        print(
            f"{kinds.total():3} {kind:26} at step {before[-1][1] if before else 0:5}, "
            f"{time.monotonic() - began:5.1f} s, sessions {len({s for s, _ in after}):3}, twice {twice(run)}",
            flush=True,
        )
    return kinds, lost, answers


def control(agent: Agent, engine: Engine, run: Path) -> tuple[int, int]:
    """KILL to the training itself, past a checkpoint: (steps that must be done twice now, steps that were)."""
    answers = Counter()
    if not go_on(agent, run, answers):
        return 1, 0
    before = twice(run)
    api = docker.APIClient(base_url=engine.host)

    def kept() -> int:
        found = run.glob("checkpoints/checkpoint-*/trainer_state.json")
        return max((int(path.parent.name.split("-")[1]) for path in found), default=0)

    while steps(run)[-1][1] < kept() + 3:
        time.sleep(0.1)
    for row in api.containers(filters={"label": [f"tunegate.run={run}", "tunegate.stage=train"]}):
        api.kill(row["Id"])
    deadline = time.monotonic() + 60
    while processes("tunegate.jobs.runner", str(run / "meta/jobs/train")) and time.monotonic() < deadline:
        time.sleep(0.1)
    must = steps(run)[-1][1] - kept()
    error = agent.train(wait_s=5).get("error", {})
    print(f"control: {error.get('code')}: {error.get('missing')}", flush=True)
    while agent.train(wait_s=60).get("state") == "running":
        pass
    return must, twice(run) - before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 10_000)
    parser.add_argument("--epochs", type=int, default=12, help="63 steps each; long enough for all the kills")
    parser.add_argument("--keep", type=Path, help="directory for the run, kept; else a temporary one")
    options = parser.parse_args()
    engine = Engine(os.environ["DOCKER_HOST"])
    assets = demo.make_assets()
    demo.CHOICES["render_project"]["overrides"]["n_epochs"] = options.epochs
    with (
        tempfile.TemporaryDirectory(prefix="tunegate-kills-") as folder,
        EmbeddedHub(f"{folder}/hub", tokens={TOKEN: ("demo", "write")}, extra_routes=recorded_web.routes()) as hub,
    ):
        for kind, name, part in (("model", demo.MODEL, "model"), ("dataset", demo.DATASET, "dataset")):
            base = assets / part
            hub.add_repo(kind, name, {p.relative_to(base).as_posix(): p for p in base.rglob("*") if p.is_file()})
        root = (options.keep or Path(folder) / "root").resolve()
        root.mkdir(parents=True, exist_ok=True)
        more = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "TUNEGATE_WEB_MAP": recorded_web.web_map(hub.url)}
        try:
            return measure(Agent(root, {**os.environ, **more}), engine, root / "run", options)
        finally:
            if engine.child:
                engine.end(signal.SIGTERM)
                engine.start()


def measure(agent: Agent, engine: Engine, run: Path, options: argparse.Namespace) -> int:
    print(f"seed {options.seed}, {options.kills} kills, engine {engine.host}", flush=True)
    first = agent.call("probe_model", model_id=demo.MODEL, platform="local-docker")
    agent.walk(first["next"], until="train")
    began = time.monotonic()
    kinds, lost, answers = trials(agent, engine, run, options)
    counted, sessions, killing = twice(run), len({session for session, _ in steps(run)}), time.monotonic() - began
    must, were = control(agent, engine, run) if not lost else (1, 0)
    done = Counter(step for _, step in steps(run))
    report = json.loads((run / "reports/train.json").read_text())
    complete = sorted(done) == list(range(1, report["max_steps"] + 1)) and report["global_step"] == report["max_steps"]
    agent.walk({"tool": "docker_run", "arguments": {"stage": "eval"}}, until="gate 5")
    gates = {step["step"]: step["passed"] for step in agent.call("gate_status")["steps"]}
    accuracy = json.loads((run / "reports/eval_results.json").read_text())["accuracy"]
    if kinds.total() < options.kills:
        print(f"the training ended after {kinds.total()} kills: raise --epochs")
    print(f"\nkills               {kinds.total()} in {killing:.0f} s: {dict(sorted(kinds.items()))}")
    print(f"answers             {dict(answers)}")
    print(f"processes           {sessions} trained, one after the other")
    print(f"runs lost           {lost}")
    print(f"steps trained twice {counted}")
    print(f"control             {must} steps had to be trained twice after a KILL of the training itself, {were} were")
    print(f"steps               1 to {report['max_steps']}, {'each done' if complete else 'NOT each done'}")
    print(f"accuracy            {accuracy:.4f}, gate 5 {'open' if gates[5] else 'CLOSED'}")
    return int(
        bool(
            lost or kinds.total() < options.kills or counted or not complete or not gates[5] or must != were or were < 1
        )
    )


if __name__ == "__main__":
    sys.exit(main())
