"""Weights by their headers: exact counts, bounded bytes, and what a lying or damaged repository is told."""

from __future__ import annotations

import json

import pytest

from tests.tiny import model_files, safetensors
from tunegate.probe.model import probe_model, weights

VLM = {
    "model_type": "idefics3",
    "architectures": ["Idefics3ForConditionalGeneration"],
    "text_config": {"hidden_size": 576},
    "vision_config": {"image_size": 512},
}


def sharded(n_shards: int, n_tensors: int = 20, elements: int = 2, **lies: bytes) -> dict[str, bytes]:
    """n_shards files of n_tensors F32 tensors each, with their index; `lies` replace files by number."""
    files, names = {}, {}
    for shard in range(n_shards):
        file = f"model-{shard + 1:05}-of-{n_shards:05}.safetensors"
        tensors = {f"vit.encoder.layer.{shard}.{i}.weight": ("F32", [elements], 4 * elements) for i in range(n_tensors)}
        files[file] = lies.get(f"_{shard}", safetensors(tensors))
        names |= dict.fromkeys(tensors, file)
    index = json.dumps({"metadata": {"total_size": 1}, "weight_map": names}).encode()
    return model_files(model__safetensors=None) | files | {weights.WEIGHTS_INDEX: index}


def probe(server, hub, files, **how):
    server.add_repo("model", "me/m", files)
    return probe_model(hub, "me/m", **how)


def test_each_shard_is_one_request_of_about_its_header(server, hub):
    facts = probe(server, hub, sharded(40))
    assert (facts.verdict, facts.parameters, facts.weights_bytes) == ("accept", 1600, 6400)
    ranges = [served.range for served in server.log if served.path.endswith("-00040.safetensors")]
    assert len(ranges) == 40 and None not in ranges
    assert len(facts.sources) == len({source.url for source in facts.sources}) == 40 + 4


def test_what_is_read_does_not_grow_with_the_weights(server, hub):
    small, large = (probe(server, hub, sharded(3, elements=n)) for n in (2, 200_000))
    assert large.weights_bytes == 48_000_000 and large.bytes_fetched < small.bytes_fetched + 4000  # longer numbers


def test_parts_and_dtypes_add_up(server, hub):
    tensors = {
        "model.vision_model.encoder.weight": ("BF16", [10, 10], 200),
        "model.connector.modality_projection.proj.weight": ("BF16", [5], 10),
        "model.text_model.embed_tokens.weight": ("F32", [7], 28),
        "lm_head.weight": ("BF16", [3], 6),
    }
    files = model_files(VLM, model__safetensors=safetensors(tensors), tokenizer__json=b"{}")
    facts = probe(server, hub, files)
    assert facts.parameters_by_part == {"vision": 100, "connector": 5, "language": 7, "head": 3}
    assert facts.parameters_by_dtype == {"BF16": 108, "F32": 7} and facts.bytes_by_dtype == {"BF16": 216, "F32": 28}
    assert sum(facts.parameters_by_part.values()) == facts.parameters == 115


@pytest.mark.parametrize("bound", [1000, 5000])  # by what the index lets expect; by what the headers say
def test_all_headers_together_are_bounded(server, hub, monkeypatch, bound):
    monkeypatch.setattr(weights, "MAX_HEADERS", bound)
    monkeypatch.setattr(weights, "PER_TENSOR", 30)
    facts = probe(server, hub, sharded(3))
    assert (facts.parameters, facts.weights_bytes) == (None, 1)  # the index's word
    assert any("3 shards" in warning for warning in facts.warnings)
    assert sum(served.bytes_sent for served in server.log if served.range) < bound
    assert any(served.range for served in server.log) == (bound > 1000)


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        (b"", "shorter than 8 bytes"),
        ((8_000_000).to_bytes(8, "little") + b"{}", "ends after 2"),
        ((4).to_bytes(8, "little") + b"nope", "not JSON"),
        ((1 << 62).to_bytes(8, "little") + b"{}", "announce a header"),
        (safetensors({"a": ("F32", [2], 8)})[:-1], "its header describes"),
        (safetensors({"a": ("F32", [3], 8)}), "8 bytes for 3 elements"),
        (safetensors({"a": ("F32", [1 << 60, 1 << 60], 8)}), "no valid dtype"),
        (safetensors({"a": ("F32", [1] * 10_000, 4)}), "no valid dtype"),
        (safetensors({"a": ("NEW", [1 << 50, 1 << 50], 8)}), "elements of NEW"),
    ],
)
def test_a_shard_that_lies_is_named(server, hub, lie, says):
    facts = probe(server, hub, sharded(3, _1=lie))
    assert facts.verdict == "reject" and facts.parameters is None
    assert says in facts.reasons[0] and "'model-00002-of-00003.safetensors'" in facts.reasons[0]
    assert facts.bytes_fetched < 200_000


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ({}, "names no file"),
        ({"weight_map": []}, "names no file"),
        ({"weight_map": {"a": 3, "b": None}}, "names no file"),
        ({"weight_map": {"a": "x.safetensors", "b": "../../y"}}, "'../../y' and 1 more"),
    ],
)
def test_an_index_that_lies(server, hub, index, says):
    facts = probe(
        server, hub, model_files(model__safetensors=None, **{weights.WEIGHTS_INDEX: json.dumps(index).encode()})
    )
    assert facts.verdict == "reject" and says in facts.reasons[0]


def test_missing_shards_and_missing_tensors(server, hub):
    files = sharded(3)
    del files["model-00002-of-00003.safetensors"]
    facts = probe(server, hub, files)
    assert "model-00002-of-00003" in facts.reasons[0] and facts.verdict == "reject"
    facts = probe(server, hub, sharded(3, _1=safetensors({"a": ("F32", [1], 4)})))
    assert facts.verdict == "accept" and any("20 tensors that no shard holds" in w for w in facts.warnings)


def test_shards_without_an_index_and_weights_without_tensors(server, hub):
    files = sharded(2)
    del files[weights.WEIGHTS_INDEX]
    server.add_repo("model", "me/other", files)
    facts = probe_model(hub, "me/other")
    assert (facts.weights_format, facts.verdict) == ("none", "reject") and "00001-of-00002" in facts.reasons[0]
    server.add_repo("model", "me/empty", model_files(model__safetensors=safetensors({})))
    assert "no tensor" in probe_model(hub, "me/empty").reasons[0]


def test_one_shard_that_cannot_be_had_fails_the_probe_and_stops_the_rest(server, hub):
    from tests.probe.model.test_formats import refused
    from tunegate.embedded.hub import Fault

    server.faults.append(Fault(r".*/model-00002.*", status=500))
    assert refused(server, hub, sharded(3)).code == "unavailable"
