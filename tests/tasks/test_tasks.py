from __future__ import annotations

from typing import get_args

from tunegate import config, tasks
from tunegate.paths import data_dir


def test_the_tables_know_the_same_tasks():
    known = set(get_args(config.Task))
    assert (
        known
        == set(tasks.SUPPORTED)
        == {path.name for path in data_dir("scaffolds").iterdir() if (path / "train.py.j2").is_file()}
    )
