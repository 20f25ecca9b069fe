from __future__ import annotations

from typing import get_args

from tunegate import config
from tunegate.probe.dataset import recommend
from tunegate.tasks import LOCAL_FORMATS, VARIANTS
from tunegate.tasks.columns import Reshape


def test_the_page_recommends_three_to_five_for_every_task_and_method():
    known = recommend.load()
    assert set(known) == set(VARIANTS), "references/dataset-recommendations.md"
    for key in known:
        task, _, method = key.partition("/")
        rows = recommend.recommended(task, method or None, None)
        assert 3 <= len(rows) <= 5, f"references/dataset-recommendations.md: {key}"
        assert len({row.id for row in known[key]}) == len(known[key])


def test_a_models_family_comes_first():
    families = {
        family: (key, row.id) for key, rows in recommend.load().items() for row in rows for family in row.families
    }
    assert families
    for family, (key, wanted) in families.items():
        task, _, method = key.partition("/")
        rows = recommend.recommended(task, method or None, family + "_x")
        assert family in rows[0].families, (family, wanted)


def test_the_message_shows_size_license_and_the_users_own_data_last():
    text = recommend.message("object-detection", "full", None)
    assert text.index("license") < text.index("own data") and "COCO" in text and len(text) < 1500
    assert "prompt" in recommend.message("text-generation", "dpo", None) or "preference" in recommend.message(
        "text-generation", "dpo", None
    )


def test_every_local_format_and_reshape_can_be_said_in_the_config():
    assert {"auto", *LOCAL_FORMATS} == set(get_args(config.RunConfig.model_fields["local_dataset_format"].annotation))
    reshapes = {form.reshape for spec in VARIANTS.values() for form in spec.forms} - {None}
    assert reshapes | {"transpose_objects"} == set(get_args(Reshape))
