from __future__ import annotations

import pytest

from tunegate.probe.model import parts


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.vision_model.encoder.layers.0.self_attn.k_proj.weight", "vision"),
        ("model.connector.modality_projection.proj.weight", "connector"),
        ("model.text_model.layers.3.mlp.up_proj.weight", "language"),
        ("visual.blocks.0.mlp.fc1.weight", "vision"),
        ("visual.merger.mlp.0.weight", "connector"),
        ("model.visual.deepstack_merger_list.0.norm.weight", "connector"),
        ("vision_tower.vision_model.head.mlp.fc1.weight", "vision"),
        ("multi_modal_projector.linear_1.weight", "connector"),
        ("language_model.model.layers.0.mlp.gate_proj.weight", "language"),
        ("language_model.lm_head.weight", "head"),
        ("lm_head.weight", "head"),
        ("model.embed_tokens.weight", "language"),
        ("audio_tower.layers.0.fc1.weight", "audio"),
        ("qformer.encoder.layer.0.attention.weight", "connector"),
        ("text_decoder.cls.predictions.bias", "head"),
        ("weird", "language"),
        ("", "language"),
    ],
)
def test_models_that_read_and_see(name, expected):
    assert parts.of_tensor(name, "image-text-to-text", "x") == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vit.encoder.layer.0.output.dense.weight", "vision"),
        ("classifier.weight", "head"),
        ("classifier.1.weight", "head"),
        ("fc.weight", "head"),
        ("timm_model.fc.weight", "head"),
        ("model.decoder.layers.0.fc.weight", "vision"),
        ("bbox_predictor.layers.0.weight", "head"),
        ("decode_head.linear_fuse.weight", "head"),
        ("model.backbone.projector.weight", "vision"),
        ("vision_model.head.attention.in_proj_weight", "vision"),
    ],
)
def test_models_that_see(name, expected):
    assert parts.of_tensor(name, "image-classification", "x") == expected


def test_an_encoder_of_images_is_the_vision_tower():
    assert parts.of_tensor("encoder.encoder.layer.0.weight", "image-text-to-text", "vision-encoder-decoder") == "vision"
    assert parts.of_tensor("decoder.layers.0.weight", "image-text-to-text", "vision-encoder-decoder") == "language"
