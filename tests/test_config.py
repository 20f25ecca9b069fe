from __future__ import annotations

from typing import get_args

import pytest

from tunegate import config, evidence
from tunegate.config import Basis, RunConfig, key
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


def test_every_key_says_what_rests_on_it_and_who_may_change_it():
    for name, field in RunConfig.model_fields.items():
        about = field.json_schema_extra
        assert about and about["rests"] and set(about) == {"rests", "said_in", "asks"}, f"{name}: declare it with key()"
        assert about["rests"] == ("nothing",) or "nothing" not in about["rests"], name


@pytest.mark.parametrize(("rests", "said_in"), [("trainig", ""), ("training", "probe_modell")])
def test_a_word_that_is_not_known_is_refused_where_it_is_declared(rests, said_in):
    with pytest.raises(ValueError, match="unknown"):
        key(None, rests=rests, said_in=said_in)


def test_a_changed_key_is_stale_where_it_rests():
    """Every word of Basis but `nothing` closes something: a key that names one cannot change unnoticed."""
    used = {word for kind in evidence.KINDS.values() for word in kind.rests}
    assert used == set(get_args(Basis)) - {"nothing"}
