from __future__ import annotations

from typing import get_args

from tunegate import config, tasks


def test_the_tables_know_the_same_tasks():
    known = set(get_args(config.Task))
    assert known == set(tasks.SUPPORTED) == set(tasks.AUTO_CLASS)
