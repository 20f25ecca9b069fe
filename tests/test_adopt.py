"""What a recipe's slots and a user's arguments become in config.yaml, and what is only said."""

from __future__ import annotations

import pytest

from tunegate import adopt, render
from tunegate.config import RunConfig
from tunegate.errors import ToolFailure

URL = "https://raw.githubusercontent.com/a/b/main/train.py"
VIT = {
    "model_type": "vit",
    "processor": {"size": {"height": 224, "width": 224}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
}
CONVNEXT = {
    "model_type": "convnext",
    "processor": {"size": {"shortest_edge": 224}, "image_mean": [0.485, 0.456, 0.406]},
}
CROP = {"name": "RandomResizedCrop", "args": [224], "kwargs": {"scale": [0.35, 1.0]}}
FLIP = {"name": "RandomHorizontalFlip"}


def config(task: str = "image-classification", method: str = "full", **values) -> RunConfig:
    return RunConfig(model_id="org/model", task=task, training_method=method, **values)


def recipe(notes: list[str] | None = None, priority: int = 3, **slots) -> dict:
    source = {"url": URL, "sha256": "0" * 64, "priority": priority}
    return {"notes": notes or [], "slots": {name: {"value": value, "source": source} for name, value in slots.items()}}


def found(config: RunConfig, model: dict | None = None, **slots) -> adopt.Found:
    return adopt.from_recipe(config, recipe(**slots), model or VIT)


def test_a_crop_s_scale_and_a_flip_become_the_scaffold_s_own():
    said = found(config(), train_transforms=[CROP, FLIP, {"name": "ToTensor"}])
    assert said.values == {"crop_scale_min": 0.35, "horizontal_flip": True}
    assert set(said.urls.values()) == {URL} and said.left == []


@pytest.mark.parametrize(
    ("step", "value"),
    [
        ({"name": "RandomResizedCrop", "args": [224, [0.2, 1]]}, 0.2),
        ({"name": "RandomResizedCrop", "kwargs": {"size": 224, "scale": [0.5, 1.0]}}, 0.5),
        ({"name": "create_transform", "library": "timm", "kwargs": {"is_training": True, "scale": [0.25, 1.0]}}, 0.25),
    ],
)
def test_the_forms_in_which_a_scale_is_written(step, value):
    assert found(config(), train_transforms=[step]).values["crop_scale_min"] == value


@pytest.mark.parametrize("scale", [None, [0, 1], [2, 3], ["a", 1], [True, 1], {"symbol": "SCALE"}, []])
def test_a_scale_that_no_page_states_or_that_is_none_is_not_taken(scale):
    kwargs = {} if scale is None else {"scale": scale}
    said = found(config(), train_transforms=[{"name": "RandomResizedCrop", "args": [224], "kwargs": kwargs}])
    assert "crop_scale_min" not in said.values and "states no scale" in said.left[0] and URL in said.left[0]


def test_a_detector_crops_by_sides_not_by_area():
    assert (
        found(config("object-detection"), train_transforms=[{**CROP, "kwargs": {"scale": [0.25, 1]}}]).values[
            "crop_scale_min"
        ]
        == 0.5
    )


def test_no_flip_is_taken_as_such_only_from_a_page_that_augments_and_was_read_to_its_end():
    assert found(config(), train_transforms=[CROP]).values["horizontal_flip"] is False
    assert "horizontal_flip" not in found(config(), train_transforms=[{"name": "Resize", "args": [224]}]).values
    cut = [f"{URL}: line 3: a transform that is not a plain call was left out"]
    assert "horizontal_flip" not in found(config(), notes=cut, train_transforms=[CROP]).values
    assert found(config(), train_transforms=[CROP, {**FLIP, "kwargs": {"p": 0}}]).values["horizontal_flip"] is False


def test_what_has_no_knob_is_named_with_its_page_and_never_copied():
    steps = [CROP, FLIP, {"name": "ColorJitter", "args": [0.4]}, {"name": "RandAugment"}, {"name": "v2.MixUp"}]
    said = found(
        config(), train_transforms=steps, eval_transforms=[{"name": "FiveCrop"}, {"name": "Resize", "args": [256]}]
    )
    assert said.left == [
        f"train_transforms not rendered: ColorJitter, RandAugment, MixUp ({URL})",
        f"eval_transforms not rendered: FiveCrop ({URL})",
    ]
    assert "ColorJitter" not in str(said.values)


def test_a_size_is_taken_only_where_the_model_takes_it():
    steps = [{"name": "RandomResizedCrop", "args": [384], "kwargs": {"scale": [0.5, 1]}}]
    assert found(config(), CONVNEXT, train_transforms=steps).values["image_size"] == 384
    said = found(config(), VIT, train_transforms=steps)
    assert "image_size" not in said.values and any("384 pixels not taken" in note for note in said.left)
    assert "image_size" not in found(config(), CONVNEXT, train_transforms=[CROP]).values  # the processor's own


def test_other_means_than_the_processor_s_are_a_note_alone():
    normalise = {"name": "Normalize", "kwargs": {"mean": [0.485, 0.456, 0.406], "std": [0.5, 0.5, 0.5]}}
    said = found(config(), VIT, train_transforms=[normalise])
    assert said.values == {} and len(said.left) == 1 and "Normalize's mean [0.485" in said.left[0]
    assert found(config(), CONVNEXT, train_transforms=[normalise]).left == []


def test_hyperparameters_of_the_method_are_taken_and_the_dataset_s_own_are_not():
    said = found(config(), hyperparameters={"learning_rate": 1e-4, "optim": "sgd", "num_train_epochs": 90, "beta": 0.5})
    assert said.values == {"learning_rate": 1e-4, "optim": "sgd"}
    assert said.left == [f"hyperparameters not taken: num_train_epochs = 90, beta = 0.5 ({URL})"]


def test_each_hyperparameter_names_the_page_it_is_from():
    facts = recipe(hyperparameters={"learning_rate": 1e-4, "weight_decay": 0.1})
    facts["slots"]["hyperparameters"]["origins"] = {"weight_decay": "https://huggingface.co/card"}
    assert adopt.from_recipe(config(), facts, {}).urls == {
        "learning_rate": URL,
        "weight_decay": "https://huggingface.co/card",
    }


def test_lora_alpha_keeps_its_ratio_and_modules_are_this_model_s():
    asked = config("text-generation", "lora", lora_r=8)
    lora = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.1, "target_modules": ["q_proj"]}
    assert found(asked, lora=lora).values == {"lora_alpha": 16, "lora_dropout": 0.1, "lora_target_modules": ["q_proj"]}
    said = found(asked, priority=2, lora=lora)
    assert "lora_target_modules" not in said.values and "another model's" in said.left[0]
    assert found(config("text-generation", "full"), lora=lora).values == {}


@pytest.mark.parametrize(
    ("task", "value", "noted"),
    [
        (
            "image-classification",
            {"name": "collate_fn", "kind": "function", "returns": ["pixel_values", "labels"]},
            False,
        ),
        (
            "image-classification",
            {"name": "mixup_collate", "kind": "function", "returns": ["pixel_values", "lam"]},
            True,
        ),
        (
            "object-detection",
            {"name": "collate_fn", "kind": "function", "returns": ["pixel_values", "pixel_mask", "labels"]},
            False,
        ),
        ("text-generation", {"name": "DataCollatorForLanguageModeling", "kind": "class"}, False),
        ("text-generation", {"name": "PackedCollator", "kind": "class"}, True),
    ],
)
def test_a_collator_is_mentioned_where_it_does_something_else(task, value, noted):
    said = found(config(task), collator=value)
    assert bool(said.left) is noted and (not noted or value["name"] in said.left[0])


def test_metrics_that_are_not_computed_are_said():
    assert found(config(), metrics=["accuracy", "roc_auc"]).left == [f"metrics not computed: roc_auc ({URL})"]


def test_processor_keywords_are_a_size_or_a_note():
    larger = {"size": {"longest_edge": 2048, "height": 2048}}
    said = found(config("image-text-to-text", "lora"), processor_kwargs=larger)  # which has no image_size
    assert said.values == {} and "size = " in said.left[0]
    said = found(config(), CONVNEXT, processor_kwargs={"size": {"shortest_edge": 320}, "do_pad": True})
    assert said.values == {"image_size": 320} and said.left == [
        f"processor keyword not rendered: do_pad = true ({URL})"
    ]


@pytest.mark.parametrize(
    "value", ["x", 3, [], {}, [None, 3, {"name": None}], [{"name": "Resize", "args": "x", "kwargs": []}], [["a"]]]
)
@pytest.mark.parametrize("task", list(adopt.COLLATORS))
def test_a_slot_of_another_form_takes_nothing_and_breaks_nothing(task, value):
    said = found(
        config(task),
        train_transforms=value,
        eval_transforms=value,
        collator=value,
        metrics=value,
        processor_kwargs=value,
    )
    assert said.values == {}


def test_the_user_s_value_stands_and_both_are_told():
    before = config(crop_scale_min=0.9)
    said = found(before, train_transforms=[CROP, FLIP])
    after = render.with_defaults(before, said.values)
    assert (after.crop_scale_min, after.horizontal_flip) == (0.9, True)
    assert adopt.told(said, before, after) == [
        f"from research: horizontal_flip = true ({URL})",
        f"set otherwise here, so not taken: crop_scale_min = 0.35 ({URL})",
    ]


def test_old_training_arguments_move_to_their_own_key_or_to_today_s_name():
    asked = config(
        warmup_steps=0.5, training_arguments={"warmup_ratio": 0.2, "group_by_length": True, "logging_dir": "x"}
    )
    current, notes = adopt.current_arguments(asked, {})
    assert current.warmup_steps == 0.2 and current.training_arguments == {"train_sampling_strategy": "group_by_length"}
    assert [note.split(" = ")[0] for note in notes] == ["warmup_ratio", "group_by_length", "logging_dir"]
    assert "transformers 5.15" in notes[0]
    sft = config("text-generation", "lora", training_arguments={"max_seq_length": 256})
    assert adopt.current_arguments(sft, {})[0].max_length == 256


@pytest.mark.parametrize(
    ("arguments", "given", "says"),
    [
        ({"warmup_ratio": 0.2}, {"warmup_steps": 0.1}, "warmup_steps is 0.1 and, under an older name, 0.2"),
        ({"evaluation_strategy": "epoch"}, {}, "run_eval.py measures afterwards"),
        (
            {"eval_strategy": "epoch", "load_best_model_at_end": True},
            {},
            "load_best_model_at_end: train.py only trains",
        ),
        ({"save_safetensors": False}, {}, "safetensors is the only format"),
        ({"hub_model_id": "a/b"}, {}, "hf_model_repo"),
    ],
)
def test_arguments_that_no_project_can_have_are_refused_with_what_to_do(arguments, given, says):
    with pytest.raises(ToolFailure, match="training_arguments") as caught:
        adopt.current_arguments(config(training_arguments=arguments, **given), given)
    assert says in str(caught.value) and caught.value.code == "invalid_config"


@pytest.mark.parametrize("name", ["hub_token", "push_to_hub_token"])
def test_a_token_is_refused_and_its_value_said_to_nobody(name):
    with pytest.raises(ToolFailure) as caught:
        adopt.current_arguments(config(training_arguments={name: "hf_abcdefghijkl", "save_safetensors": False}), {})
    assert "HF_TOKEN" in str(caught.value) and "hf_abc" not in str(caught.value)


def test_every_task_has_its_rows():
    tasks = {path.parent.name for path in render.data_dir("scaffolds").glob("*/train.py.j2")}
    assert set(adopt.COLLATORS) == set(adopt.METRICS) == tasks
