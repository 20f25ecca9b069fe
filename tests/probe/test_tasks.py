from __future__ import annotations

from typing import get_args

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
