from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from tunegate import config, tasks
from tunegate.errors import ToolFailure
from tunegate.paths import data_dir
from tunegate.tasks.methods import check_method


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


def test_pairs_about_images_are_refused_with_the_way_out():
    with pytest.raises(ToolFailure, match="trained with lora or full.*'chosen' as the answer") as caught:
        check_method("image-text-to-text", "dpo")
    assert caught.value.code == "out_of_scope"
    with pytest.raises(ToolFailure, match="trained with full in this version$"):
        check_method("object-detection", "dpo")
