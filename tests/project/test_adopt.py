"""What a recipe's slots and a user's arguments become in config.yaml, and what is only said."""

from __future__ import annotations

import pytest

from tunegate.config import RunConfig
from tunegate.errors import ToolFailure
from tunegate.project import adopt, render
from tunegate.tasks import SUPPORTED

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


def recipe(unread: bool = False, priority: int = 3, **slots) -> dict:
    source = {"url": URL, "sha256": "0" * 64, "priority": priority}
    slots = {name: {"value": value, "source": source} for name, value in slots.items()}
    return {"slots": slots, "sources": [{"url": URL, "transforms_unread": unread}]}


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
    assert "horizontal_flip" not in found(config(), unread=True, train_transforms=[CROP]).values
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
    normalize = {"name": "Normalize", "kwargs": {"mean": [0.485, 0.456, 0.406], "std": [0.5, 0.5, 0.5]}}
    said = found(config(), VIT, train_transforms=[normalize])
    assert said.values == {} and len(said.left) == 1 and "Normalize's mean [0.485" in said.left[0]
    assert found(config(), CONVNEXT, train_transforms=[normalize]).left == []


STATED = {"learning_rate": 1e-4, "num_train_epochs": 3, "per_device_train_batch_size": 16}


def training(values: dict | None = None, **more) -> dict:
    """A training that fits an image classifier of three epochs, unless `more` says otherwise."""
    known = {
        "url": URL,
        "priority": 3,
        "start": "pretrained",
        "objective": "supervised",
        "adapter": "none",
        "devices": 1,
    }
    return {"values": {**STATED, **(values or {})}, **known, **more}


def adopted(config: RunConfig, *trainings: dict) -> adopt.Found:
    return adopt.from_recipe(config, {**recipe(), "trainings": list(trainings)}, VIT)


def test_a_training_that_fits_is_adopted_as_a_whole_and_the_dataset_s_own_numbers_are_not():
    said = adopted(config(), training({"optim": "sgd", "warmup_steps": 0.1, "beta": 0.5}))
    assert said.values == {
        "learning_rate": 1e-4,
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 1,
        "optim": "sgd",
        "warmup_steps": 0.1,
    }
    assert set(said.urls.values()) == {URL}
    assert said.left == [f"hyperparameters not taken: num_train_epochs = 3, beta = 0.5 ({URL})"]


@pytest.mark.parametrize(
    ("values", "more", "why"),
    [
        ({}, {"priority": 6}, "gives no rate"),
        ({}, {"priority": 2}, "trains another model"),
        ({}, {"priority": 4}, "trains another model"),
        ({}, {"priority": 0}, "gives no rate"),
        ({}, {"start": None}, "not seen to start from pretrained weights"),
        ({}, {"start": "scratch"}, "trains from scratch"),
        ({}, {"objective": "dpo"}, "it is dpo training, this run's is supervised"),
        ({}, {"objective": None}, "objective is not clear"),
        ({}, {"adapter": "lora"}, "it trains a LoRA adapter, this run trains all weights"),
        ({}, {"adapter": None}, "not clear which weights"),
        ({}, {"unread": ["gradient_accumulation_steps"]}, "gradient_accumulation_steps cannot be read"),
        ({}, {"unread": ["optim"]}, "optim cannot be read"),
        ({}, {"devices": None}, "how many devices it ran on is not known"),
        ({"num_train_epochs": 10}, {}, "for 10 epochs, this run has 3"),
        ({"num_train_epochs": 0.9}, {}, "for 0.9 epochs, this run has 3"),
        ({"max_steps": 1000}, {}, "max_steps = 1000 ends it"),
    ],
)
def test_a_training_that_does_not_fit_gives_nothing_and_is_named_with_why(values, more, why):
    said = adopted(config(), training(values, **more))
    assert said.values == {} and len(said.left) == 1
    note = said.left[0]
    assert note.startswith("hyperparameters not adopted: learning_rate = 0.0001") and why in note and URL in note


@pytest.mark.parametrize("key", STATED)
def test_a_rate_without_its_epochs_or_its_batch_is_no_rate(key):
    stated = training()
    del stated["values"][key]
    said = adopted(config(), stated)
    assert said.values == {} and f"does not state {key}" in said.left[0]


@pytest.mark.parametrize(("epochs", "fits"), [(1, True), (9, True), (0.99, False), (9.1, False)])
def test_epochs_may_be_three_times_apart_in_both_directions(epochs, fits):
    assert bool(adopted(config(), training({"num_train_epochs": epochs})).values) is fits


def test_the_next_training_counts_where_the_first_does_not_fit_and_nothing_is_mixed():
    other = training({"weight_decay": 0.3, "gradient_accumulation_steps": 4, "learning_rate": 5e-3}, start="scratch")
    said = adopted(config(), other, training({"learning_rate": 2e-4}, url="https://x/docs.md", priority=1))
    assert said.values == {"learning_rate": 2e-4, "per_device_train_batch_size": 16, "gradient_accumulation_steps": 1}
    assert set(said.urls.values()) == {"https://x/docs.md"} and "0.005" in said.left[0]


@pytest.mark.parametrize(
    ("method", "objective", "adapter"),
    [("full", "supervised", "none"), ("lora", "supervised", "lora"), ("dpo", "dpo", "lora"), ("grpo", "grpo", "lora")],
)
@pytest.mark.parametrize("ours", ["full", "lora", "dpo", "grpo"])
def test_each_method_takes_its_own_alone(method, objective, adapter, ours):
    said = adopted(config("text-generation", ours), training(objective=objective, adapter=adapter))
    assert bool(said.values) is (method == ours)


def test_devices_of_the_source_count_in_its_batch():
    several = training({"gradient_accumulation_steps": 2}, devices=8)
    assert adopted(config(), several).values["gradient_accumulation_steps"] == 16
    assert adopted(config(gpu_count=4), several).values["gradient_accumulation_steps"] == 4
    said = adopted(config(gpu_count=3), several)
    assert said.values == {} and "cannot be divided among 3" in said.left[0]


def test_the_answers_of_grpo_must_fit_the_batch():
    stated = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3}
    asked = {"objective": "grpo", "adapter": "lora"}
    said = adopted(config("text-generation", "grpo"), training(stated, **asked))
    assert said.values == {} and "batch of 12 cannot be divided by num_generations = 8" in said.left[0]
    assert adopted(config("text-generation", "grpo", num_generations=6), training(stated, **asked)).values
    assert adopted(config("text-generation", "grpo"), training({**stated, "num_generations": 4}, **asked)).values


@pytest.mark.parametrize(
    ("key", "value"),
    [("learning_rate", 1e-3), ("per_device_train_batch_size", 32), ("gradient_accumulation_steps", 2)],
)
def test_what_is_set_here_keeps_the_rest_of_another_training_out(key, value):
    said = adopted(config(**{key: value}), training({"weight_decay": 0.2}))
    assert said.values == {} and f"{key} = {value} is set here" in said.left[0]
    assert (
        adopted(config(weight_decay=0.5), training()).values["learning_rate"] == 1e-4
    )  # which is no part of the batch


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("lr_scheduler_type", "reduce_lr_on_plateau", "needs arguments of its own"),
        ("lr_scheduler_type", "cosine_with_min_lr", "needs arguments of its own"),
        ("lr_scheduler_type", "warmup_stable_decay", "needs arguments of its own"),
        ("optim", "adamw_bnb_8bit", "needs bitsandbytes"),
        ("warmup_steps", 500, "whose total is not known"),
    ],
)
def test_a_value_that_cannot_be_used_here_is_left_out_with_its_reason(key, value, why):
    said = adopted(config(), training({key: value}))
    assert said.values["learning_rate"] == 1e-4 and key not in said.values
    assert any(f"{key} = " in note and why in note and URL in note for note in said.left)


def test_settings_of_which_nothing_more_is_known_are_not_adopted():
    said = found(config(), hyperparameters=STATED)
    assert said.values == {} and "not seen to start from pretrained weights" in said.left[0]


def test_many_refusals_are_counted_not_listed():
    said = adopted(config(), *[training(start="scratch")] * 9)
    assert len(said.left) == adopt.MAX_REFUSED + 1 and "of 5 more trainings" in said.left[-1]


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
@pytest.mark.parametrize("task", SUPPORTED)
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
    assert adopt.report(said, before, after) == [
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
