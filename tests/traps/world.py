"""The world in which every trap is laid: an embedded Hub, a tiny real model, drawn pictures, the real tools in process, real stages.

One run at one place (evidence is sealed for a path). `World.restore(point)` puts it back to where an honest run had brought
it, state directory included: part of what is known of a run lies there. Points are made when first asked for. Nothing of the
user's is read or written but the stage environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import yaml
from mcp import Client
from mcp.types import ElicitResult

from tests.scaffolds.conftest import MAKE_MODEL
from tests.traps import drawn
from tests.traps.judge import Seen
from tunegate import gates, mcp_server, paths
from tunegate.embedded import web as recorded
from tunegate.embedded.hub import EmbeddedHub, Fault
from tunegate.evidence import seal
from tunegate.jobs import snapshot
from tunegate.platforms.local_process import envs
from tunegate.project import render
from tunegate.publish import push, rerun
from tunegate.rundir import Run
from tunegate.tools.answer import content_of
from tunegate.tools.base import Workspace

TOKEN = "hf_" + "TrapTrapTrapTrapTrapTrap"
MAKE_LLAMA = """
import sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed
set_seed(0)
words = Tokenizer(models.BPE())
words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
special = ["<pad>", "<|im_start|>", "<|im_end|>"]
trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
words.train_from_iterator(["user assistant Is 17 odd or even ? odd even"] * 50, trainer)
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<|im_end|>")
tokenizer.chat_template = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\\n{{ m['content'] }}<|im_end|>\\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\\n{% endif %}"
)
tokenizer.save_pretrained(sys.argv[1])
config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=128, pad_token_id=0, bos_token_id=1, eos_token_id=2)
LlamaForCausalLM(config).save_pretrained(sys.argv[1])
"""
CARD = b"---\nlicense: apache-2.0\nlibrary_name: transformers\npipeline_tag: %s\n---\n# tiny\n"
OVERRIDES = {
    "n_epochs": 12,
    "learning_rate": 5e-3,
    "horizontal_flip": False,
    "per_device_train_batch_size": 16,
    "gradient_accumulation_steps": 1,
}
# Each point: the one before it, and the stages that lead from there to it.
POINTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "smoke": ("rendered", ("build", "check_api", "prepare", "smoke")),
    "baseline": ("smoke", ("baseline",)),
    "train": ("baseline", ("train",)),
    "eval": ("train", ("eval", "infer")),
    "pushed": ("eval", ()),
}
WAIT_S = 180


class World:
    """base: a folder of its own. One at a time in a process: its environment variables are the process's."""

    def __init__(self, base: Path):
        self.base, self.root, self.points = base, base / "root", base / "points"
        self.root.mkdir(parents=True, exist_ok=True)
        self._stack = contextlib.ExitStack()
        self.python = self._own_home()
        tokens = {TOKEN: "me"}
        self.hub = self._stack.enter_context(EmbeddedHub(base / "hub", tokens=tokens, extra_routes=recorded.routes()))
        os.environ.update(HF_ENDPOINT=self.hub.url, TUNEGATE_WEB_MAP=recorded.web_map(self.hub.url))
        self.server = mcp_server.build(Workspace(self.root))
        self.made: dict[str, Any] = {}
        if not (base / "model").exists():
            self.model("me/tiny", self.make(MAKE_MODEL, "model"))
            self.data("me/shapes", drawn.pictures(1, 60), drawn.pictures(2, 20))

    def _own_home(self) -> str:
        """Variables that lead into `base`; the stage's Python there, of the environment that was made before."""
        made = os.environ.get("TUNEGATE_STAGE_PYTHON")
        with contextlib.redirect_stdout(sys.stderr):
            home = Path(made or envs.for_task("image-classification")["python"]).parents[1]
        self.stage_home = home
        self._environ = dict(os.environ)
        for name in (*seal.SECRET_NAMES, "HF_TOKEN_PATH", "TUNEGATE_VIEWER_ENDPOINT", "TUNEGATE_WORK_DIR"):
            os.environ.pop(name, None)
        folders = {f"XDG_{kind.upper()}_HOME": str(self.base / kind) for kind in ("cache", "state")}
        calm = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        os.environ.update(folders, HF_HOME=str(self.base / "hf"), HF_TOKEN=TOKEN, **calm)
        seal._load_key.cache_clear()
        known = paths.cache_dir() / "envs"
        known.mkdir(parents=True, exist_ok=True)
        for path in home.parent.iterdir():  # those that an edited project needs are made beside them, in `base`
            if (path / "ready").exists() and not (known / path.name).exists():
                (known / path.name).symlink_to(path)
        return str(known / home.name / "bin/python")

    def close(self) -> None:
        self.end_jobs()
        self._stack.close()
        os.environ.clear()
        os.environ.update(self._environ)
        seal._load_key.cache_clear()

    # -- repositories

    def make(self, script: str, name: str, *arguments: str) -> Path:
        folder = self.base / name
        subprocess.run([self.python, "-c", script, str(folder), *arguments], check=True, capture_output=True)
        return folder

    def model(self, name: str, folder: Path, task: str = "image-classification") -> None:
        files = {path.name: path for path in folder.iterdir() if path.is_file() and path.name != "training_args.bin"}
        self.hub.add_repo("model", name, {**files, "README.md": CARD % task.encode()})

    def data(self, name: str, train: drawn.Rows, test: drawn.Rows | None = None, **more) -> None:
        self.hub.add_repo("dataset", name, drawn.files(train, test, **more))

    # -- tools

    def call(self, tool: str, output_dir: str = "run", user: bool | None = None, **arguments) -> dict[str, Any]:
        """The answer's content. user: what a user answers who can be asked; None: the client cannot ask."""

        async def answer(context, params):
            return ElicitResult(action="accept" if user else "decline", content={"approve": True} if user else None)

        async def go():
            async with Client(self.server, elicitation_callback=answer if user is not None else None) as client:
                return await client.call_tool(tool, {"output_dir": output_dir, **arguments})

        return content_of(anyio.run(go))

    def stage(self, stage: str, output_dir: str = "run", **arguments) -> dict[str, Any]:
        """Follows the stage to its end."""
        while True:
            content = self.call("docker_run", output_dir, stage=stage, wait_s=100, **arguments)
            if content.get("state") != "running":
                return content

    def stages(self, *names: str, output_dir: str = "run") -> dict[str, Any]:
        """Runs them in order; the first answer that is an error, else the last."""
        content: dict[str, Any] = {}
        for name in names:
            content = self.stage(name, output_dir)
            if "error" in content:
                break
        return content

    def follow(self, output_dir: str = "run", at_most: int = 30) -> tuple[dict[str, Any], list[str]]:
        """Makes the calls that gate_status and refusals name until gate 5 is open: (the last answer, the tools and stages called)."""
        done: list[str] = []
        content: dict[str, Any] = {}
        for _ in range(at_most):
            status = self.call("gate_status", output_dir)
            if all(step["passed"] for step in status["steps"][:5]):
                break
            following = content.get("error", status).get("next")
            if following is None:
                return content, done
            tool, arguments = following["tool"], {**following["arguments"]}
            arguments.pop("output_dir", None)
            done.append(arguments.get("stage", tool))
            if tool == "docker_run":
                content = self.stage(arguments.pop("stage"), output_dir, **arguments)
            else:
                content = self.call(tool, output_dir, user=True, **arguments)
        return content, done

    def begin(self, stage: str, output_dir: str = "run") -> dict[str, Any]:
        return self.call("docker_run", output_dir, stage=stage, wait_s=0)

    def start(
        self, output_dir="run", model="me/tiny", dataset="me/shapes", overrides=None, probe=None, data=None, only=False
    ):
        """probe_model to render_project; the first answer that is an error, else the last. only: these overrides alone."""
        self.end_jobs()
        shutil.rmtree(self.root / output_dir, ignore_errors=True)
        rows = {"n_train": 150, "n_eval": 60, **({"dataset_id": dataset} if dataset else {}), **(data or {})}
        calls = [
            ("probe_model", {"model_id": model, "platform": "local-process", "push_to_hub": False, **(probe or {})}),
            ("probe_dataset", rows),
            ("audit_gpu", {}),
            ("pick_ngc_image", {}),
            ("fetch_recipe", {}),
            ("render_project", {"overrides": {**({} if only else OVERRIDES), **(overrides or {})}}),
        ]
        for tool, arguments in calls:
            content = self.call(tool, output_dir, **arguments)
            if "error" in content:
                break
        return content

    def language(self, method: str, output_dir: str = "language") -> dict[str, Any]:
        """A run of text-generation, rendered."""
        if not (self.base / "llama").exists():
            self.model("me/llama", self.make(MAKE_LLAMA, "llama"), "text-generation")
            rows = [[("user", f"Is {n} odd or even?"), ("assistant", ("even", "odd")[n % 2])] for n in range(160)]
            lines = [json.dumps({"messages": [{"role": r, "content": c} for r, c in row]}) + "\n" for row in rows]
            self.hub.add_repo("dataset", "me/numbers", {"train.jsonl": "".join(lines).encode()})
        overrides = {"n_epochs": 2, "learning_rate": 0.01, "per_device_train_batch_size": 8, "max_length": 64}
        data, probe = {"n_train": 48, "n_eval": 30}, {"training_method": method}
        calm = {**overrides, "max_new_tokens": 4, "warmup_steps": 0.0}
        return self.start(output_dir, "me/llama", "me/numbers", calm, probe, data, only=True)

    # -- the honest run

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def work(self) -> Path:
        """What is private to the run."""
        return snapshot.home(Run(self.run))

    def restore(self, point: str) -> Path:
        """The run as an honest one stood at `point`; nothing else is left in the root, and no stage runs."""
        self.end_jobs()
        if not (self.points / point).exists():
            self._reach(point)
        for folder, name in ((self.root, "root"), (self.base / "state", "state")):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(self.points / point / name, folder, symlinks=True)
        return self.run

    def _reach(self, point: str) -> None:
        if point == "rendered":
            content = self.start()
        else:
            before, stages = POINTS[point]
            self.restore(before)
            content = self.stages(*stages) if stages else self._push()
        assert "error" not in content, content
        unfinished = self.points / f"{point}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        for folder, name in ((self.root, "root"), (self.base / "state", "state")):
            shutil.copytree(folder, unfinished / name, symlinks=True)
        unfinished.rename(self.points / point)

    def to_be_pushed(self) -> None:
        """The user wants the run pushed after all."""
        for tool, arguments in (("probe_model", {"model_id": "me/tiny", "push_to_hub": True}), ("render_project", {})):
            content = self.call(tool, user=True, **arguments)
            assert "error" not in content, content

    def _push(self) -> dict[str, Any]:
        self.to_be_pushed()
        return self.call("push_hub", user=True)

    # -- the agent's hands

    header = render.HEADER

    def revision(self, output_dir: str = "run") -> str:
        """The commit of the model that the run was probed with."""
        return yaml.safe_load((self.root / output_dir / "config.yaml").read_text())["model_revision"]

    def cache_tag(self) -> str:
        """How the stage's Python calls its compiled files: cpython-311."""
        words = [self.python, "-c", "import sys; print(sys.implementation.cache_tag)"]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    def json(self, name: str, output_dir: str = "run") -> Any:
        return json.loads((self.root / output_dir / name).read_text())

    @contextlib.contextmanager
    def hub_down(self) -> Iterator[None]:
        """The Hub answers nothing but errors."""
        self.hub.faults.append(Fault(".", status=503))
        try:
            yield
        finally:
            self.hub.faults.clear()

    @contextlib.contextmanager
    def upgraded(self) -> Iterator[None]:
        """Another version of tunegate, whose harness has one comment more."""
        ours = render.render_files

        def newer(*arguments, **more):
            files = ours(*arguments, **more)
            return files | {"harness/metrics.py": files["harness/metrics.py"] + "\n# of the next version\n"}

        render.render_files = newer
        try:
            yield
        finally:
            render.render_files = ours

    def edit(self, name: str, old: str, new: str, output_dir: str = "run") -> None:
        path = self.root / output_dir / name
        text = path.read_text()
        assert old in text, f"{name} no longer has {old!r}: write this trap anew"
        path.write_text(text.replace(old, new, 1))

    def config(self, output_dir: str = "run", **values) -> None:
        path = self.root / output_dir / "config.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}, sort_keys=False))

    # -- what is seen

    def steps(self, output_dir: str = "run") -> list[gates.Step]:
        return gates.steps(gates.view(Run(self.root / output_dir)))

    def seen(self, content=None, gate=5, output_dir="run", only=(), skill=False, fact="") -> Seen:
        """content: the last answer, if it is an error the refusal. Else what closes gates 1 to `gate`, of the checks `only` if named."""
        run = Run(self.root / output_dir)
        if content and "error" in content:
            error = content["error"]
            refusal = " | ".join(
                filter(None, [error["message"], *error.get("missing", []), error.get("ask_user") or ""])
            )
            return Seen(refusal=refusal, fact=fact or refusal[:200])
        status = self.call("gate_status", output_dir)  # as an agent sees it: what was pushed is looked at again
        checks = [c for step in status["steps"][:gate] for c in step["checks"] if not only or c["name"] in only]
        refusal = "; ".join(f"{check['name']}: {check['detail']}" for check in checks if not check["ok"])
        said = json.dumps([status["steps"], status.get("preflight"), status.get("notes")])
        with contextlib.suppress(Exception):  # no card before there are results
            card = push.assemble(run)["README.md"].decode()
            return Seen(refusal, said, card, rerun.emit(run)[1] if skill else "", fact or refusal[:200])
        return Seen(refusal, said, fact=fact or refusal[:200])

    # -- while a stage runs

    def processes(self, script: str, output_dir: str = "run") -> list[int]:
        """Of a stage of this run: those that were started with this word, in its private folder."""
        private, found = str(snapshot.home(Run(self.root / output_dir))), []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                if script.encode() in words and os.readlink(f"/proc/{entry}/cwd").startswith(private):
                    found.append(int(entry))
        return found

    def frozen(self, script: str, when: Callable[[], bool] = lambda: True, output_dir: str = "run") -> list[int]:
        """Waits until `when()` while the script runs, and stops its processes there (SIGSTOP). Raises TimeoutError."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if (pids := self.processes(script, output_dir)) and when():
                self.send(pids, signal.SIGSTOP)
                return pids
            time.sleep(0.002)
        raise TimeoutError(f"{script} was not caught running")

    def send(self, pids: list[int], number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def thaw(self, pids: list[int]) -> None:
        self.send(pids, signal.SIGCONT)

    def end_jobs(self) -> None:
        """Kill what a trap left running of this world, its runners first."""
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{entry}/cmdline").read_bytes()
                here = os.readlink(f"/proc/{entry}/cwd").startswith(f"{self.base}/")
                if here and int(entry) != os.getpid() and (b"tunegate.jobs" in words or b"harness/launch.py" in words):
                    os.kill(int(entry), signal.SIGKILL)


def wait_for(condition: Callable[[], Any], seconds: float = WAIT_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain")
        time.sleep(0.01)
