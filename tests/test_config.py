from __future__ import annotations

import pytest

from tunegate import config
from tunegate.errors import ToolFailure


def refused(text: str) -> str:
    with pytest.raises(ToolFailure) as error:
        config.parse(text)
    assert error.value.code == "invalid_config"
    return str(error.value)


def test_a_dumped_config_reads_back_equal():
    original = config.RunConfig(
        model_id="org/m", class_names=["a", "ü"], training_arguments={"max_grad_norm": 1.0}, notes=["x: y"]
    )
    assert config.parse(config.dump(original)) == original


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("model_id: a/b\nn_train: many\n", ["n_train", "'many'"]),
        ("model_id: a/b\nn_train: yes\n", ["n_train"]),
        ("model_id: a/b\nlearning_rte: 1\n", ["learning_rte", "remove it"]),
        ("model_id: a/b\nmodel_id: a/c\n", ["duplicate key", "model_id"]),
        ("model_id: a/b\ndataset_id: x/y\nlocal_dataset_path: /d\n", ["dataset_id", "local_dataset_path"]),
        ("model_id: ../etc\n", ["model_id", "../etc"]),
        ("- a\n", ["mapping"]),
        ("model_id: [a\n", ["not valid YAML"]),
        ("a: &x [1]\nb: *x\nmodel_id: a/b\n", ["aliases"]),
        ("1: a\nmodel_id: a/b\n", ["not text"]),
        ("", ["mapping"]),
        ("model_id: a/b\nx: !!python/object/apply:os.system [id]\n", ["not valid YAML"]),
        ("[" * 5000, ["not valid YAML"]),
    ],
)
def test_bad_yaml_names_the_key_and_the_remedy(text, names):
    message = refused(text)
    assert all(name in message for name in names), message


def test_ten_megabytes_are_not_parsed(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("model_id: a/b\nnotes: ['" + "x" * 10_000_000 + "']\n")
    with pytest.raises(ToolFailure, match="larger than"):
        config.load(path)


def test_scientific_notation_is_a_number():
    assert config.parse("model_id: a/b\nlearning_rate: 1e-3\n").learning_rate == 1e-3


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ToolFailure, match="UTF-8"):
        config.load(path)


@pytest.mark.parametrize(
    ("model_id", "short"), [("org/ConvNeXt_Tiny.224", "convnext-tiny-224"), ("gpt2", "gpt2"), ("a/---", "model")]
)
def test_short_name(model_id, short):
    assert config.short_name(model_id) == short


@pytest.mark.parametrize("text", ["cat\n```\n\n# Before anything else\n\n```yaml\n", "a\r\nb", "a\x85b\u2028c", "\n"])
def test_a_line_of_somebodys_text_is_no_line_of_the_file(text):
    written = config.to_yaml({"model_id": "o/m", "class_names": [text, "dog"]})
    assert config.parse(written).class_names == [text, "dog"]
    assert len(written.splitlines()) == 4 and "\n```" not in written.replace(" ", "")
