"""An agent that only ever follows `next`, from starts where something is broken: it ends, and never goes round in a circle."""

from __future__ import annotations

import pytest

from tests import sealed
from tests.sealed import CONFIG, script
from tests.tiny import DATASET, dataset_files, parquet
from tunegate.clients.docker import engine as engines
from tunegate.clients.hub import Hub
from tunegate.errors import ToolFailure
from tunegate.rundir import Run

pytestmark = pytest.mark.usefixtures("own_code")


MOST = 12
PETS = {"dataset_id": "me/pets"}


def walk(call, tool: str, **arguments) -> list[dict]:
    """Every answer, the last of them without `next`; a choice that only the user makes is added where the tool asks for it."""
    answers, made = [], []
    step = {"tool": tool, "arguments": arguments}
    while step and len(answers) < MOST:
        given = step["arguments"]
        if step["tool"] == "docker_run" and given["stage"] == "build":
            return answers  # what follows is the real work
        content = call(step["tool"], **given)
        said = content.get("error", content)
        answers.append(said)
        made.append((step["tool"], str(sorted(given.items()))))
        step = said.get("next")
    assert step is None, f"still on its way after {MOST} calls: {made}"
    return answers


def begin(call, model: str = "me/vit", **dataset) -> Run:
    call("probe_model", model_id=model, output_dir="run", platform="local-process")
    if dataset:
        call("probe_dataset", output_dir="run", **dataset)
    return Run(call.workspace.root / "run")


def test_no_token(call, server):
    begin(call, **PETS)
    call.workspace._made["hub"] = Hub(server.url)
    last = walk(call, "gate_status", output_dir="run")[-1]
    assert "push_to_hub=false" in last["ask_user"] and "HF_TOKEN" in last["ask_user"]


def test_no_engine(call, monkeypatch):
    def none(*_):
        raise ToolFailure("unavailable", "no Docker engine answers at /nowhere")

    monkeypatch.setattr(engines, "connect", none)
    begin(call, **PETS)
    call("probe_model", model_id="me/vit", output_dir="run", platform="local-docker")
    last = walk(call, "gate_status", output_dir="run")[-1]
    assert 'platform="local-process"' in last["ask_user"] and "/nowhere" in last["ask_user"]
    call("probe_model", model_id="me/vit", output_dir="run", platform="local-process")
    assert call("audit_gpu", output_dir="run")["next"]["tool"] == "pick_ngc_image"


@pytest.mark.parametrize("model", ["me/gated-no", "me/nothing", "me/speech"])
def test_a_model_that_cannot_be_had(call, server, model):
    server.add_repo("model", "me/gated-no", DATASET, gated=True)
    if model == "me/gated-no":
        call.workspace._made["hub"] = Hub(server.url, token="hf_" + "strangerstrangerstra")
    last = walk(call, "probe_model", model_id=model)[-1]
    assert last.get("ask_user") or last["code"] == "not_found"


def test_no_dataset_is_a_question_with_recommendations(call):
    begin(call)
    assert walk(call, "gate_status", output_dir="run")[-1]["ask_user"]


def test_a_dataset_that_went_away(call, server):
    server.add_repo("dataset", "me/gone", dataset_files(parquet(["cat", "dog"] * 6)))
    run = begin(call, dataset_id="me/gone")
    run.save_config(run.config().model_copy(update={"dataset_id": "me/never"}))
    assert walk(call, "gate_status", output_dir="run")[-1]["code"]


def test_a_value_that_was_edited(call):
    run = begin(call, **PETS)
    run.save_config(run.config().model_copy(update={"class_names": ["x", "y"]}))
    walk(call, "gate_status", output_dir="run")


@pytest.mark.parametrize("name", ["plot_results.py", "argparse.py", "torch.pyc", "data/__init__.py", "harness/x.py"])
def test_an_added_module(call, name):
    scripts = {"train.py": script("import data"), "data.py": script("x = 1"), "harness/check_api.py": script(CHECK)}
    run = sealed.build(Run(call.workspace.root / "run"), until="stages/eval", files=scripts)
    sealed.put(run, {name: script("x = 2")})
    answers = walk(call, "docker_run", output_dir="run", stage="check_api", wait_s=60)
    if name == "plot_results.py":
        assert answers[0]["state"] == "passed" and "plot_results.py" in run.path.joinpath("seen.txt").read_text()
    else:
        assert name.split("/")[0] in answers[-1]["ask_user"]


CHECK = """
import hashlib, json, pathlib
paths = [*pathlib.Path(".").glob("*.py"), *pathlib.Path("harness").glob("*.py")]
files = {p.as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}
rows = {name: {"sha256": digest, "keywords": 1, "unverified": 0} for name, digest in files.items()}
(RUN / "seen.txt").write_text(" ".join(files))
pathlib.Path("reports").mkdir(exist_ok=True)
report = {"passed": True, "problems": [], "files": rows, "versions": {}}
pathlib.Path("reports/check_api.json").write_text(json.dumps(report))
"""


def test_an_edited_file_that_measures(call):
    run = sealed.build(Run(call.workspace.root / "run"), until="stages/check_api")
    sealed.write(run, "project", {**sealed.project(run), "guarded": ["train.py"]})
    sealed.put(run, {"train.py": script("print(1)")})
    walk(call, "docker_run", output_dir="run", stage="prepare")


def test_a_model_that_does_not_fit(call):
    facts = {"image": {"model_fit": "does not fit: 99 GB needed", "workarounds": []}}
    sealed.build(Run(call.workspace.root / "run"), until="image", config=CONFIG, facts=facts)
    walk(call, "fetch_recipe", output_dir="run")


def test_a_stage_that_fails_for_no_known_reason(call):
    scripts = {"prepare_data.py": script("raise ValueError('xyzzy')")}
    sealed.build(Run(call.workspace.root / "run"), until="stages/check_api", files=scripts)
    last = walk(call, "docker_run", output_dir="run", stage="prepare", wait_s=60)[-1]
    assert "xyzzy" in last["ask_user"]
