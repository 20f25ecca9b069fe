"""What is known about tasks, as tables: their columns, metrics and auto classes, and how a model's task is told.

Names of transformers are those of 5.23.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TRAINABLE = ("image-classification",)  # what this version can take further than step 1

PRIMARY_METRIC = {
    "image-classification": "accuracy",
    "object-detection": "map",
    "semantic-segmentation": "mean_iou",
    "instance-segmentation": "map",
    "panoptic-segmentation": "map",
    "depth-estimation": "abs_rel",
    "image-text-to-text": "exact_match",
    "text-generation": "eval_loss",
}
SUPPORTED = tuple(PRIMARY_METRIC)

AUTO_CLASS = {
    "image-classification": "AutoModelForImageClassification",
    "object-detection": "AutoModelForObjectDetection",
    "semantic-segmentation": "AutoModelForSemanticSegmentation",
    "instance-segmentation": "AutoModelForUniversalSegmentation",
    "panoptic-segmentation": "AutoModelForUniversalSegmentation",
    "depth-estimation": "AutoModelForDepthEstimation",
    "image-text-to-text": "AutoModelForImageTextToText",
    "text-generation": "AutoModelForCausalLM",
}
VISION = tuple(task for task in SUPPORTED if task != "text-generation")  # these need an image processor

# model_type -> has a class behind AutoModelForImageClassification
IMAGE_CLASSIFIERS = frozenset(
    (
        "beit",
        "bit",
        "clip",
        "convnext",
        "convnextv2",
        "cvt",
        "data2vec-vision",
        "deit",
        "dinat",
        "dinov2",
        "dinov2_with_registers",
        "donut-swin",
        "efficientnet",
        "focalnet",
        "hgnet_v2",
        "hiera",
        "ijepa",
        "imagegpt",
        "levit",
        "metaclip_2",
        "mobilenet_v1",
        "mobilenet_v2",
        "mobilevit",
        "mobilevitv2",
        "perceiver",
        "poolformer",
        "pp_lcnet",
        "pvt",
        "pvt_v2",
        "regnet",
        "resnet",
        "segformer",
        "siglip",
        "siglip2",
        "swiftformer",
        "swin",
        "swinv2",
        "textnet",
        "vit",
        "vit_msn",
    )
)

# A marker in an architecture's name -> the tasks that its head serves. The first that fits counts.
HEADS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ForImageClassification", ("image-classification",)),
    ("ForObjectDetection", ("object-detection",)),
    ("ForSemanticSegmentation", ("semantic-segmentation",)),
    ("ForInstanceSegmentation", ("instance-segmentation", "panoptic-segmentation")),
    ("ForUniversalSegmentation", ("instance-segmentation", "panoptic-segmentation", "semantic-segmentation")),
    ("ForSegmentation", ("panoptic-segmentation",)),
    ("ForDepthEstimation", ("depth-estimation",)),
    ("ForImageTextToText", ("image-text-to-text",)),
    ("ForVision2Seq", ("image-text-to-text",)),
    ("ForCausalLM", ("text-generation",)),
    ("LMHeadModel", ("text-generation",)),
)
# Heads of tasks that are out of scope; `ForConditionalGeneration` is one unless the config has a vision part.
OTHER_HEADS: tuple[tuple[str, str], ...] = (
    ("ForCTC", "automatic-speech-recognition"),
    ("ForSpeechSeq2Seq", "automatic-speech-recognition"),
    ("WhisperFor", "automatic-speech-recognition"),
    ("Speech2TextFor", "automatic-speech-recognition"),
    ("ForAudioClassification", "audio-classification"),
    ("ForAudioFrameClassification", "audio-classification"),
    ("ForTextToSpeech", "text-to-speech"),
    ("ForVideoClassification", "video-classification"),
    ("ForZeroShotObjectDetection", "zero-shot-object-detection"),
    ("ForMaskedLM", "fill-mask"),
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForMultipleChoice", "multiple-choice"),
    ("ForMaskGeneration", "mask-generation"),
    ("ForImageSuperResolution", "image-to-image"),
    ("ForTimeSeries", "time-series-forecasting"),
    ("ForConditionalGeneration", "text2text-generation"),
)
# Tags that say what a backbone without a head was pretrained for, not what it can be trained for.
HEADLESS_TAGS = ("image-feature-extraction", "feature-extraction", "zero-shot-image-classification")


@dataclass(frozen=True)
class Column:
    """One column of a task: what may feed it. `kinds` are feature kinds as probe/columns.py names them."""

    kinds: tuple[str, ...]
    aliases: tuple[str, ...]
    needs: str


COLUMNS: dict[str, dict[str, Column]] = {
    "image-classification": {
        "image": Column(("image",), ("image", "img", "picture", "photo", "pixel_values"), "images"),
        "label": Column(
            ("class", "int", "string", "bool"),
            ("label", "labels", "class", "category", "target", "y", "fine_label", "class_name", "label_name"),
            "one class for each row",
        ),
    },
}
# What the other tasks will need, for messages.
SCHEMAS = {
    "image-classification": "image + label",
    "object-detection": "image + objects{bbox, category}",
    "semantic-segmentation": "image + mask",
    "instance-segmentation": "image + mask",
    "panoptic-segmentation": "image + mask",
    "depth-estimation": "image + depth_map",
    "image-text-to-text": "image + messages, or image + question + answer",
    "text-generation": "messages, or prompt + completion, or prompt + chosen + rejected",
}
# Formats of local datasets -> the tasks that they can feed.
LOCAL_FORMATS = {
    "imagefolder": ("image-classification",),
    "coco": ("object-detection", "instance-segmentation", "panoptic-segmentation"),
    "voc": ("object-detection",),
    "segfolder": ("semantic-segmentation",),
    "jsonl": SUPPORTED,
    "arrow": SUPPORTED,
    "parquet": SUPPORTED,
    "csv": SUPPORTED,
}
# task -> datasets to recommend when none is named: (id, why)
RECOMMENDED: dict[str, tuple[tuple[str, str], ...]] = {
    "image-classification": (
        ("uoft-cs/cifar10", "60,000 32-px photographs, 10 classes: the quickest first run"),
        ("AI-Lab-Makerere/beans", "1,295 leaf photographs, 3 classes: small and real"),
        ("ethz/food101", "101,000 food photographs, 101 classes: harder, 5 GB"),
        ("blanchon/EuroSAT_RGB", "27,000 satellite tiles, 10 classes"),
    ),
}

Source = Literal["argument", "architecture", "pipeline_tag"]


def task_of_architecture(name: str, *, has_vision: bool) -> tuple[tuple[str, ...], str | None]:
    """(tasks its head serves, None), ((), out-of-scope task) or ((), None) for a backbone without a head."""
    if has_vision and name.endswith(("ForConditionalGeneration", "ForCausalLM")):
        return ("image-text-to-text",), None
    for marker, tasks in HEADS:
        if marker in name:
            return tasks, None
    return (), next((task for marker, task in OTHER_HEADS if marker in name), None)
