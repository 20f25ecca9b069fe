"""Refusals as the TypeScript SDK 1.x sees them, which Gemini CLI, the Inspector and most other clients are built on."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

SDK = "@modelcontextprotocol/sdk@1.32.2"
# Before any test moves it: what is installed once is kept there.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tunegate-tests" / SDK.replace("/", "-")
CLIENT = """
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
const [command, args, calls] = process.argv.slice(2).map((text) => JSON.parse(text));
const client = new Client({ name: "test", version: "1" });
await client.connect(new StdioClientTransport({ command, args, env: process.env }));
await client.listTools();  // from here on it checks every answer against its tool's output schema
const answers = [];
for (const call of calls) answers.push(await client.callTool(call).catch((error) => ({ thrown: String(error) })));
console.log(JSON.stringify(answers));
await client.close();
"""


def not_tested(why: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(why, pytrace=False)
    pytest.skip(f"NOT TESTED with the TypeScript SDK: {why}")


@pytest.fixture(scope="session")
def client() -> Path:
    """client.mjs beside its node_modules, installed once into the user's cache."""
    if not shutil.which("node") or not shutil.which("npm"):
        not_tested("node and npm are not installed (Debian: nodejs npm)")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (CACHE / "ready").exists():
            (CACHE / "package.json").write_text('{"private": true}')
            install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", SDK]
            done = subprocess.run(install, cwd=CACHE, capture_output=True, text=True, timeout=300)
            if done.returncode:
                not_tested(f"npm could not install {SDK}: {done.stderr[-500:]}")
            (CACHE / "ready").touch()
        (CACHE / "client.mjs").write_text(CLIENT)
    return CACHE / "client.mjs"


def ask(client: Path, root: Path, *calls: dict) -> list[dict]:
    server = ["-m", "tunegate", "serve", "--root", str(root)]
    argv = ["node", client, json.dumps(sys.executable), json.dumps(server), json.dumps(calls)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_a_refusal_arrives(client, tmp_path):
    calls = [
        {"name": "gate_status", "arguments": {"output_dir": "nowhere"}},
        {"name": "push_hub", "arguments": {"output_dir": "../x"}},
        {"name": "docker_run", "arguments": {"output_dir": "x", "stage": "deploy"}},
    ]
    answers = ask(client, tmp_path, *calls)
    assert [answer.get("thrown") for answer in answers] == [None] * 3
    errors = [json.loads(answer["content"][0]["text"])["error"] for answer in answers]
    assert [error["code"] for error in errors] == ["not_found", "outside_root", "invalid_input"]
    assert all(answer["isError"] and "structuredContent" not in answer for answer in answers)


def test_an_answer_arrives_with_its_structured_content(client, tmp_path):
    from tests.sealed import build
    from tunegate.rundir import Run

    build(Run(tmp_path / "run"), until="dataset")
    (answer,) = ask(client, tmp_path, {"name": "gate_status", "arguments": {"output_dir": "run"}})
    assert answer.get("thrown") is None and answer["structuredContent"]["next"]["tool"] == "audit_gpu"
