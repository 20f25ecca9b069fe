# Copyright (c) 2026, NVIDIA CORPORATION.  All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Put the adapter into the weights: checkpoints/final (adapter) -> checkpoints/merged (a model as any other),
reports/merge.json.

    python merge_lora.py

What is merged must be what was trained: on a few evaluation rows the merged model, saved and loaded again, has to give
the adapter's logits; the adapter has to give others than the published model; and no module's adapter may be without
effect. It is saved in the published model's dtype; where that rounds too much of the adapter away, in float32.
"""

import shutil

import torch
from transformers import AutoConfig

from data import some_inputs
from harness.project import CHECKPOINTS, FINAL, REPORTS, load_config, say, write_json
from model import load_adapter, load_processor, load_tuned

MERGED = CHECKPOINTS / "merged"
# of the adapter's own effect on a logit: what saving in bf16 may cost; a short training changes less than bf16 can
# tell apart
ROUNDING = 0.1


def main():
    if not FINAL.is_dir():
        raise SystemExit("checkpoints/final is missing: run `python train.py` to its end first")
    cfg = load_config()
    processor, model = load_processor(cfg), load_adapter(FINAL)
    inputs, idle, modules = list(some_inputs(processor)), idle_modules(model), len(adapters(model))
    adapted = logits(model, inputs)
    with model.disable_adapter():
        effect = gap(adapted, logits(model, inputs))
    published = AutoConfig.from_pretrained(cfg["model_id"], revision=cfg["model_revision"]).dtype or torch.float32

    del model

    unfinished = CHECKPOINTS / "merged.tmp"
    for dtype in dict.fromkeys((published, torch.float32)):
        shutil.rmtree(unfinished, ignore_errors=True)
        merged = load_adapter(
            FINAL
        ).merge_and_unload()  # in float32: added in bf16, a small change would be rounded away
        merged.to(dtype).save_pretrained(str(unfinished))
        processor.save_pretrained(str(unfinished))
        del merged
        difference = gap(adapted, logits(load_tuned(unfinished), inputs))
        same = difference <= max(1e-3, ROUNDING * effect)
        say(
            f"saved in {dtype}: a logit is up to {difference:.4g} away from the adapter's, which moves one by up to "
            f"{effect:.4g}"
        )
        if same:
            break

    passed = not idle and effect > 0 and same
    write_json(
        REPORTS / "merge.json",
        {
            "passed": passed,
            "modules": modules,
            "idle": idle[:10],
            "effect": effect,
            "difference": difference,
            "dtype": str(dtype).removeprefix("torch."),
        },
    )
    say(f"{modules} modules, {len(idle)} of them without effect")
    if not passed:
        shutil.rmtree(unfinished)
        why = f"no effect in {len(idle)} modules, such as {idle[0]}" if idle else "it is not the trained model"
        raise SystemExit(f"not merged: {why}: train longer, or check lora_target_modules")
    shutil.rmtree(MERGED, ignore_errors=True)
    unfinished.rename(MERGED)
    say(f"saved {MERGED.relative_to(CHECKPOINTS.parent)}")


def adapters(model):
    """Name of each adapted module -> its second matrix, which begins at zero."""
    return {name.split(".lora_B")[0]: parameter for name, parameter in model.named_parameters() if ".lora_B." in name}


def idle_modules(model):
    return [name for name, parameter in adapters(model).items() if not parameter.any()]


@torch.no_grad()
def logits(model, inputs):
    return [model(**one).logits.float() for one in inputs]


def gap(some, others):
    """The largest difference of a logit."""
    return max((one - other).abs().max().item() for one, other in zip(some, others, strict=False))


if __name__ == "__main__":
    main()
