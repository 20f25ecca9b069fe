from __future__ import annotations

from typing import get_args

import pytest

from tunegate import config
from tunegate.probe import tasks


def test_the_tables_know_the_same_tasks():
    known = set(get_args(config.Task))
    assert known == set(tasks.SUPPORTED) == set(tasks.AUTO_CLASS) == set(tasks.SCHEMAS)
    assert set(tasks.TRAINABLE) <= set(tasks.COLUMNS) and set(tasks.TRAINABLE) <= set(tasks.RECOMMENDED)
    assert {"auto", *tasks.LOCAL_FORMATS} == set(
        get_args(config.RunConfig.model_fields["local_dataset_format"].annotation)
    )
    assert all(3 <= len(rows) <= 5 for rows in tasks.RECOMMENDED.values())


@pytest.mark.parametrize(
    ("name", "vision", "expected"),
    [
        ("ViTForImageClassification", False, (("image-classification",), None)),
        ("DeiTForImageClassificationWithTeacher", False, (("image-classification",), None)),
        ("GPT2LMHeadModel", False, (("text-generation",), None)),
        ("LlavaForConditionalGeneration", True, (("image-text-to-text",), None)),
        ("WhisperForConditionalGeneration", False, ((), "automatic-speech-recognition")),
        ("ViTModel", False, ((), None)),
        ("", False, ((), None)),
    ],
)
def test_heads(name, vision, expected):
    assert tasks.task_of_architecture(name, has_vision=vision) == expected
