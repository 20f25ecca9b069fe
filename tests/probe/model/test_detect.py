from __future__ import annotations

import pytest

from tunegate import tasks
from tunegate.clients.hub import RepoInfo
from tunegate.errors import ToolFailure
from tunegate.probe.model import detect


def info(name="me/m", tag=None):
    return RepoInfo(id=name, sha="a" * 40, private=False, gated=None, tags=[], card={}, files={}, pipeline_tag=tag)


def decide(model_type, *names, tag=None, asked=None, name="me/m", **config):
    return detect.decide_task(info(name, tag), {"model_type": model_type, **config}, list(names), asked)


def refused(*args, **kwargs):
    with pytest.raises(ToolFailure) as caught:
        decide(*args, **kwargs)
    return caught.value.failure


@pytest.mark.parametrize(
    ("repo", "expected"),
    [
        # the reference pipelines' own models
        ("convnext ConvNextForImageClassification image-classification", ("image-classification", "architecture")),
        ("detr DetrForObjectDetection object-detection", ("object-detection", "architecture")),
        ("idefics3 Idefics3ForConditionalGeneration image-text-to-text", ("image-text-to-text", "architecture")),
        # the tag is wrong, or says the same in other words
        ("llama LlamaForCausalLM text-classification", ("text-generation", "architecture")),
        ("vision-encoder-decoder VisionEncoderDecoderModel image-to-text", ("image-text-to-text", "architecture")),
        ("detr DetrForSegmentation image-segmentation", ("panoptic-segmentation", "architecture")),
        # a base checkpoint whose tag says what it is for
        ("bloom BloomModel text-generation", ("text-generation", "pipeline_tag")),
        ("oneformer OneFormerModel semantic-segmentation", ("semantic-segmentation", "pipeline_tag")),
    ],
)
def test_heads_and_tags(repo, expected):
    model_type, name, tag = repo.split()
    assert decide(model_type, name, tag=tag) == expected


@pytest.mark.parametrize(
    ("model_type", "config", "task"),
    [
        ("vit", {}, "image-classification"),
        ("llama", {}, "text-generation"),
        ("gemma3", {}, "image-text-to-text"),
        ("qwen3_5", {"vision_config": {}}, "image-text-to-text"),
        ("rt_detr", {}, "object-detection"),
    ],
)
def test_a_config_without_architectures_that_can_mean_one_thing(model_type, config, task):
    assert decide(model_type, **config) == (task, "model_type")


@pytest.mark.parametrize(
    ("names", "choices"),
    [
        (("segformer",), ("image-classification", "semantic-segmentation")),
        (("beit", "BeitModel"), ("image-classification", "semantic-segmentation")),
        (("mask2former", "Mask2FormerForUniversalSegmentation"), tasks.SEGMENTATION),
        (("llama", "LlamaModel"), ("text-generation",)),
        (("emu3",), ("image-text-to-text", "text-generation")),
    ],
)
def test_several_plausible_tasks_are_asked(names, choices):
    failure = refused(*names)
    assert failure.code == "ambiguous" and all(repr(task) in failure.message for task in choices)
    assert failure.next.tool == "probe_model" and failure.next.arguments["task"] in choices
    for task in choices:
        assert decide(*names, asked=task) == (task, "argument")


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("facebook/mask2former-swin-tiny-coco-instance", "instance-segmentation"),
        ("facebook/mask2former-swin-large-cityscapes-panoptic", "panoptic-segmentation"),
        ("facebook/mask2former-swin-small-ade-semantic", "semantic-segmentation"),
        ("me/semantic-to-panoptic", "instance-segmentation"),  # says two things, so it says nothing
    ],
)
def test_the_question_begins_with_what_the_name_says(name, first):
    failure = refused("mask2former", "Mask2FormerForUniversalSegmentation", tag="image-segmentation", name=name)
    assert failure.next.arguments == {"model_id": name, "task": first}


@pytest.mark.parametrize(
    ("model_type", "name", "asked"),
    [
        ("segformer", "SegformerForImageClassification", "semantic-segmentation"),  # nvidia/mit-b0 on FoodSeg103
        ("gemma3", "Gemma3ForConditionalGeneration", "text-generation"),
        ("llama", "LlamaForSequenceClassification", "text-generation"),
        ("clip", "CLIPModel", "image-classification"),
        ("detr", "DetrForSegmentation", "instance-segmentation"),
    ],
)
def test_the_user_may_name_any_task_that_transformers_can_build_on_the_type(model_type, name, asked):
    assert decide(model_type, name, asked=asked) == (asked, "argument")


@pytest.mark.parametrize(
    ("model_type", "names", "tag", "asked", "code"),
    [
        ("detr", ["DetrForObjectDetection"], None, "image-classification", "invalid_input"),
        ("bert", ["BertForMaskedLM"], "fill-mask", "text-generation", "out_of_scope"),
        ("whisper", ["WhisperForConditionalGeneration"], None, "text-generation", "out_of_scope"),
        ("whisper", ["WhisperForConditionalGeneration"], "text-generation", None, "out_of_scope"),
        ("grounding-dino", ["GroundingDinoForObjectDetection"], "object-detection", None, "out_of_scope"),
        ("vit", ["ViTModel"], "audio-classification", None, "out_of_scope"),
        ("bert", [], None, None, "out_of_scope"),
        ("sam", ["SamModel"], "mask-generation", None, "out_of_scope"),
    ],
)
def test_other_tasks_and_contradictions(model_type, names, tag, asked, code):
    assert refused(model_type, *names, tag=tag, asked=asked).code == code


@pytest.mark.parametrize(
    ("tag", "names", "task", "says"),
    [
        ("text-classification", ["LlamaForCausalLM"], "text-generation", "tagged 'text-classification'"),
        ("image-to-text", ["VisionEncoderDecoderModel"], "image-text-to-text", None),
        ("image-segmentation", ["SegformerForSemanticSegmentation"], "semantic-segmentation", None),
        (None, ["Gemma3ForConditionalGeneration"], "text-generation", None),
        (None, ["SegformerForImageClassification"], "semantic-segmentation", "has no head"),
        (None, [], "image-classification", "names no architecture"),
    ],
)
def test_remarks(tag, names, task, says):
    found = detect.remarks(tag, names, task, "model_type" if not names else "architecture")
    assert [says in remark for remark in found] == ([True] if says else [])
