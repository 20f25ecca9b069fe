"""The server as a client sees it: schemas, strictness, refusals, resources, the prompt; over both protocol eras."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis_jsonschema import from_schema
from mcp import Client
from mcp.shared.exceptions import MCPError

from tunegate import errors, mcp_server
from tunegate.config import RunConfig
from tunegate.rundir import Run
from tunegate.tools.answer import error_of
from tunegate.tools.base import Workspace

SNAPSHOTS = Path(__file__).parent / "snapshots"
TOOLS = [
    "probe_model",
    "probe_dataset",
    "audit_gpu",
    "pick_ngc_image",
    "fetch_recipe",
    "render_project",
    "docker_run",
    "diagnose",
    "push_hub",
    "emit_rerun_skill",
    "gate_status",
]


def server(root: Path):
    return mcp_server.build(Workspace(root))


def ask(root: Path, action, mode: str = "auto"):
    async def go():
        async with Client(server(root), mode=mode) as client:
            return await action(client)

    return anyio.run(go)


def call(root: Path, name: str, mode: str = "auto", **arguments):
    return ask(root, lambda client: client.call_tool(name, arguments), mode)


@pytest.fixture
def run(tmp_path) -> Run:
    found = Run(tmp_path / "out/run")
    found.path.mkdir(parents=True)
    found.save_config(RunConfig(model_id="org/m"))
    return found


def test_the_tools_and_their_schemas_are_those_of_the_snapshots(tmp_path):
    """A change of the interface is a diff: rerun with TUNEGATE_SNAPSHOTS=write, and read it."""
    listed = ask(tmp_path, lambda client: client.list_tools()).tools
    assert [tool.name for tool in listed] == TOOLS
    for tool in listed:
        path = SNAPSHOTS / f"{tool.name}.json"
        text = (
            json.dumps(tool.model_dump(mode="json", by_alias=True, exclude_none=True), indent=1, sort_keys=True) + "\n"
        )
        if os.environ.get("TUNEGATE_SNAPSHOTS") == "write":
            path.write_text(text)
        assert path.read_text() == text, f"{tool.name}'s schema changed"


def test_every_hint_is_explicit_and_every_tool_is_typed_in_and_out(tmp_path):
    for tool in ask(tmp_path, lambda client: client.list_tools()).tools:
        hints = tool.annotations
        assert None not in (
            hints.read_only_hint,
            hints.destructive_hint,
            hints.idempotent_hint,
            hints.open_world_hint,
        ), tool.name
        assert (
            tool.title
            and tool.description
            and tool.input_schema["additionalProperties"] is False
            and "next" in tool.output_schema["properties"]
        )


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    ("name", "arguments", "code", "says"),
    [
        ("gate_status", {"output_dir": "x", "unknown": 1}, "invalid_input", "'unknown'"),
        ("gate_status", {}, "invalid_input", "'output_dir' is required"),
        ("gate_status", {"output_dir": 3}, "invalid_input", "output_dir = '3'"),
        ("gate_status", {"output_dir": "nowhere"}, "not_found", "probe_model"),
        ("push_hub", {"output_dir": "../x"}, "outside_root", "--root"),
        ("emit_rerun_skill", {"output_dir": "x", "verify": "yes"}, "invalid_input", "verify"),
        ("docker_run", {"output_dir": "x", "stage": "deploy"}, "invalid_input", "'train'"),
        ("docker_run", {"output_dir": "x", "stage": "train", "wait_s": 3600}, "invalid_input", "wait_s"),
        ("no_such_tool", {}, "invalid_input", "probe_model"),
    ],
)
def test_a_refusal_is_structured(tmp_path, mode, name, arguments, code, says):
    result = call(tmp_path, name, mode, **arguments)
    error = error_of(result)
    assert result.is_error and error["code"] == code and code in errors.CODES and says in error["message"]
    assert set(error) == {"code", "message", "gate", "missing", "next"} and result.structured_content is None


@pytest.mark.parametrize(
    ("name", "arguments", "gate", "next_tool"),
    [
        ("probe_dataset", {"dataset_id": "a/b"}, 1, "probe_model"),
        ("audit_gpu", {}, 1, "probe_model"),
        ("pick_ngc_image", {}, 1, "probe_model"),
        ("fetch_recipe", {}, 1, "probe_model"),
        ("render_project", {}, 1, "probe_model"),
        ("docker_run", {"stage": "smoke"}, 1, "probe_model"),
        ("docker_run", {"stage": "train"}, 1, "probe_model"),
        ("emit_rerun_skill", {}, 1, "probe_model"),
        ("push_hub", {}, 1, "probe_model"),
    ],
)
def test_out_of_order(run, tmp_path, name, arguments, gate, next_tool):
    error = error_of(call(tmp_path, name, output_dir="out/run", **arguments))
    assert (error["code"], error["gate"], error["next"]["tool"]) == ("gate_closed", gate, next_tool) and error[
        "missing"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "model_id: [",
        "model_id: a/b\nfoo: 1\n",
        "model_id: a/b\nmodel_id: a/b\n",
        "model_id: a/b\nseed: one\n",
        "x" * 10_000_000,
    ],
)
def test_a_broken_config_is_named_by_every_tool(run, tmp_path, text):
    run.config_path.write_text(text)
    for name, arguments in (
        ("gate_status", {}),
        ("docker_run", {"stage": "build"}),
        ("probe_dataset", {"dataset_id": "a/b"}),
    ):
        error = error_of(call(tmp_path, name, output_dir="out/run", **arguments))
        assert error["code"] == "invalid_config" and "config.yaml" in error["message"], (name, error)


def test_a_defect_is_masked_and_said_to_be_one(run, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("/home/u/.token hf_secret")

    monkeypatch.setattr("tunegate.tools.status.status", broken)
    error = error_of(call(tmp_path, "gate_status", output_dir="out/run"))
    assert error["code"] == "internal" and "RuntimeError" in error["message"] and "token" not in error["message"]


def test_config_evidence_log_and_recipe_are_resources(run, tmp_path):
    async def fetch(client, uri):
        try:
            return (await client.read_resource(uri)).contents[0].text
        except MCPError as error:
            return error

    def read(uri):
        return ask(tmp_path, lambda client: fetch(client, uri))

    assert "model_id: org/m" in read("run://out~run/config")
    (run.path / "logs").mkdir()
    (run.path / "logs/train.log").write_text("token hf_" + "k3" * 17 + "\n")
    assert read("run://out~run/log/train") == "token <HF_TOKEN>"
    for uri in (
        "run://nowhere/config",
        "run://out~run/evidence/seal",
        "run://out~run/evidence/model",
        "run://out~run/log/deploy",
        "run://..~..~etc/config",
    ):
        assert isinstance(read(uri), MCPError), uri


def test_the_skill_is_a_prompt(tmp_path):
    prompt = ask(tmp_path, lambda client: client.get_prompt("tunegate"))
    assert "probe_model" in prompt.messages[0].content.text


FUZZED = {tool.name: tool for tool in anyio.run(mcp_server.build(Workspace(Path("/nowhere"))).list_tools)}


@pytest.mark.parametrize("name", sorted(FUZZED))
def test_no_input_that_fits_a_schema_crashes_its_tool(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens: the Hub is down

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(from_schema({key: value for key, value in FUZZED[name].input_schema.items() if key != "title"}))
    def fuzz(arguments):
        result = call(tmp_path, name, **arguments)
        assert not result.is_error or error_of(result)["code"] != "internal", (arguments, error_of(result))

    fuzz()


FORBIDDEN = (  # what only a later call needs; each is imported by the call that does
    *("tunegate.embedded", "tunegate.demo"),
    *("torch", "transformers", "datasets", "numpy", "pyarrow", "PIL"),
    *("huggingface_hub", "docker", "pynvml", "jinja2", "bs4", "filelock", "protego"),
)


def test_a_server_that_waits_for_its_first_call_has_loaded_what_every_call_needs():
    code = (
        "import sys, pathlib; from tunegate import cli, mcp_server; from tunegate.tools.base import Workspace;"
        f"mcp_server.build(Workspace(pathlib.Path('/'))); print([m for m in {FORBIDDEN!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
