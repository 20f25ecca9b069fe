"""Runs in the stage environment: prepares one dataset after another with a rendered project's own scripts.

Reads a request a line, {project, task, method, truth, page, out}, and answers with the same `out`, a JSON file: what prepare said, and
what the rows and a batch of them hold. The libraries are loaded once; each request is a fork, so that nothing stays.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import signal
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import accelerate  # noqa: F401
import datasets
import observe
import pycocotools.mask  # noqa: F401
import torch
import transformers

LIMIT = 120  # seconds of one request
TEMPLATE = (
    "{% if tools %}<tools>{{ tools | tojson }}</tools>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] or '' }}"
    "{% for c in m['tool_calls'] or [] %}<call>{{ c['function']['name'] }} {{ c['function']['arguments'] | tojson }}</call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VLM_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}: {% for part in m['content'] %}{{ '<image>' if part['type'] == 'image' else part['text'] }}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant: {% endif %}"
)


def tokenizer_of(special, end, **more):
    """Bytes as tokens: nothing is lost, whatever the text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    words = Tokenizer(models.BPE())
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    words.train_from_iterator(["What is item ? word word It is"] * 50, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token=end, **more)


def make_processors(folder):
    """A folder for each task, as model_id of config.yaml names it. Image processors keep sizes small."""
    sides = {"height": 64, "width": 64}
    image = transformers.ViTImageProcessorPil(size=sides)
    found = {
        "image-classification": image,
        "object-detection": transformers.DetrImageProcessorPil(size={"shortest_edge": 96, "longest_edge": 160}),
        "semantic-segmentation": transformers.SegformerImageProcessorPil(size=sides),
        "depth-estimation": transformers.DPTImageProcessorPil(size=sides),
    }
    mask2former = transformers.Mask2FormerImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 128})
    found |= dict.fromkeys(("instance-segmentation", "panoptic-segmentation"), mask2former)
    text = tokenizer_of(["<pad>", "<|im_start|>", "<|im_end|>"], "<|im_end|>")
    text.chat_template = TEMPLATE
    found["text-generation"] = text
    special = ["<pad>", "<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>"]
    special += [f"<row_{r}_col_{c}>" for r in range(1, 5) for c in range(1, 5)]
    words = tokenizer_of(special, "<end_of_utterance>", extra_special_tokens=special)
    tiles = transformers.Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    found["image-text-to-text"] = transformers.Idefics3Processor(
        tiles, words, image_seq_len=4, chat_template=VLM_TEMPLATE
    )
    outlined = dict.fromkeys(("instance-segmentation", "panoptic-segmentation"), transformers.Mask2FormerConfig())
    configs = {"object-detection": transformers.DetrConfig(), **outlined}
    for task, processor in found.items():
        processor.save_pretrained(str(Path(folder) / task))
        if task in configs:  # its project asks which class the model is of, or for its size
            configs[task].save_pretrained(str(Path(folder) / task))


def answer(request):
    """What comes of one request."""
    sys.path.insert(0, request["project"])
    os.chdir(request["project"])
    said, found = io.StringIO(), {"exit": None, "error": None}
    with contextlib.redirect_stdout(said):
        try:
            import prepare_data
            from harness import data_page

            if not request["page"]:  # half of the time that prepare takes
                data_page.write = lambda cfg, meta: None
            (data_page.REPORTS / "data.json").unlink(missing_ok=True)
            prepare_data.main()
            found |= observe.prepared(request["task"], request["method"], Path(request["truth"]))
        except SystemExit as end:
            found["exit"] = str(end)
        except BaseException:
            found["error"] = traceback.format_exc()[-3000:]
    return found | {"said": said.getvalue()[-3000:]}


def main():
    answers, folder = os.fdopen(os.dup(1), "w"), sys.argv[1]
    os.dup2(2, 1)  # what libraries print is no answer
    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    make_processors(folder)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        loaded = Path(f"{request['out']}.loaded")
        if not (child := os.fork()):
            signal.alarm(LIMIT)
            status = 1
            with contextlib.suppress(BaseException):
                before = set(sys.modules)
                Path(request["out"]).write_text(json.dumps(answer(request)))
                loaded.write_text("\n".join(libraries(set(sys.modules) - before, request["project"])))
                status = 0
            os._exit(status)
        _, status = os.waitpid(child, 0)
        if loaded.exists():
            load(loaded.read_text().split())
        print(json.dumps({"out": request["out"], "status": status}), file=answers, flush=True)


def libraries(names, project):
    """Those of the modules that are not a project's, nor of this folder."""
    files = {name: getattr(sys.modules[name], "__file__", None) or "" for name in names}
    return sorted(name for name, file in files.items() if "site-packages" in file and not file.startswith(project))


def load(names):
    """What a child had to load is there for the next one: that took half of its time."""
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


if __name__ == "__main__":
    main()
