"""Which published parameters a training moved, from two safetensors files."""

from __future__ import annotations

import array
import hashlib
import json
import struct
from pathlib import Path

import pytest

from tunegate.config import RunConfig
from tunegate.jobs import snapshot
from tunegate.rundir import Run
from tunegate.stages.verdicts import moved

CONFIG = RunConfig(model_id="org/m", model_revision="c" * 40, training_method="full")


def packed(values: list[float], dtype: str) -> bytes:
    wide = array.array("f", values).tobytes()
    if dtype == "BF16":
        return b"".join(wide[at + 2 : at + 4] for at in range(0, len(wide), 4))
    return struct.pack(f"<{len(values)}e", *values) if dtype == "F16" else wide


def weights(path: Path, tensors: dict[str, tuple[str, list[float]]]) -> Path:
    header, data = {}, b""
    for name, (dtype, values) in tensors.items():
        body = packed(values, dtype)
        header[name] = {"dtype": dtype, "shape": [len(values)], "data_offsets": [len(data), len(data) + len(body)]}
        data += body
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def compared(tmp_path, before, after):
    files = weights(tmp_path / "a.safetensors", before), weights(tmp_path / "b.safetensors", after)
    return moved.compare(*(moved._tensors([file]) for file in files))


LONG = [float(i % 97) / 8 for i in range(20_000)]


def test_one_moved_number_of_a_long_tensor_is_found(tmp_path):
    other = [*LONG]
    other[7_777] += 1
    before = {"a.weight": ("F32", LONG), "b.weight": ("F32", LONG), "bn.running_mean": ("F32", [0.0])}
    after = {"a.weight": ("F32", LONG), "b.weight": ("F32", other), "bn.running_mean": ("F32", [9.0])}
    found = compared(tmp_path, before, after)
    assert (found.parameters, found.moved, found.new, found.still) == (40_000, 20_000, 0, ["a.weight"])


@pytest.mark.parametrize(("before", "after"), [("BF16", "F32"), ("F16", "F32"), ("F32", "BF16"), ("F32", "F16")])
def test_another_type_alone_moves_nothing(tmp_path, before, after):
    values = [1 / 3, -0.2, 1e-3, 0.0, 5.5]
    exact = list(array.array("f", packed(values, "F32")))
    if before == "BF16":
        wide = packed(values, "F32")
        exact = list(array.array("f", b"".join(b"\0\0" + wide[at + 2 : at + 4] for at in range(0, len(wide), 4))))
    if before == "F16":
        exact = list(struct.unpack("<5e", packed(values, "F16")))
    found = compared(tmp_path, {"x": (before, exact)}, {"x": (after, exact)})
    assert (found.parameters, found.moved) == (5, 0)
    found = compared(tmp_path, {"x": (before, exact)}, {"x": (after, [*exact[:4], 6.0])})
    assert (found.parameters, found.moved) == (5, 5)


def test_a_new_head_is_no_counterpart_and_a_prefix_is_none_either(tmp_path):
    before = {"encoder.w": ("F32", [1.0, 2.0]), "classifier.bias": ("F32", [0.0] * 10)}
    after = {"vit.encoder.w": ("F32", [1.0, 2.5]), "classifier.bias": ("F32", [0.0] * 3)}
    found = compared(tmp_path, before, after)
    assert (found.parameters, found.moved, found.new) == (2, 2, 3)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A training's private folder, its model in the cache of downloads with the hashes that the probe saw."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    found = snapshot.of(Run(tmp_path / "run"), "train")
    path = snapshot.hub(found) / f"hub/models--org--m/snapshots/{CONFIG.model_revision}/model.safetensors"
    weights(path, {"a": ("F32", [1.0, 2.0]), "b": ("F32", [3.0])})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    evidence = type("Found", (), {"facts": {"hashes": {"model.safetensors": digest}}})
    monkeypatch.setattr(moved.evidence, "read", lambda run, name: evidence)
    return found


@pytest.mark.parametrize(
    ("final", "facts", "problem"),
    [
        ({"a": [1.0, 2.0], "b": [3.0]}, {"moved": 0, "new": 0, "still": ["a", "b"]}, "of 3 parameters none moved"),
        ({"a": [1.0, 2.0], "b": [3.5]}, {"moved": 1, "new": 0, "still": ["a"]}, None),
        ({"a": [1.0, 2.0], "b": [3.0], "head": [0.1]}, {"moved": 0, "new": 1, "still": ["a", "b"]}, None),
    ],
)
def test_a_final_model_that_is_the_published_one_was_not_trained(run, final, facts, problem):
    weights(run.at("checkpoints/final/model.safetensors"), {name: ("F32", values) for name, values in final.items()})
    found, problems = moved.of_training(run, CONFIG)
    assert found == {"moved": {"parameters": 3, **facts}} and len(problems) == bool(problem)
    assert problem is None or problem in problems[0]


def test_a_cached_model_that_is_not_the_published_one_proves_nothing(run):
    path = snapshot.hub(run) / f"hub/models--org--m/snapshots/{CONFIG.model_revision}/model.safetensors"
    weights(path, {"a": ("F32", [7.0, 7.0]), "b": ("F32", [7.0])})
    weights(run.at("checkpoints/final/model.safetensors"), {"a": ("F32", [1.0, 2.0]), "b": ("F32", [3.0])})
    assert moved.of_training(run, CONFIG) == ({"moved": None}, [])


@pytest.mark.parametrize(("second", "wrong"), [([0.0, -0.0], True), ([0.0, 1e-9], False)])
def test_an_adapter_that_is_zero_was_not_trained(run, second, wrong):
    tensors = {"x.lora_A.weight": ("F32", [1.0, 2.0]), "x.lora_B.weight": ("F32", second)}
    weights(run.at("checkpoints/final/adapter_model.safetensors"), tensors)
    facts, problems = moved.of_training(run, CONFIG.model_copy(update={"training_method": "lora"}))
    assert facts == {"moved": {"tensors": 1, "still": int(wrong)}} and bool(problems) is wrong


def test_what_moved_is_a_sentence():
    facts = {"moved": {"parameters": 2000, "moved": 10, "new": 3, "still": []}}
    assert moved.sentence(facts) == "10 of 2,000 published parameters lie in tensors that moved (0.5%), 3 are new"
    assert moved.sentence({"moved": None}) == moved.sentence({}) == ""
