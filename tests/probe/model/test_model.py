from __future__ import annotations

import json
import struct

import pytest

from tests.tiny import PROCESSOR, TOKEN, VIT, WEIGHTS, dataset_files, model_files, parquet, safetensors
from tunegate.clients.hub import Hub
from tunegate.embedded.hub import Fault
from tunegate.errors import ToolFailure
from tunegate.probe.model import probe_model
from tunegate.probe.model.weights import MAX_SHARDS
from tunegate.tasks import SUPPORTED


def put(server, files=None, name="me/tiny", **how):
    server.add_repo("model", name, model_files() if files is None else files, **how)
    return name


def refused(*args, **kwargs):
    with pytest.raises(ToolFailure) as caught:
        probe_model(*args, **kwargs)
    assert "hf_" not in caught.value.failure.message
    return caught.value.failure


def test_a_classifier_is_accepted_with_its_facts(server, hub):
    facts = probe_model(hub, put(server))
    assert (facts.verdict, facts.reasons, facts.task, facts.task_source) == (
        "accept",
        [],
        "image-classification",
        "architecture",
    )
    assert facts.auto_class == "AutoModelForImageClassification" and len(facts.revision) == 40
    assert (facts.parameters, facts.parameters_by_dtype, facts.weights_bytes) == (10, {"F32": 6, "BF16": 4}, 32)
    assert (facts.hidden_size, facts.num_attention_heads, facts.num_hidden_layers, facts.image_size) == (32, 4, 2, 32)
    assert (facts.num_labels, facts.id2label, facts.licence) == (2, {"0": "cat", "1": "dog"}, "apache-2.0")
    assert (
        facts.processor["image_mean"] == [0.5, 0.5, 0.5]
        and facts.weights_format == "safetensors"
        and facts.n_files == 4
    )
    assert len(facts.sources) == 4 and all(len(source.sha256) == 64 for source in facts.sources)
    assert json.loads(facts.model_dump_json())["verdict"] == "accept"


def test_weights_are_never_downloaded(server, hub, tmp_path):
    big = tmp_path / "big.safetensors"
    size = 200 * 2**20
    header = safetensors({"w": ("F32", [size // 4], size)}, data=False)
    with big.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)
    facts = probe_model(hub, put(server, model_files(model__safetensors=big)))
    assert facts.weights_bytes == size and facts.bytes_fetched < 200_000


def test_a_header_longer_than_the_first_read_is_read_whole(server, hub):
    weights = safetensors({f"layer.{i}.weight": ("F32", [1], 4) for i in range(1000)})
    assert probe_model(hub, put(server, model_files(model__safetensors=weights))).parameters == 1000


def test_shards_add_up(server, hub):
    index = {"metadata": {"total_size": 64}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    files = model_files(model__safetensors=None) | {
        "model-1.safetensors": WEIGHTS,
        "model-2.safetensors": WEIGHTS,
        "model.safetensors.index.json": json.dumps(index).encode(),
    }
    assert probe_model(hub, put(server, files)).parameters == 20
    del files["model-2.safetensors"]
    facts = probe_model(hub, put(server, files, "me/lost"))
    assert facts.verdict == "reject" and "model-2.safetensors" in facts.reasons[0]


def test_many_shards_are_not_read_one_by_one(server, hub):
    names = [f"model-{i}.safetensors" for i in range(MAX_SHARDS + 1)]
    index = {"metadata": {"total_size": 7, "total_parameters": 3}, "weight_map": {name: name for name in names}}
    files = model_files(model__safetensors=None, **{"model.safetensors.index.json": json.dumps(index).encode()})
    facts = probe_model(hub, put(server, files | dict.fromkeys(names, WEIGHTS)))
    assert (facts.parameters, facts.weights_bytes, facts.verdict) == (3, 7, "accept") and any(
        "shards" in w for w in facts.warnings
    )


@pytest.mark.parametrize(
    "weights",
    [
        b"",
        b"1234",
        struct.pack("<Q", 1 << 40) + b"{}",
        struct.pack("<Q", 4) + b"nope",
        WEIGHTS[:-1],
        WEIGHTS[:20],
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 17) + b'{"a":{"dtype":1}}',
    ],
)
def test_damaged_weights_are_rejected_by_their_header(server, hub, weights):
    facts = probe_model(hub, put(server, model_files(model__safetensors=weights)))
    assert facts.verdict == "reject" and "damaged" in facts.reasons[0]


@pytest.mark.parametrize(
    ("files", "shape", "verdict"),
    [
        ({"pytorch_model.bin": b"x" * 9}, "bin-only", "accept"),
        ({"m.gguf": b"GGUF"}, "gguf", "reject"),
        ({}, "none", "reject"),
        ({"tf_model.h5": b"x"}, "none", "reject"),
    ],
)
def test_other_weights(server, hub, files, shape, verdict):
    facts = probe_model(hub, put(server, model_files(model__safetensors=None) | files))
    assert (facts.weights_format, facts.verdict) == (shape, verdict)
    assert any(".bin" in warning for warning in facts.warnings) == (shape == "bin-only")


def test_the_id_is_malformed_missing_gated_private_or_a_datasets(server, hub):
    assert refused(hub, "not a model").code == "invalid_input"
    assert refused(hub, "me/none").code == "access_denied"
    assert refused(Hub(server.url, token=TOKEN), "me/none").code == "not_found"
    failure = refused(hub, put(server, name="me/gated", gated="auto"))
    assert (
        failure.code == "access_denied" and "gated" in failure.message and f"{server.url}/me/gated" in failure.message
    )
    assert refused(hub, put(server, name="me/private", private=True)).code == "access_denied"
    server.add_repo("dataset", "me/data", dataset_files(parquet([0, 1])))
    assert "is a dataset, not a model" in refused(hub, "me/data").message


def test_gated_with_access_and_private_to_its_owner_are_read(server):
    owner = Hub(server.url, token=TOKEN)
    assert "HF_TOKEN" in " ".join(probe_model(owner, put(server, name="me/gated", gated="manual")).warnings)
    assert probe_model(owner, put(server, name="me/private", private=True)).private


@pytest.mark.parametrize(
    ("config", "tag", "task"),
    [
        (
            {"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]},
            "automatic-speech-recognition",
            "automatic-speech-recognition",
        ),
        ({"model_type": "wav2vec2", "architectures": ["Wav2Vec2ForCTC"]}, None, "automatic-speech-recognition"),
        (
            {"model_type": "wav2vec2", "architectures": ["Wav2Vec2Model"]},
            "automatic-speech-recognition",
            "automatic-speech-recognition",
        ),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "fill-mask", "fill-mask"),
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, None, "text2text-generation"),
        ({"model_type": "bert"}, None, "no task"),
    ],
)
def test_tasks_out_of_scope_are_named_with_those_in_scope(server, hub, config, tag, task):
    card = f"---\npipeline_tag: {tag}\n---\n".encode() if tag else b"# nothing\n"
    failure = refused(hub, put(server, model_files(config, README__md=card)))
    assert (
        failure.code == "out_of_scope"
        and task in failure.message
        and all(name in failure.message for name in SUPPORTED)
    )


def test_a_speech_model_without_config_is_out_of_scope_too(server, hub):
    files = {"README.md": b"---\npipeline_tag: text-to-speech\n---\n", "x.nemo": b"x"}
    assert refused(hub, put(server, files)).code == "out_of_scope"


@pytest.mark.parametrize(
    ("config", "task"),
    [
        ({"model_type": "detr", "architectures": ["DetrForObjectDetection"]}, "object-detection"),
        ({"model_type": "segformer", "architectures": ["SegformerForSemanticSegmentation"]}, "semantic-segmentation"),
        ({"model_type": "dpt", "architectures": ["DPTForDepthEstimation"]}, "depth-estimation"),
        (
            {
                "model_type": "idefics3",
                "architectures": ["Idefics3ForConditionalGeneration"],
                "text_config": {"hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3},
                "vision_config": {"image_size": 512},
            },
            "image-text-to-text",
        ),
        (
            {
                "model_type": "llama",
                "architectures": ["LlamaForCausalLM"],
                "hidden_size": 576,
                "num_attention_heads": 9,
                "num_key_value_heads": 3,
            },
            "text-generation",
        ),
    ],
)
def test_other_tasks_are_recognized(server, hub, config, task):
    facts = probe_model(hub, put(server, model_files(config, README__md=b"")))
    assert facts.task == task
    if "text_config" in config or config["model_type"] == "llama":
        assert (facts.hidden_size, facts.num_attention_heads, facts.num_key_value_heads) == (576, 9, 3)
    assert facts.image_size == (512 if "vision_config" in config else None)


@pytest.mark.parametrize(
    ("config", "task", "why"),
    [
        ("mask2former Mask2FormerForUniversalSegmentation", "semantic-segmentation", "it is an AutoModelForUniversal"),
        ("mask2former Mask2FormerForUniversalSegmentation", "instance-segmentation", ""),
        ("maskformer MaskFormerForInstanceSegmentation", "panoptic-segmentation", ""),
        ("oneformer OneFormerForUniversalSegmentation", "instance-segmentation", "reads the task as text"),
        ("detr DetrForSegmentation", "panoptic-segmentation", "wants boxes too"),
        ("segformer SegformerForImageClassification", "semantic-segmentation", ""),
    ],
)
def test_segmentation_models_that_the_scripts_can_train(server, hub, config, task, why):
    model_type, architecture = config.split()
    files = model_files({"model_type": model_type, "architectures": [architecture]}, README__md=b"")
    found = [
        reason for reason in probe_model(hub, put(server, files), task=task).reasons if "is not trained for" in reason
    ]
    assert bool(found) == bool(why) and all(why in reason for reason in found)


def test_a_backbone_needs_the_task_named(server, hub):
    card = b"---\nlicense: mit\npipeline_tag: image-feature-extraction\n---\n"
    name = put(server, model_files(VIT | {"architectures": ["ViTModel"]}, README__md=card))
    failure = refused(hub, name)
    assert failure.code == "ambiguous" and failure.next.arguments == {"model_id": name, "task": "image-classification"}
    facts = probe_model(hub, name, task="image-classification")
    assert (facts.verdict, facts.task_source) == ("accept", "argument") and any("no head" in w for w in facts.warnings)


def test_a_task_that_contradicts_the_head_or_does_not_exist(server, hub):
    name = put(server, model_files({"model_type": "detr", "architectures": ["DetrForObjectDetection"]}))
    failure = refused(hub, name, task="image-classification")
    assert (
        failure.code == "invalid_input"
        and "DetrForObjectDetection" in failure.message
        and "leave task out" in failure.message
    )
    assert refused(hub, name, task="speech").code == "out_of_scope"


def test_universal_segmentation_asks_which(server, hub):
    name = put(
        server,
        model_files(
            {"model_type": "mask2former", "architectures": ["Mask2FormerForUniversalSegmentation"]}, README__md=b""
        ),
    )
    assert refused(hub, name).code == "ambiguous"
    assert probe_model(hub, name, task="panoptic-segmentation").task == "panoptic-segmentation"


def test_custom_code_is_refused_and_never_run(server, hub):
    failure = refused(
        hub,
        put(
            server, model_files(VIT | {"auto_map": {"AutoConfig": "evil.Config"}}, evil__py=b"raise SystemExit('ran')")
        ),
    )
    assert failure.code == "rejected" and "auto_map" in failure.message


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"architectures": ["ViTForImageClassification"]}',
        b'{"model_type": 3}',
        b'{"a":' * 100_000,
        b" " * 1_100_000,
        b'{"pretrained_cfg": {}, "architecture": "resnet50"}',
    ],
)
def test_a_config_that_no_autoconfig_reads_is_rejected(server, hub, config):
    failure = refused(hub, put(server, model_files(config__json=config)))
    assert failure.code == "rejected" and "config.json" in failure.message


@pytest.mark.parametrize(
    ("name", "says"), [("adapter_config.json", "adapter"), ("model_index.json", "diffusers"), ("x.txt", "transformers")]
)
def test_no_config_says_what_it_is(server, hub, name, says):
    failure = refused(hub, put(server, {name: b"{}"}))
    assert failure.code == "rejected" and says in failure.message


def test_a_model_type_without_a_classifier_or_a_processor_is_rejected_with_the_reason(server, hub):
    facts = probe_model(hub, put(server, model_files(VIT | {"model_type": "vits"})))
    assert facts.verdict == "reject" and "'vits'" in facts.reasons[0]
    facts = probe_model(hub, put(server, model_files(preprocessor_config__json=None), "me/bare"))
    assert facts.verdict == "reject" and "preprocessor_config.json" in facts.reasons[0]
    nested = {"image_processor": PROCESSOR, "processor_class": "X"}
    files = model_files(preprocessor_config__json=None, processor_config__json=json.dumps(nested).encode())
    assert probe_model(hub, put(server, files, "me/nested")).processor["size"] == {"height": 32, "width": 32}


def test_odd_values_in_a_config_are_left_out(server, hub):
    odd = VIT | {
        "hidden_size": "big",
        "num_attention_heads": True,
        "depths": [2, 3],
        "hidden_sizes": [8, 64],
        "num_hidden_layers": None,
        "image_size": [32, 48],
        "id2label": {str(i): "x" * 500 for i in range(1000)},
        "text_config": "none",
    }
    facts = probe_model(hub, put(server, model_files(odd)))
    assert (facts.hidden_size, facts.num_attention_heads, facts.num_hidden_layers, facts.image_size) == (
        64,
        None,
        5,
        [32, 48],
    )
    assert facts.num_labels == 1000 and len(facts.id2label) == 20 and len(facts.model_dump_json()) < 8000


@pytest.mark.parametrize(
    "path", ["/api/models/", r".*/config\.json", r".*/model\.safetensors", r".*/preprocessor_config\.json"]
)
@pytest.mark.parametrize(("status", "code"), [(401, "access_denied"), (429, "unavailable"), (500, "unavailable")])
def test_the_hub_fails_at_any_point(server, hub, path, status, code):
    put(server)
    server.faults.append(Fault(path, status=status, times=99))
    assert refused(hub, "me/tiny").code == code
