from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from tunegate import config, tasks
from tunegate.paths import data_dir


def test_the_tables_know_the_same_tasks():
    known = set(get_args(config.Task))
    assert (
        known
        == set(tasks.SUPPORTED)
        == {path.name for path in data_dir("scaffolds").iterdir() if (path / "train.py.j2").is_file()}
    ), "TASKS and the folders of scaffolds/ differ"


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_task_has_a_scaffold_and_a_test_of_it(name):
    folder = data_dir("scaffolds") / name
    scripts = ("prepare_data", "data", "model", "train", "run_eval", "infer")
    found = {path.name.partition(".")[0] for path in folder.glob("*")}
    assert found >= {*scripts, "defaults"}, f"scaffolds/{name} lacks {', '.join({*scripts, 'defaults'} - found)}"
    test = f"tests/scaffolds/test_{name.replace('-', '_')}.py"
    assert (Path(__file__).parents[2] / test).is_file(), f"{test} is not there"
