"""Each kind of fix as it arrives in the rendered project, and as it leaves it again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import sealed
from tunegate import gates
from tunegate.config import RunConfig
from tunegate.errors import ToolFailure
from tunegate.knowledge import fixes, workarounds
from tunegate.knowledge.workarounds import Detect, Fix, Workaround
from tunegate.project import render
from tunegate.rundir import Run

ALWAYS = Detect.model_validate({"all": [{"field": "task", "op": "exists"}]})
DIGEST = "sha256:" + "0" * 64


def made(name: str, **fix) -> Workaround:
    text = dict.fromkeys(("title", "symptom", "cause", "holds_for", "applied"), "x")
    return Workaround(id=name, **text, references=["https://example.org"], detect=ALWAYS, fix=Fix(**fix))


@pytest.fixture
def registry(monkeypatch):
    """registry(*workarounds): the only ones that exist. Returns a config to which all of them apply."""

    def use(*rows: Workaround, **values) -> RunConfig:
        monkeypatch.setattr(workarounds, "load", lambda: list(rows))
        names = [row.id for row in rows]
        base = {"model_id": "org/m", "task": "image-classification", "dataset_id": "org/d"}
        return RunConfig(**{**base, "applicable_workarounds": names, **values})

    return use


def files(config: RunConfig) -> dict[str, str]:
    return render.render_files(render.with_defaults(config, {}), {})


def test_a_config_fix_sets_what_nobody_set(registry):
    fix = {"kind": "config", "values": {"attn_implementation": "eager", "training_arguments.fp16": True}}
    config, settings = fixes.with_settings(registry(made("old-torch", **fix)), {})
    assert config.attn_implementation == "eager" and config.training_arguments == {"fp16": True}
    assert settings == {"old-torch": {"attn_implementation": "eager", "training_arguments.fp16": True}}
    assert "workaround old-torch: attn_implementation is set to 'eager'" in config.notes
    again, same = fixes.with_settings(config, settings)
    assert (again, same) == (config, settings), "rendering twice changes nothing"
    assert 'attn_implementation=cfg["attn_implementation"]' in files(config)["model.py"]
    assert 'fp16=cfg["training_arguments"]["fp16"]' in files(config)["train.py"]


def test_a_config_fix_is_taken_back_when_it_no_longer_applies(registry):
    fix = {"kind": "config", "values": {"attn_implementation": "eager", "training_arguments.fp16": True}}
    config, settings = fixes.with_settings(registry(made("old-torch", **fix), training_arguments={"optim": "sgd"}), {})
    skipped = config.model_copy(update={"skip_workarounds": ["old-torch"]})
    found, left = fixes.with_settings(skipped, settings)
    assert found.attn_implementation is None and found.training_arguments == {"optim": "sgd"} and left == {}
    changed = skipped.model_copy(update={"attn_implementation": "sdpa"})
    assert fixes.with_settings(changed, settings)[0].attn_implementation == "sdpa", "the user's own value stays"


def test_a_value_of_the_user_s_stays_and_no_half_of_a_fix_is_set(registry):
    fix = {"kind": "config", "values": {"training_arguments.bf16": False, "training_arguments.fp16": True}}
    found, settings = fixes.with_settings(registry(made("w", **fix), training_arguments={"bf16": True}), {})
    assert found.training_arguments == {"bf16": True} and settings == {}
    assert found.notes == ["workaround w: not set, because training_arguments.bf16 is True already"]
    same = registry(made("w", **fix), training_arguments={"bf16": False})
    found, settings = fixes.with_settings(same, {})
    assert found.training_arguments == {"bf16": False, "fp16": True}
    assert settings == {"w": {"training_arguments.fp16": True}}, "what the user set is not ours to take back"


def test_a_requirement_is_pinned_in_place_or_at_the_end(registry):
    config = registry(made("w", kind="requirement", values={"transformers": "5.22.0", "hf_xet": "1.6.0"}))
    lines = files(config)["requirements.txt"].splitlines()
    assert "transformers==5.22.0" in lines and "transformers==5.23.0" not in lines
    assert lines[lines.index("transformers==5.22.0") - 1] == "# workaround w"
    assert lines[-2:] == ["# workaround w", "hf-xet==1.6.0"]
    skipped = config.model_copy(update={"skip_workarounds": ["w"]})
    assert files(skipped)["requirements.txt"] == render.requirements("image-classification")["requirements.txt"]


def test_two_pins_of_one_package_are_the_user_s_choice(registry):
    config = registry(
        made("a", kind="requirement", values={"hf-xet": "1.6.0"}),
        made("b", kind="requirement", values={"hf_xet": "1.5.0"}),
    )
    with pytest.raises(ToolFailure, match="skip_workarounds") as caught:
        files(config)
    assert caught.value.code == "invalid_config"


def test_dockerfile_and_environment_come_between_dependencies_and_code(registry):
    config = registry(
        made("e", kind="env", values={"HF_HUB_DISABLE_XET": "1"}),
        made("d", kind="dockerfile", lines=["RUN ldconfig", "ENV A=b"]),
        ngc_image="nvcr.io/nvidia/pytorch:26.09-py3",
        ngc_image_digest=DIGEST,
    )
    text = files(config)["Dockerfile"]
    layer = text[text.index("# workarounds") : text.index("# code")]
    assert layer.split() == "# workarounds # e ENV HF_HUB_DISABLE_XET=1 # d RUN ldconfig ENV A=b".split()
    assert text.index("# dependencies") < text.index("# workarounds")
    skipped = files(config.model_copy(update={"skip_workarounds": ["e", "d"]}))
    assert "none that belongs into the image" in skipped["Dockerfile"] and "HF_HUB" not in skipped["Dockerfile"]


def test_the_environment_reaches_every_stage_before_its_libraries_do(registry, tmp_path):
    project = files(registry(made("e", kind="env", values={"HF_HUB_DISABLE_XET": "1"})))
    (tmp_path / "harness").mkdir()
    for name in ("harness/__init__.py", "harness/rendered.json"):
        (tmp_path / name).write_text(project[name])
    (tmp_path / "stage.py").write_text("import harness, os; print(os.environ['HF_HUB_DISABLE_XET'])")

    def seen(**env) -> str:
        done = subprocess.run([sys.executable, "stage.py"], cwd=tmp_path, env=env, capture_output=True, text=True)
        return done.stdout.strip() or done.stderr

    assert seen() == "1" and seen(HF_HUB_DISABLE_XET="0") == "0", "what the user's environment says stays"


def test_what_a_rule_forbids(registry):
    config = registry(
        made("n", kind="rule", forbids=[{"file": "evaluate.py"}]),
        made("t", kind="rule", forbids=[{"file": "Docker*", "text": "pip cache purge"}]),
    )
    found = fixes.forbidden(config, {"evaluate.py": "x", "Dockerfile": "FROM a\nRUN pip cache purge\n", "a.py": ""})
    assert [line.split(":")[0] for line in found] == [
        "evaluate.py may not have this name",
        "Dockerfile holds `pip cache purge`",
    ]
    assert fixes.forbidden(config, {"run_eval.py": "x", "Dockerfile": "# never pip cache purge\n"}) == []
    skipped = config.model_copy(update={"skip_workarounds": ["n", "t"]})
    assert fixes.forbidden(skipped, {"evaluate.py": "x"}) == []


def test_a_scaffold_that_breaks_a_rule_is_not_rendered(registry):
    config = registry(made("n", kind="rule", forbids=[{"file": "Dockerfile", "text": "FROM"}]))
    with pytest.raises(ToolFailure, match="Dockerfile holds `FROM`") as caught:
        files(config)
    assert caught.value.code == "internal"


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("evaluate.py", sealed.script("x = 1"), "evaluate-script-name"),
        ("Dockerfile", "FROM a\nRUN pip cache purge\n", "pip-cache-purge"),
        ("setup.py", sealed.script("setup(packages=find_packages())"), "find-packages-empty"),
    ],
)
def test_what_an_edit_brings_in_closes_gate_4(tmp_path, name, text, rule):
    config = sealed.CONFIG.model_copy(update={"applicable_workarounds": [rule]})
    run = sealed.build(Run(tmp_path), until="stages/smoke", config=config)

    def said() -> str:
        checks = gates.steps(gates.view(run))[3].checks
        return next(check.detail for check in checks if check.name == "project_files")

    assert said() == "as rendered"
    sealed.put(run, {name: text})
    assert rule in said() and name in said()
    run.save_config(config.model_copy(update={"skip_workarounds": [rule]}))
    assert rule not in said()


def test_todays_registry_renders_on_every_platform():
    """With everything that can apply to a task applied at once, nothing that is rendered breaks a rule."""
    names = [w.id for w in workarounds.load()]
    for image in ({}, {"ngc_image": "nvcr.io/nvidia/pytorch:26.09-py3", "ngc_image_digest": DIGEST}):
        config = RunConfig(model_id="o/m", task="image-classification", applicable_workarounds=names, **image)
        config, _ = fixes.with_settings(config, {})
        assert files(config)["requirements.txt"].count("transformers==") == 1
