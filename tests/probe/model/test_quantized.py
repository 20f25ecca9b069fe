from __future__ import annotations

import json

import pytest

from tests.tiny import model_files, safetensors
from tunegate.probe.model import probe_model, quantized

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
CARD = b"---\nbase_model: org/base\nlicense: mit\n---\n"
BNB4 = {
    "model.layers.0.mlp.weight": ("U8", [50, 1], 50),
    "model.layers.0.mlp.weight.absmax": ("U8", [2], 2),
    "model.layers.0.mlp.weight.quant_map": ("F32", [16], 64),
    "model.layers.0.mlp.weight.quant_state.bitsandbytes__nf4": ("U8", [80], 80),
    "model.norm.weight": ("F16", [4], 8),
}
GPTQ = {
    "model.layers.0.mlp.qweight": ("I32", [2, 4], 32),
    "model.layers.0.mlp.qzeros": ("I32", [1, 2], 8),
    "model.layers.0.mlp.scales": ("F16", [1, 4], 8),
    "model.layers.0.mlp.g_idx": ("I32", [16], 64),
    "lm_head.weight": ("F16", [4], 8),
}
FP8 = {"model.a.weight": ("F8_E4M3", [8, 2], 16), "model.a.weight_scale_inv": ("F32", [1, 1], 4)}
MXFP4 = {"model.e_blocks": ("U8", [4, 2], 8), "model.e_scales": ("U8", [4], 4), "model.n.weight": ("BF16", [2], 4)}
CT = {"model.a.weight_packed": ("I32", [2, 2], 16), "model.a.weight_shape": ("I64", [2], 16)}
GROUPS = {"group_0": {"weights": {"num_bits": 4}}}


@pytest.mark.parametrize(
    ("settings", "tensors", "label", "parameters", "adapters"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, BNB4, "bitsandbytes, 4-bit", 104, True),
        ({"quant_method": "gptq", "bits": 4}, GPTQ, "gptq, 4-bit", 68, True),
        ({"quant_method": "awq", "bits": 4}, GPTQ, "awq, 4-bit", 68, True),
        ({"quant_method": "fp8"}, FP8, "fp8, 8-bit", 16, True),
        ({"quant_method": "mxfp4"}, MXFP4, "mxfp4, 4-bit", 18, False),
        ({"quant_method": "compressed-tensors", "config_groups": GROUPS}, CT, "compressed-tensors, 4-bit", 32, True),
        ({"load_in_8bit": True}, {"model.a.weight": ("I8", [6], 6)}, "bitsandbytes, 8-bit", 6, True),
        ({"bits": "four"}, {"model.a.weight": ("I8", [6], 6)}, "unknown method", 6, False),
    ],
)
def test_a_quantized_repository_is_counted_unpacked_and_not_fully_trained(
    server, hub, settings, tensors, label, parameters, adapters
):
    config = json.dumps(LLAMA | {"quantization_config": settings}).encode()
    files = model_files(config__json=config, model__safetensors=safetensors(tensors), README__md=CARD)
    server.add_repo("model", "me/q", files | {"tokenizer.json": b"{}"})
    facts = probe_model(hub, "me/q")
    assert (facts.quantization, facts.parameters, facts.verdict) == (label, parameters, "reject")
    [reason] = [reason for reason in facts.reasons if "quantized" in reason]
    assert "'org/base'" in reason and ("qlora" in reason) == adapters
    with_adapter = probe_model(hub, "me/q", method="qlora").reasons
    assert any("quantized" in reason for reason in with_adapter) != adapters


@pytest.mark.parametrize("value", [None, [], "gptq", 3, {}])
def test_what_says_nothing_is_not_quantized(value):
    assert quantized.of_config({"quantization_config": value, "text_config": value}) is None


def test_the_language_model_alone_may_be_quantized():
    nested = {"text_config": {"quantization_config": {"quant_method": "gptq", "bits": 3}}}
    assert quantized.of_config(nested).label == "gptq, 3-bit"


@pytest.mark.parametrize(
    "odd", [{"quant_method": "x\ny"}, {"bits": True}, {"config_groups": {"a": 3}}, {"w_bit": 10**9}]
)
def test_odd_settings(odd):
    found = quantized.of_config({"quantization_config": odd})
    assert found.method == "unknown method" and found.bits is None
