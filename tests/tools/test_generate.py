"""render_project through the server: what it writes, what it refuses to set, and whose edits it keeps."""

from __future__ import annotations

import errno
import os
import shutil

import pytest

from tests import sealed
from tests.sealed import CONFIG
from tests.tiny import TOKEN, server  # noqa: F401
from tunegate import evidence, gates
from tunegate.clients.hub import Hub
from tunegate.evidence import approvals, ledger
from tunegate.project import listed
from tunegate.project.render import HEADER
from tunegate.recipe.slots import SLOTS
from tunegate.rundir import Run
from tunegate.tools.base import Workspace


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """A server root without a Hub: nothing here asks for one."""
    return Workspace(tmp_path / "root")


@pytest.fixture
def run(call) -> Run:
    found = sealed.build(Run(call.workspace.root / "run"), until="recipe")
    (found.path / "train.py").unlink()
    return found


def render(call, **arguments):
    return call("render_project", output_dir="run", **arguments)


def test_the_project_is_written_and_is_evidence(call, run):
    found = render(call, overrides={"n_epochs": 2, "learning_rate": 0.01, "horizontal_flip": False})
    assert {"train.py", "Dockerfile", "requirements.txt", "harness/check_api.py"} <= set(found["files"])
    assert all((run.path / name).is_file() for name in found["files"])
    config = run.config()
    assert (config.n_epochs, config.learning_rate, config.horizontal_flip) == (2, 0.01, False)
    assert config.per_device_train_batch_size  # what nobody set comes from the scaffold
    assert found["settings"]["learning_rate"] == 0.01 and found["preflight"]["push_to_hub"] == "me/m-finetuned"
    assert gates.view(run).problems("project") == []
    assert found["next"] == {
        **found["next"],
        "tool": "docker_run",
        "arguments": {"output_dir": str(run.path), "stage": "build"},
    }


def test_the_manifest_is_part_of_the_project_and_an_edit_of_it_closes_the_gate(call, run):
    kept, path = (run.path / listed.PATH).read_text(), run.path / "harness/dataset.json"
    render(call)
    assert path.read_text() == kept and gates.guarded_edits(gates.view(run)) == []
    path.write_text(kept.replace('"train": 1000', '"train": 10'))
    (wrong,) = gates.guarded_edits(gates.view(run))
    assert wrong.startswith("harness/dataset.json measures the rest and may not be edited")


def test_a_run_that_an_older_version_probed_is_probed_again(call, run):
    (run.path / listed.PATH).unlink()
    sealed.write(run, "dataset", sealed.FACTS["dataset"])
    sealed.write(run, "recipe", sealed.FACTS["recipe"])
    error = render(call)["error"]
    assert (error["code"], error["next"]["tool"]) == ("gate_closed", "probe_dataset"), error


def test_the_push_target_is_the_users_own_unless_named(call, server):  # noqa: F811
    call.workspace._made["hub"] = Hub(server.url, token=TOKEN)
    config = CONFIG.model_copy(update={"hf_model_repo": None})
    for name, overrides, target in (("a", {}, "me/m-finetuned"), ("b", {"hf_model_repo": "team/x"}, "team/x")):
        run = sealed.build(Run(call.workspace.root / name), until="recipe", config=config)
        (run.path / "train.py").unlink()
        assert "error" not in call("render_project", output_dir=name, overrides=overrides)
        assert run.config().hf_model_repo == target


def test_no_push_target_where_nothing_is_pushed(call, server):  # noqa: F811
    call.workspace._made["hub"] = Hub(server.url, token=TOKEN)
    config = CONFIG.model_copy(update={"push_to_hub": False, "hf_model_repo": None})
    run = sealed.build(Run(call.workspace.root / "local"), until="recipe", config=config)
    (run.path / "train.py").unlink()
    found = call("render_project", output_dir="local")
    assert run.config().hf_model_repo is None and found["preflight"]["push_to_hub"].startswith("off")
    assert server.requests("whoami") == []


@pytest.mark.parametrize(
    ("overrides", "code", "says"),
    [
        ({"model_id": "org/other"}, "invalid_input", "'model_id' cannot be set here"),
        ({"push_to_hub": False}, "invalid_input", "'push_to_hub' cannot be set here"),
        ({"warmup": 3}, "invalid_input", "learning_rate"),
        ({"training_method": "lora"}, "out_of_scope", "'lora'"),
        ({"emit_progress_log": "yes"}, "invalid_config", "emit_progress_log = 'yes'"),
        ({"monitoring": "mlflow"}, "invalid_config", "monitoring = 'mlflow'"),
        ({"n_epochs": "three"}, "invalid_config", "n_epochs = 'three'"),
        ({"n_epochs": 0}, "invalid_config", "n_epochs"),
        ({"learning_rate": True}, "invalid_config", "learning_rate"),
        ({"image_size": 8}, "invalid_config", "image_size"),
        ({"hf_model_repo": "a/b/c"}, "invalid_config", "hf_model_repo"),
        ({"training_arguments": {"output_dir": "/etc"}}, "invalid_config", "output_dir"),
        ({"training_arguments": {"x y": 1}}, "invalid_config", "'x y'"),
    ],
)
def test_what_cannot_be_set(call, run, overrides, code, says):
    before = run.config_path.read_bytes()
    error = render(call, overrides=overrides)["error"]
    assert error["code"] == code and says in error["message"], error
    assert run.config_path.read_bytes() == before and not (run.path / "train.py").exists()
    assert ledger.entries(run)[-1]["outcome"] == code


@pytest.mark.parametrize("overrides", [{"training_method": "lora"}])
def test_nobody_is_asked_to_approve_what_is_refused_anyway(call, run, overrides):
    found = render(call, user=True, overrides=overrides)
    assert found["error"]["code"] == "out_of_scope" and found["asked"] == []


def test_an_edited_file_is_kept_until_it_may_be_dropped(call, run):
    render(call)
    path = run.path / "train.py"
    path.write_text(path.read_text() + "\n# mine\n")
    error = render(call, overrides={"n_epochs": 5})["error"]
    assert error["code"] == "ambiguous" and "train.py" in error["message"] and "overwrite=true" in error["message"]
    assert path.read_text().endswith("# mine\n") and run.config().n_epochs == 3
    assert "error" not in render(call, overrides={"n_epochs": 5}, overwrite=True)
    assert "# mine" not in path.read_text() and run.config().n_epochs == 5


def test_a_file_that_lay_there_before_is_not_lost_either(call, run):
    (run.path / "README.md").write_text("my notes")
    error = render(call)["error"]
    assert error["code"] == "ambiguous" and "README.md" in error["message"]
    assert (run.path / "README.md").read_text() == "my notes" and not (run.path / "train.py").exists()


def test_the_progress_page_is_there_from_the_call_on_that_asks_for_it(call, run):
    (run.path / "PROGRESS.md").write_text("my notes")
    error = render(call, overrides={"emit_progress_log": True})["error"]
    assert error["code"] == "ambiguous" and "PROGRESS.md" in error["message"]
    assert (run.path / "PROGRESS.md").read_text() == "my notes" and not run.config().emit_progress_log
    assert "error" not in render(call, overrides={"emit_progress_log": True}, overwrite=True)
    text = (run.path / "PROGRESS.md").read_text()
    assert "`render_project(overrides={'emit_progress_log': True})` | refused: ambiguous |" in text
    assert "wrote project |" in text and gates.view(run).problems("project") == []
    assert (
        "error" not in render(call, overrides={"n_epochs": 2})
        and "'n_epochs': 2" in (run.path / "PROGRESS.md").read_text()
    )


def test_rendering_again_brings_back_what_is_missing(call, run):
    render(call)
    (run.path / "infer.py").unlink()
    check = next(c for c in gates.steps(gates.view(run))[3].checks if c.name == "project_files")
    assert not check.ok and "infer.py is missing" in check.detail
    render(call)
    assert (run.path / "infer.py").read_text().startswith(HEADER)
    assert next(c for c in gates.steps(gates.view(run))[3].checks if c.name == "project_files").ok


def test_a_symlink_in_the_run_is_not_written_through(call, run, tmp_path):
    outside = tmp_path / "outside.py"
    outside.write_text("mine")
    (run.path / "train.py").symlink_to(outside)
    render(call)
    assert outside.read_text() == "mine"


def test_a_full_disk_leaves_no_half_project_that_counts(call, run, monkeypatch):
    real, count = os.fsync, iter(range(1000))

    def fsync(descriptor):
        if next(count) >= 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert render(call)["error"]["code"] == "disk_full"
    monkeypatch.setattr(os, "fsync", real)
    assert evidence.read(run, "project") is None and not list(run.path.glob(".*.tmp"))
    ledger.entries(run)
    assert render(call)["next"]["arguments"]["stage"] == "build"


def test_not_before_the_recipe(call):
    sealed.build(Run(call.workspace.root / "early"), until="image")
    error = call("render_project", output_dir="early")["error"]
    assert error["code"] == "gate_closed" and error["gate"] == 3 and error["next"]["tool"] == "fetch_recipe"


def test_a_copied_run_is_verified_from_the_beginning(call, run):
    render(call)
    shutil.copytree(run.path, call.workspace.root / "copy")
    error = call("render_project", output_dir="copy")["error"]
    assert error["code"] == "gate_closed" and error["gate"] == 1 and error["next"]["tool"] == "probe_model"


def test_workarounds_are_applied_logged_and_taken_back(call):
    host = {**sealed.FACTS["host"], "gpu_count": 1, "gpus": [{"compute_capability": "7.5"}]}
    config = CONFIG.model_copy(update={"gpu_count": 1, "gpu_name": "Tesla T4", "driver_major": 580})
    config = config.model_copy(update={"vram_gb_per_gpu": 16.0})
    run = sealed.build(Run(call.workspace.root / "t4"), until="recipe", config=config, facts={"host": host})
    (run.path / "train.py").unlink()
    found = call("render_project", output_dir="t4")
    assert found["settings"]["training_arguments"] == {"bf16": False, "fp16": True}
    assert "bf16-emulated" in run.config().applicable_workarounds
    assert "workaround bf16-emulated: training_arguments.fp16 is set to True" in run.config().notes
    assert 'fp16=cfg["training_arguments"]["fp16"]' in (run.path / "train.py").read_text()
    found = call("render_project", output_dir="t4", overrides={"skip_workarounds": ["bf16-emulated"]})
    assert found["settings"]["training_arguments"] == {} and "fp16" not in (run.path / "train.py").read_text()
    assert "workaround bf16-emulated: skipped by the user" in run.config().notes
    run.save_config(run.config().model_copy(update={"skip_workarounds": []}))
    assert gates.view(run).problems("project") == ['is stale: skip_workarounds was ["bf16-emulated"], is now []']
    refused = call("render_project", output_dir="t4", overrides={"skip_workarounds": ["bf16"]})["error"]
    assert refused["code"] == "invalid_config" and "bf16-emulated" in refused["message"]


def test_unit_tests_are_rendered_pinned_guarded_and_waited_for_where_they_are_asked_for(call, run):
    found = render(call)
    assert not (run.path / "tests").exists() and "pytest" not in (run.path / "requirements.txt").read_text()
    error = call("docker_run", output_dir="run", stage="test")["error"]
    assert error["code"] == "invalid_input" and error["next"]["arguments"]["overrides"] == {"emit_unit_tests": True}
    found = render(call, overrides={"emit_unit_tests": True})
    assert "tests/test_data.py" in found["files"] and run.config().emit_unit_tests
    assert "\npytest==" in (run.path / "requirements.txt").read_text()
    assert (run.path / "tests/test_data.py").read_text().startswith(HEADER)
    step = gates.steps(gates.view(run))[3]
    assert "test" in [check.name for check in step.checks]
    (run.path / "tests/test_data.py").write_text(HEADER + "def test_nothing(): pass")
    assert "tests/test_data.py measures the rest" in gates.guarded_edits(gates.view(run))[0]


def researched(run: Run, **values) -> None:
    """As if fetch_recipe had found these slots, and nothing else."""
    slots = {name: {"value": value, "source": sealed.ORIGIN, "status": "live"} for name, value in values.items()}
    slots = {name: slots.get(name, {"value": None, "source": None, "status": "scaffold"}) for name in SLOTS}
    facts = {**sealed.FACTS["recipe"], "slots": slots}
    if stated := values.get("hyperparameters"):
        fits = {"start": "pretrained", "objective": "supervised", "adapter": "none", "devices": 1}
        facts["trainings"] = [{"values": stated, "url": sealed.ORIGIN["url"], "priority": 3, **fits}]
    sealed.write(run, "recipe", facts, run.config())


def test_research_fills_the_scaffold_s_knobs_and_the_answer_says_so(call, run):
    crop = {"name": "RandomResizedCrop", "args": [224], "kwargs": {"scale": [0.35, 1]}}
    researched(run, train_transforms=[crop, {"name": "RandomHorizontalFlip"}, {"name": "ColorJitter"}])
    found = render(call)
    assert (found["settings"]["crop_scale_min"], found["settings"]["horizontal_flip"]) == (0.35, True)
    said = f"from research: crop_scale_min = 0.35, horizontal_flip = true ({sealed.ORIGIN['url']})"
    assert said in found["notes"] and said in run.config().notes
    assert any(note.startswith("train_transforms not rendered: ColorJitter (https://") for note in found["notes"])


def test_newer_research_counts_and_what_the_user_set_stays(call, run):
    stated = {"num_train_epochs": 3, "per_device_train_batch_size": 16}
    researched(run, hyperparameters={**stated, "learning_rate": 1e-3, "weight_decay": 0.2, "optim": "sgd"})
    render(call, overrides={"weight_decay": 0.5})
    assert run.config().training_arguments == {"optim": "sgd"}
    researched(run, hyperparameters={**stated, "learning_rate": 2e-3, "weight_decay": 0.3})
    found = render(call)
    config = run.config()
    assert (config.learning_rate, config.weight_decay, config.training_arguments) == (2e-3, 0.5, {})
    assert [note for note in config.notes if "learning_rate" in note] == [
        n for n in found["notes"] if "learning_rate" in n
    ]
    assert any(note.startswith("set otherwise here, so not taken: weight_decay = 0.3") for note in found["notes"])
    render(call, overrides={"learning_rate": 2e-3})  # what the user names is the user's, even at the same value
    researched(run, hyperparameters={**stated, "learning_rate": 3e-3})
    found = render(call)
    assert run.config().learning_rate == 2e-3
    assert run.config().per_device_train_batch_size == 32  # the scaffold's: 16 belonged to the other rate
    assert any("learning_rate = 0.002 is set here" in note for note in found["notes"])


def test_what_was_not_adopted_is_said_in_the_notes_and_on_the_recipe_s_page(call, run):
    researched(run, hyperparameters={"learning_rate": 1e-5})
    found = render(call)
    assert run.config().learning_rate == 5e-4  # the scaffold's
    note = f"hyperparameters not adopted: learning_rate = 1e-05: it does not state num_train_epochs, per_device_train_batch_size ({sealed.ORIGIN['url']})"
    assert note in found["notes"] and note in run.config().notes
    page = (run.meta / "recipe.md").read_text()
    assert (
        '`{"learning_rate": 1e-05}`: not adopted: it does not state' in page and "scaffold's own settings stay" in page
    )
    researched(run, hyperparameters={"learning_rate": 1e-5, "num_train_epochs": 3, "per_device_train_batch_size": 8})
    assert note not in render(call)["notes"] and note not in run.config().notes
    assert ": **adopted**" in (run.meta / "recipe.md").read_text() and run.config().learning_rate == 1e-5


def test_old_keywords_are_mapped_and_noted(call, run):
    found = render(call, overrides={"training_arguments": {"warmup_ratio": 0.3, "gradient_checkpointing": True}})
    assert found["settings"]["warmup_steps"] == 0.3
    assert found["settings"]["training_arguments"] == {"activation_checkpointing": True}
    assert "warmup_ratio" not in (run.path / "train.py").read_text()
    assert any(note.startswith("warmup_ratio = 0.3 became warmup_steps = 0.3") for note in run.config().notes)
    render(call)
    assert run.config().warmup_steps == 0.3


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"training_arguments": {"evaluation_strategy": "epoch"}}, "run_eval.py measures afterwards"),
        ({"training_arguments": {"warmup_ratio": 0.3}, "warmup_steps": 0.1}, "remove one"),
        ({"warmup_ratio": 0.3}, "warmup_steps (a value below 1 is a share of all steps)"),
    ],
)
def test_old_keywords_that_cannot_be_mapped_say_what_to_do(call, run, overrides, says):
    before = run.config_path.read_bytes()
    assert says in render(call, overrides=overrides)["error"]["message"]
    assert run.config_path.read_bytes() == before


def test_monitoring_is_switched_on_freely_and_off_only_by_the_user(call, run, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "shapes")
    found = render(call, overrides={"monitoring": "wandb"})
    assert found["preflight"]["monitoring"] == "wandb: project shapes, run m-full"
    assert "\nwandb==" in (run.path / "requirements.txt").read_text()
    assert 'report_to=cfg["monitoring"]' in (run.path / "train.py").read_text()
    assert found["next"]["tool"] == "audit_gpu"  # which must see the key first
    monkeypatch.delenv("WANDB_PROJECT")
    refused = approvals.substitution(run, "project", "render_project", {"monitoring": "none"})
    assert refused == "replace monitoring 'wandb' with 'none'"
