"""What transformers knows of architectures, from architectures.json (make_architectures.py writes it).

The server imports neither transformers nor torch. A class name tells what its head is for; a model_type tells what else
transformers could build on the same weights.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from tunegate.tasks import TASKS

ARCHITECTURES_FILE = Path(__file__).with_name("architectures.json")

# task -> the auto classes that serve it, the preferred first
AUTO_CLASSES = {name: spec.auto_classes for name, spec in TASKS.items()}
# Auto classes whose models have no head of a task: pretraining, embeddings, a pair of towers.
HEADLESS = (
    "AutoModel",
    "AutoBackbone",
    "AutoModelForPreTraining",
    "AutoModelForMaskedImageModeling",
    "AutoModelForTextEncoding",
    "AutoModelForZeroShotImageClassification",
    "AutoModelForImageSegmentation",  # DETR alone, which the universal mapping holds too
)
# Auto class -> the Hub's name of its task, where that is not the class's own name.
FOREIGN = {
    "AutoModelForMaskedLM": "fill-mask",
    "AutoModelForSeq2SeqLM": "text2text-generation",
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForSpeechSeq2Seq": "automatic-speech-recognition",
    "AutoModelForCTC": "automatic-speech-recognition",
    "AutoModelForRNNT": "automatic-speech-recognition",
    "AutoModelForTDT": "automatic-speech-recognition",
    "AutoModelForAudioFrameClassification": "audio-classification",
    "AutoModelForAudioXVector": "audio-classification",
    "AutoModelForTextToSpectrogram": "text-to-speech",
    "AutoModelForTextToWaveform": "text-to-speech",
    "AutoModelForMultimodalLM": "any-to-any",
    "AutoModelForTimeSeriesPrediction": "time-series-forecasting",
}
# Types that transformers can make a decoder of, though their weights were not trained as one.
NOT_DECODERS = (
    "AutoModelForMaskedLM",
    "AutoModelForSeq2SeqLM",
    "AutoModelForSpeechSeq2Seq",
    "AutoModelForTextToWaveform",
)
# The published DETR segmentation weights are panoptic; transformers' universal mapping would allow the other two.
ONE_TASK = {"DetrForSegmentation": ("panoptic-segmentation",)}
# For classes that this transformers does not have: a marker in the name -> tasks of ours, or the foreign one.
MARKERS: tuple[tuple[str, tuple[str, ...] | str], ...] = (
    ("ForImageClassification", ("image-classification",)),
    ("ForZeroShotObjectDetection", "zero-shot-object-detection"),
    ("ForObjectDetection", ("object-detection",)),
    ("ForSemanticSegmentation", ("semantic-segmentation",)),
    ("ForInstanceSegmentation", ("instance-segmentation",)),
    ("ForUniversalSegmentation", ("instance-segmentation", "panoptic-segmentation", "semantic-segmentation")),
    ("ForPanopticSegmentation", ("panoptic-segmentation",)),
    ("ForDepthEstimation", ("depth-estimation",)),
    ("ForImageTextToText", ("image-text-to-text",)),
    ("ForVision2Seq", ("image-text-to-text",)),
    ("ForCausalLM", ("text-generation",)),
    ("LMHeadModel", ("text-generation",)),
    ("ForCTC", "automatic-speech-recognition"),
    ("ForSpeechSeq2Seq", "automatic-speech-recognition"),
    ("ForAudio", "audio-classification"),
    ("ForTextToSpeech", "text-to-speech"),
    ("ForVideoClassification", "video-classification"),
    ("ForMaskedLM", "fill-mask"),
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForMultipleChoice", "multiple-choice"),
    ("ForConditionalGeneration", "text2text-generation"),
)


@cache
def load() -> dict[str, Any]:
    """{"transformers": version, "config": {model_type: class}, "auto": {auto class: {model_type: [class]}}, "no_loss": [class]}."""
    return json.loads(ARCHITECTURES_FILE.read_text())


def version() -> str:
    """The release of transformers that the data was made from."""
    return load()["transformers"]


def known_type(model_type: str) -> bool:
    return model_type in load()["config"]


def classes(auto_class: str, model_type: str) -> list[str]:
    """What this auto class may load for the type; empty when it cannot."""
    return load()["auto"].get(auto_class, {}).get(model_type, [])


@cache
def _heads() -> dict[str, tuple[tuple[str, ...], str | None]]:
    """Class -> (tasks of ours that its head serves, else the foreign task)."""
    ours: dict[str, list[str]] = {}
    for task, autos in AUTO_CLASSES.items():
        for name in (n for auto in autos for names in load()["auto"][auto].values() for n in names):
            if task not in ours.setdefault(name, []):
                ours[name].append(task)
    found: dict[str, tuple[tuple[str, ...], str | None]] = {}
    for auto, mapping in load()["auto"].items():
        if auto not in HEADLESS:
            found |= {n: ((), foreign_name(auto)) for names in mapping.values() for n in names if n not in found}
    return found | {name: (ONE_TASK.get(name, tuple(sorted(tasks))), None) for name, tasks in ours.items()}


def foreign_name(auto_class: str) -> str:
    """AutoModelForZeroShotObjectDetection -> zero-shot-object-detection."""
    words = re.findall(r"[A-Z][a-z0-9]*", auto_class.removeprefix("AutoModelFor"))
    return FOREIGN.get(auto_class) or "-".join(words).lower()


def of_class(name: str, *, has_vision: bool = False) -> tuple[tuple[str, ...], str | None]:
    """(tasks its head serves, None), ((), out-of-scope task) or ((), None) for a backbone without a head.

    Of a model that takes text alone or with images, only image-text-to-text is named: `of_type` has the other.
    """
    known = _heads().get(name)
    if known is None:
        known = _by_marker(name, has_vision)
    tasks, foreign = known
    return (("image-text-to-text",), None) if "image-text-to-text" in tasks else (tasks, foreign)


def _by_marker(name: str, has_vision: bool) -> tuple[tuple[str, ...], str | None]:
    if any(name in names for auto in HEADLESS for names in load()["auto"][auto].values()):
        return (), None
    if has_vision and name.endswith(("ForConditionalGeneration", "ForCausalLM")):
        return ("image-text-to-text",), None
    for marker, what in MARKERS:
        if marker in name:
            return (what, None) if isinstance(what, tuple) else ((), what)
    return (), None


def of_type(model_type: str) -> tuple[str, ...]:
    """Tasks that transformers can build on this type's weights; the head may have to start at random."""
    tasks = [task for task, autos in AUTO_CLASSES.items() if any(classes(auto, model_type) for auto in autos)]
    if any(classes(auto, model_type) for auto in NOT_DECODERS):
        tasks = [task for task in tasks if task != "text-generation"]
    return tuple(tasks)


def auto_class(task: str, model_type: str, name: str = "") -> str | None:
    """The auto class to load `name` (or the type's default class) for the task with; None when there is none."""
    able = [auto for auto in AUTO_CLASSES[task] if classes(auto, model_type)]
    exact = [auto for auto in able if name in classes(auto, model_type)]
    return next(iter(exact or able), None)


def own_class(reference: str, auto: str, model_type: str) -> bool:
    """Whether an auto_map entry (`modeling_x.XForCausalLM`, `org/repo--modeling_x.X`) names a class that transformers has itself."""
    name = reference.rsplit(".", 1)[-1]
    if auto == "AutoConfig":
        return load()["config"].get(model_type) == name
    return name in classes(auto, model_type)


def computes_loss(task: str, model_type: str) -> bool:
    """False when the class's forward takes no labels: then a scaffold has to compute the loss."""
    auto = auto_class(task, model_type)
    return not (auto and classes(auto, model_type)[0] in load()["no_loss"])
