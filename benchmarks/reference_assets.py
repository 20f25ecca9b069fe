"""`python reference_assets.py MNIST OUT [NAME...] [--tiny]`, run in the stage environment: stand-ins for the four reference pipelines.

    OUT/<name>/model/      the published architecture at its full size, made from its config: weights are random, which is said
    OUT/<name>/dataset/    rows with the columns, types and picture sizes of the published dataset, composed of MNIST digits (MNIST:
                           the folder of the demo's dataset) on gradients: derived data, for finding out whether a pipeline runs

The published weights and data are on a Hub; this needs none. What is learned from these says nothing about the real ones.
`--tiny` makes the same architectures with a few thousand weights, to try a benchmark out on a CPU.
"""

import argparse
import io
import random
from pathlib import Path

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, Image, List, Value, load_dataset
from PIL import Image as Pillow
from PIL import ImageDraw

N_TRAIN, N_EVAL = 192, 48
COLORS = {"red": (230, 60, 60), "green": (60, 200, 80), "blue": (70, 90, 235), "yellow": (235, 220, 60)}
WEAR = ["Coverall", "Face_Shield", "Gloves", "Goggles", "Mask"]


def picture(image, form):
    """The file of a picture, as a dataset holds it."""
    buffer = io.BytesIO()
    image.save(buffer, form)
    return {"bytes": buffer.getvalue(), "path": None}


def scene(digits, rng, size, most):
    """(picture, mask of class ids from 1, [(class, box xywh)]): colored digits on a gradient, apart from each other."""
    width, height = size
    ramp = (
        np.linspace(rng.uniform(0, 90), rng.uniform(90, 160), width)[None, :, None]
        + np.linspace(0, 60, height)[:, None, None]
    )
    canvas, mask, objects = np.repeat(ramp, 3, 2), np.zeros((height, width), np.uint8), []
    for _ in range(rng.randint(1, most)):
        gray, label = digits[rng.randrange(len(digits))]
        side = rng.randint(min(size) // 5, min(size) // 2)
        left, top = rng.randrange(width - side), rng.randrange(height - side)
        drawn = np.asarray(Pillow.fromarray(gray).resize((side, side)), float)
        inside = drawn > 96
        if mask[top : top + side, left : left + side].any() or not inside.any():
            continue
        color = rng.choice(list(COLORS.values()))
        canvas[top : top + side, left : left + side][inside] = (drawn[..., None] / 255 * color)[inside]
        mask[top : top + side, left : left + side][inside] = label + 1
        rows, columns = np.where(inside)
        box = [left + columns.min(), top + rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        objects.append((label, [float(value) for value in box]))
    return Pillow.fromarray(canvas.clip(0, 255).astype(np.uint8)), mask, objects


def cifar10(digits, rng, index):
    gray, label = digits[rng.randrange(len(digits))]
    return {"img": picture(Pillow.fromarray(gray).resize((32, 32)).convert("RGB"), "PNG"), "label": label}


def cppe5(digits, rng, index):
    size = (rng.randrange(600, 900), rng.randrange(450, 750))
    image, _, objects = scene(digits, rng, size, 6)
    return {
        "image_id": index, "image": picture(image, "JPEG"), "width": size[0], "height": size[1],
        "objects": [
            {"id": index * 10 + i, "area": int(box[2] * box[3]), "bbox": box, "category": label % 5}
            for i, (label, box) in enumerate(objects)
        ],
    }  # fmt: skip


def foodseg(digits, rng, index):
    image, mask, _ = scene(digits, rng, (640, 480), 6)
    return {"image": picture(image, "JPEG"), "label": picture(Pillow.fromarray(mask), "PNG")}


def vqa(digits, rng, index):
    gray, _ = digits[rng.randrange(len(digits))]
    name = rng.choice(list(COLORS))
    image = Pillow.new("RGB", (640, 480), (120, 120, 120))
    image.paste(COLORS[name], (200, 120), Pillow.fromarray(gray).resize((240, 240)))
    ImageDraw.Draw(image).rectangle((10, 10, 60, 40), fill=(40, 40, 40))
    return {"multiple_choice_answer": name, "question": "What color is the number?", "image": picture(image, "JPEG")}


def convnext(folder, rows, tiny):
    from transformers import ConvNextConfig, ConvNextForImageClassification, ConvNextImageProcessor

    small = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]} if tiny else {}
    ConvNextForImageClassification(ConvNextConfig(num_labels=1000, **small)).save_pretrained(folder)
    ConvNextImageProcessor(size={"shortest_edge": 32 if tiny else 224}, crop_pct=0.875).save_pretrained(folder)


def detr(folder, rows, tiny):
    """With transformers' own ResNet-50, as the published revision no_timm; the main one wants timm, and timm torchvision."""
    from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessor, ResNetConfig

    thin = {"embedding_size": 8, "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "layer_type": "basic"}
    backbone = ResNetConfig(out_features=["stage4"], **(thin if tiny else {}))
    sides = ("encoder", "decoder")
    small = {f"{side}_{key}": value for side in sides for key, value in (("layers", 1), ("ffn_dim", 32))}
    small |= {f"{side}_attention_heads": 2 for side in sides} | {"d_model": 16, "num_queries": 10}
    config = DetrConfig(backbone_config=backbone, num_labels=91, **(small if tiny else {}))
    DetrForObjectDetection(config).save_pretrained(folder)
    DetrImageProcessor(size={"shortest_edge": 800, "longest_edge": 1333}).save_pretrained(folder)


def segformer(folder, rows, tiny):
    """nvidia/mit-b0 is an encoder; its classifier's config with a decoder of SegFormer-b0's size."""
    from transformers import SegformerConfig, SegformerForImageClassification, SegformerImageProcessor

    small = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]}
    small |= {"decoder_hidden_size": 16}
    config, side = SegformerConfig(num_labels=1000, **(small if tiny else {})), 64 if tiny else 512
    SegformerForImageClassification(config).save_pretrained(folder)
    SegformerImageProcessor(size={"height": side, "width": side}, do_reduce_labels=False).save_pretrained(folder)


TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ': ' }}{% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}{{ '<end_of_utterance>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant: ' }}{% endif %}"
)


def smolvlm(folder, rows, tiny):
    """SmolVLM-256M: SigLIP-base at 512 px, SmolLM2-135M. The tokenizer is learned from the questions; the embedding has its full size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessor,
        Idefics3Processor,
        PreTrainedTokenizerFast,
    )

    special = ["<|pad|>", "<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>"]
    special += [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer, learned.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2000, special_tokens=special, initial_alphabet=alphabet)
    learned.train_from_iterator([f"{row['question']} {row['multiple_choice_answer']}" for row in rows], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=learned, pad_token="<|pad|>", eos_token="<end_of_utterance>", extra_special_tokens=special
    )
    side, seen = (64, 1) if tiny else (512, 64)  # of a tile: pixels, and the tokens that it becomes
    edges = {"size": {"longest_edge": side if tiny else 2048}, "max_image_size": {"longest_edge": side}}
    splitting = Idefics3ImageProcessor(**edges)
    Idefics3Processor(splitting, tokenizer, image_seq_len=seen, chat_template=TEMPLATE).save_pretrained(folder)
    vision = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": side,
        "patch_size": 16,
    }
    text = {
        "model_type": "llama", "vocab_size": 49280, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192, "tie_word_embeddings": False,
        "pad_token_id": 0, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": 1,
    }  # fmt: skip
    if tiny:
        few = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
        vision, text = {**vision, **few}, {**text, **few, "num_key_value_heads": 2}
    config = Idefics3Config(
        vision_config=vision,
        text_config=text,
        scale_factor=4,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=0,
    )
    Idefics3ForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)


def objects_features():
    one = {
        "id": Value("int64"),
        "area": Value("int64"),
        "bbox": List(Value("float32"), length=4),
        "category": ClassLabel(names=WEAR),
    }
    return {
        "image_id": Value("int64"),
        "image": Image(),
        "width": Value("int32"),
        "height": Value("int32"),
        "objects": List(one),
    }


PIPELINES = {  # name -> (task, a row, its features, the model)
    "convnext-cifar10": (
        "image-classification",
        cifar10,
        {"img": Image(), "label": ClassLabel(names=[str(digit) for digit in range(10)])},
        convnext,
    ),
    "detr-cppe5": ("object-detection", cppe5, objects_features(), detr),
    "segformer-foodseg103": ("semantic-segmentation", foodseg, {"image": Image(), "label": Image()}, segformer),
    "smolvlm-vqav2": (
        "image-text-to-text",
        vqa,
        {"multiple_choice_answer": Value("string"), "question": Value("string"), "image": Image()},
        smolvlm,
    ),
}


def main(mnist, out, names, tiny):
    stored = load_dataset("parquet", data_files=str(next(mnist.rglob("train*.parquet"))), split="train")
    stored = stored.select(range(0, len(stored), 4))
    digits = [(np.array(row["image"].convert("L")), row["label"]) for row in stored]
    for name in names or PIPELINES:
        task, make_row, features, make_model = PIPELINES[name]
        model, data = out / name / "model", out / name / "dataset/data"
        data.mkdir(parents=True, exist_ok=True)
        for split, count in (("train", N_TRAIN), ("validation", N_EVAL)):
            rng = random.Random(f"{name} {split}")
            rows = [make_row(digits, rng, index) for index in range(count)]
            Dataset.from_list(rows, features=Features(features)).to_parquet(data / f"{split}-00000-of-00001.parquet")
            if split == "train":
                torch.manual_seed(0)
                make_model(model, rows, tiny)
        (data.parent / "README.md").write_text(
            f"---\ntask_categories:\n- {task}\n---\n# Derived: MNIST digits in the columns of {name}\n"
        )
        size = "Tiny" if tiny else "Full size"
        card = f"---\nlicense: apache-2.0\nlibrary_name: transformers\npipeline_tag: {task}\n---\n# {size}, from its config: not trained\n"
        (model / "README.md").write_text(card)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PIPELINES))
    parser.add_argument("--tiny", action="store_true", help="a few thousand weights each")
    main(**vars(parser.parse_args()))
