"""`python models.py NAME OUT [SEED]`, run in the stage environment: a small untrained model and its processor, as a repository's files.

Each is a published architecture at a size that two cores train in minutes; nothing is pretrained, which the card says.
"""

import sys
from pathlib import Path

import torch
import transformers as hf

MEAN = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
MIT = {"hidden_sizes": [32, 64, 128, 160], "depths": [1] * 4, "num_attention_heads": [1, 2, 4, 5]}
CARD = "---\nlicense: apache-2.0\nlibrary_name: transformers\npipeline_tag: {task}\n---\n# {name}: small, from its config, not trained\n"


def convnext():
    config = hf.ConvNextConfig(patch_size=2, hidden_sizes=[32, 64, 128, 192], depths=[1, 1, 2, 1], num_labels=10)
    processor = hf.ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=1.0, **MEAN)
    return hf.ConvNextForImageClassification(config), processor


def rtdetr(queries=20, size=128):
    stages = ["stage2", "stage3", "stage4"]
    backbone = hf.RTDetrResNetConfig(
        embedding_size=32, hidden_sizes=[32, 48, 96, 128], depths=[1] * 4, layer_type="basic", out_features=stages
    )
    config = hf.RTDetrConfig(
        backbone_config=backbone, freeze_backbone_batch_norms=False, encoder_in_channels=[48, 96, 128],
        encoder_hidden_dim=64, encoder_ffn_dim=128, encoder_attention_heads=4, d_model=64, decoder_in_channels=[64] * 3,
        decoder_ffn_dim=128, decoder_layers=2, decoder_attention_heads=4, num_queries=queries, num_denoising=20, dropout=0.0,
        anchor_image_size=None, num_labels=80,
    )  # fmt: skip
    return hf.RTDetrForObjectDetection(config), hf.RTDetrImageProcessorPil(size={"height": size, "width": size})


def segformer():
    sizes = {**MIT, "decoder_hidden_size": 128}
    still = {"drop_path_rate": 0.0, "classifier_dropout_prob": 0.0, "hidden_dropout_prob": 0.0}
    config = hf.SegformerConfig(num_labels=150, **sizes, **still)
    processor = hf.SegformerImageProcessorPil(size={"height": 96, "width": 96}, do_reduce_labels=False, **MEAN)
    return hf.SegformerForSemanticSegmentation(config), processor


def mask2former():
    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = hf.ResNetConfig(
        embedding_size=32, hidden_sizes=[32, 64, 96, 128], depths=[1] * 4, layer_type="basic", out_features=stages
    )
    config = hf.Mask2FormerConfig(
        backbone_config=backbone, feature_size=64, mask_feature_size=64, hidden_dim=64, encoder_feedforward_dim=128,
        encoder_layers=1, decoder_layers=3, dim_feedforward=128, num_attention_heads=4, num_queries=10,
        train_num_points=512, num_labels=80,
    )  # fmt: skip
    processor = hf.Mask2FormerImageProcessorPil(size={"height": 96, "width": 96}, **MEAN)
    return hf.Mask2FormerForUniversalSegmentation(config), processor


def glpn():
    sizes = {**MIT, "decoder_hidden_size": 32, "head_in_index": -1}
    config = hf.GLPNConfig(max_depth=15, drop_path_rate=0.0, hidden_dropout_prob=0.0, **sizes)
    model = hf.GLPNForDepthEstimation(config)
    # Made for a pretrained encoder: from scratch, weights of std 0.02 in the decoder let nothing through.
    for layer in [*model.decoder.modules(), *model.head.modules()]:
        if isinstance(layer, torch.nn.Conv2d):
            layer.reset_parameters()
    # Its processor gives 0 to 1 and cannot center that, so the first layer does: (x - 0.5) / 0.25.
    first = model.glpn.encoder.patch_embeddings[0].proj
    with torch.no_grad():
        first.weight *= 4
        first.bias -= 0.5 * first.weight.sum((1, 2, 3))
    return model, hf.GLPNImageProcessorPil(size_divisor=32)


MODELS = {
    "convnext": ("image-classification", convnext),
    "rtdetr": ("object-detection", rtdetr),
    "rtdetr-many": ("object-detection", lambda: rtdetr(queries=60, size=160)),  # for pictures with many objects
    "segformer": ("image-segmentation", segformer),
    "mask2former": ("image-segmentation", mask2former),
    "glpn": ("depth-estimation", glpn),
}


def main(name, out, seed):
    hf.set_seed(seed)
    task, make = MODELS[name]
    model, processor = make()
    model.save_pretrained(out)
    processor.save_pretrained(out)
    (out / "README.md").write_text(CARD.format(task=task, name=name))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
