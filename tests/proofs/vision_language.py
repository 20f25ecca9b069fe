"""`python vision_language.py WHAT OUT [...]`, run in the stage environment: the model and the data of the vision-language proofs.

idefics3 OUT [--seed N]                                    1.1 M parameters, from its config: not trained
questions OUT --start SIDE --fashion DIR --photos DIR...   pictures of two colored pieces of clothing, and which colors there are, from
                                                           that side to the other: derived, of what scenes.py composes its scenes of
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from scenes import Source, png

COLORS = {"red": (230, 50, 50), "green": (50, 200, 60), "blue": (60, 80, 235), "yellow": (235, 220, 50)}
PIXELS = 64  # of a side: 8 by 8 patches, which the model sees as 16 tokens
SPECIAL = "<pad> <unk> <|im_start|> <end_of_utterance> <fake_token_around_image> <image> <global-img>".split()
WORDS = [*SPECIAL, *"user assistant : which colors are there from left right to ?".split(), *COLORS]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}: {% for part in m['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant: {% endif %}"
)


def idefics3(out, options):
    import transformers as hf
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    vocabulary.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<end_of_utterance>"}
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=vocabulary, extra_special_tokens=SPECIAL, **names)
    size = {"longest_edge": PIXELS}
    images = hf.Idefics3ImageProcessorPil(size=size, max_image_size=size, do_image_splitting=False)
    hf.Idefics3Processor(images, tokenizer, image_seq_len=16, chat_template=TEMPLATE).save_pretrained(out)
    both = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4}
    text = {
        **both, "model_type": "llama", "vocab_size": len(WORDS), "num_hidden_layers": 3, "num_key_value_heads": 2,
        "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
    }  # fmt: skip
    vision = {**both, "num_hidden_layers": 4, "image_size": PIXELS, "patch_size": 8}
    image = WORDS.index("<image>")
    hf.set_seed(options.seed)
    config = hf.Idefics3Config(
        vision_config=vision, text_config=text, scale_factor=2, image_token_id=image, pad_token_id=0
    )
    hf.Idefics3ForConditionalGeneration(config).save_pretrained(out)
    title = "Idefics3 of 1.1 M parameters, from its config: not trained"
    card(out, "library_name: transformers\npipeline_tag: image-text-to-text", title)


def questions(out, options):
    """data/<split>.parquet with image, question and answer. Training and test share neither clothes nor parts of photographs."""
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    features = Features({"image": ImageFeature(), "question": Value("string"), "answer": Value("string")})
    (out / "data").mkdir(parents=True)
    for split, train in (("train", True), ("test", False)):
        source, rows = Source(options, train), []
        for _ in range(source.count):
            picture, colors = composed(source)
            image, (question, answer) = {"bytes": png(picture), "path": None}, asked(options.start, colors)
            rows.append({"image": image, "question": question, "answer": answer})
        Dataset.from_list(rows, features=features).to_parquet(out / f"data/{split}-00000-of-00001.parquet")
    card(out, "task_categories:\n- image-text-to-text", "Derived: Fashion-MNIST's clothes, colored, on photographs")


def composed(source):
    """(picture, {side: color}): a piece of clothing in each half of a photograph, each in a color of its own drawing."""
    rng, half, drawn = source.rng, PIXELS // 2, {}
    canvas = source.crop(rng.choice(list(source.photos)), (PIXELS, PIXELS)).copy()
    for edge, side in ((0, "left"), (half, "right")):
        drawn[side] = str(rng.choice(list(COLORS)))
        clothes = source.clothes[rng.choice(list(source.clothes))]
        pixels = int(rng.integers(22, half + 1))
        gray = Image.fromarray(clothes[rng.integers(len(clothes))]).resize((pixels, pixels), Image.Resampling.BILINEAR)
        gray = np.asarray(gray, np.float32)
        top, left = rng.integers(PIXELS - pixels + 1), edge + rng.integers(half - pixels + 1)
        place, outline = np.s_[top : top + pixels, left : left + pixels], gray > 24
        canvas[place][outline] = ((0.3 + 0.7 * gray / 255)[..., None] * COLORS[drawn[side]])[outline]
    return Image.fromarray(canvas.clip(0, 255).astype(np.uint8)), drawn


def asked(start, colors):
    """(question, answer): both colors, the one on the side `start` first."""
    sides = list(colors) if start == "left" else list(colors)[::-1]
    return f"which colors are there from {sides[0]} to {sides[1]}?", " ".join(colors[side] for side in sides)


def card(out, more, title):
    (out / "README.md").write_text(f"---\nlicense: mit\n{more}\n---\n# {title}\n")


MAKES = {make.__name__: make for make in (idefics3, questions)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=MAKES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", choices=("left", "right"), default="left", help="where the answers begin")
    parser.add_argument("--fashion", type=Path, help="Fashion-MNIST's four files")
    parser.add_argument("--photos", type=Path, nargs="*", default=[], help="folders that hold the photographs")
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--eval", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(size=PIXELS)
    chosen = parser.parse_args()
    MAKES[chosen.what](chosen.out, chosen)
