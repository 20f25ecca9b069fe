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
"""The smoke test: is this training real? `python train.py --smoke` or `python -m harness.smoke`; a check, so leave it
as it is.

One optimizer step on real data is watched from outside the Trainer, whose own log may hide a NaN. In order:

    labels              the first step has at least one label that is not masked (-100)
    loss                each raw loss of the first step is finite and not zero (GRPO's is about zero: its gradient must
                        not be)
    grad_norm           the gradient's norm before clipping is finite and above zero
    lora_gradients      each LoRA module got a gradient (only where there are any, or where they were asked for)
    parameters_changed  the optimizer really moved a trainable parameter
    checkpoint_reloads  saved and loaded again, the model gives the same logits
    ran                 nothing raised

GRPO learns from answers to one prompt that earn differently. A step in which none did has no gradient: the test then
looks at the next step, up to PATIENCE of them.

The first check that fails ends the test: what would follow rests on it. reports/smoke.json is written in any case,
with the memory that training takes at its peak: after the last step, the largest training rows are run once more as
one batch.

Warm-up: a schedule that begins at a learning rate of 0 moves nothing in step 1, which looks just like frozen
parameters. The smoke test therefore sets warmup_steps to 0 and keeps the rest of the schedule: step 1 runs at the full
learning rate.
"""

import heapq
import math
import shutil
import tempfile
import time
import traceback
from pathlib import Path

import torch
from transformers import TrainerCallback

from harness.project import CHECKPOINTS, REPORTS, load_config, write_json
from harness.training import prepared
from model import load_tuned

MASKED = -100
# what models and collators call what is to be learned
TARGETS = (
    "labels",
    "class_labels",
    "mask_labels",
    "completion_mask",
)
PATIENCE = 10  # steps that GRPO may wait for a difference of rewards
LOOKED_AT = (
    128  # rows, evenly spread over the training set, of which the largest make the batch whose memory is measured
)

PREDICTED = ("logits", "pred_boxes", "class_queries_logits", "masks_queries_logits", "predicted_depth")


class CheckFailed(Exception):
    """A check said no; its row is already in the report."""


class Report:
    def __init__(self):
        self.checks, self.loss, self.grad_norm, self.memory = [], None, None, None
        self.trained_parameters = self.parameters = self.step_seconds = None

    def add(self, name, ok, detail):
        self.checks.append({"name": name, "ok": bool(ok), "detail": detail})
        print(f"smoke {name}: {'ok' if ok else 'FAILED'} ({detail})", flush=True)
        if not ok:
            raise CheckFailed(name)


def run(build_trainer, max_steps):
    """Run the smoke test on the trainer that train.py's `build_trainer(cfg)` returns. Exit code: 0 passed,
    1 failed."""
    began, report, memory = time.monotonic(), Report(), Memory()
    (REPORTS / "smoke.json").unlink(missing_ok=True)
    CHECKPOINTS.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="smoke-", dir=CHECKPOINTS))  # not checkpoint-*: nothing ever resumes from it
    try:
        _watch_training(
            prepared(build_trainer({**load_config(), "monitoring": "none"})), max_steps, folder, report, memory
        )
        report.add("ran", True, f"{max_steps} steps")
    except CheckFailed:
        report.checks.append({"name": "ran", "ok": True, "detail": "no exception; ended by the failed check"})
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        report.checks.append({"name": "ran", "ok": False, "detail": f"{type(error).__name__}: {error}"[:500]})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    passed = all(check["ok"] for check in report.checks)
    write_json(
        REPORTS / "smoke.json",
        {
            "passed": passed,
            "checks": report.checks,
            "loss": _number(report.loss),
            "grad_norm": _number(report.grad_norm),
            "max_steps": max_steps,
            "trained_parameters": report.trained_parameters,
            "parameters": report.parameters,
            "step_seconds": report.step_seconds,
            "memory": report.memory or memory.taken(),
            "seconds": round(time.monotonic() - began, 1),
        },
    )
    print(f"smoke {'PASSED' if passed else 'FAILED'} (loss {report.loss}, grad_norm {report.grad_norm})", flush=True)
    return 0 if passed else 1


def _number(value):
    """JSON has no NaN and no infinity; the check's detail tells which it was."""
    return value if value is not None and math.isfinite(value) else None


class Memory:
    """The most that this process took: of the GPU by torch's allocator, on a CPU of the machine's memory.
    GB are 1e9 bytes."""

    def __init__(self):
        self.on_gpu, self.room = torch.cuda.is_available(), None
        if self.on_gpu:
            # others' memory and the context are off
            self.room = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
            torch.cuda.reset_peak_memory_stats()

    def forget(self):
        """On a CPU what came before may be larger than training itself:
        the copy of the weights that a check compares."""
        try:
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        except OSError:
            pass

    def taken(self, rows=None):
        """rows: of how many training rows the largest were run; None: training did not get that far.
        None if nothing tells."""
        if self.on_gpu:
            peak = torch.cuda.max_memory_allocated()
            more = {"reserved_gb": torch.cuda.max_memory_reserved() / 1e9, "room_gb": self.room / 1e9}
        else:
            try:
                lines = dict(
                    line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
                )
                peak, more = int(lines["VmHWM"].split()[0]) * 1024, {}  # kB
            except (OSError, KeyError):
                return None
        return {
            "device": torch.cuda.get_device_name() if self.on_gpu else "cpu",
            "peak_gb": peak / 1e9,
            "rows": rows,
            **more,
        }


def _largest_batch(trainer):
    """(the batch of the largest rows, of how many): by the values in a row, which is pixels or tokens."""
    data, size = trainer.train_dataset, trainer.args.per_device_train_batch_size
    indices = range(0, len(data), math.ceil(len(data) / max(LOOKED_AT, size)))
    largest = heapq.nlargest(size, ((_values(data[i]), i) for i in indices))
    return trainer.data_collator([data[i] for _, i in largest]), len(indices)


def _values(row):
    return sum(
        value.numel() if torch.is_tensor(value) else len(value) if isinstance(value, (list, str)) else 1
        for value in row.values()
    )


def _watch_training(trainer, max_steps, folder, report, memory):
    args = trainer.args
    args.max_steps, args.warmup_steps, args.save_strategy, args.output_dir = max_steps, 0, "no", str(folder)
    if load_config().get("training_method") == "grpo":
        args.max_steps = max_steps + PATIENCE - 1
    watch = FirstStep(trainer, report, memory, max_steps)
    trainer.add_callback(watch)
    trainer.train()
    if not watch.finished:
        raise RuntimeError("training ended before its first optimizer step: is the training set empty?")
    _check_reload(trainer, watch.inputs, folder, report)


class FirstStep(TrainerCallback):
    """Looks at everything that happens until the first optimizer step is done,
    and after the last one at the memory."""

    def __init__(self, trainer, report, memory, max_steps):
        self.trainer, self.report, self.memory = trainer, report, memory
        self.max_steps, self.patience, self.waiting = max_steps, trainer.args.max_steps - max_steps, False
        self.of_rewards = self.patience > 0
        self.inputs, self.losses, self.unmasked, self.labels, self.finished = None, [], 0, 0, False
        trained = {name: parameter for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
        report.trained_parameters = sum(parameter.numel() for parameter in trained.values())
        report.parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
        if not trained:
            report.add("parameters_changed", False, "no parameter requires a gradient: everything is frozen")
        self.before = {name: parameter.detach().to("cpu", copy=True) for name, parameter in trained.items()}
        self.compute_loss, trainer.compute_loss = trainer.compute_loss, self.watched_loss
        self.training_step, trainer.training_step = trainer.training_step, self.watched_step

    def watched_loss(self, model, inputs, *rest, **more):
        """Stands in for Trainer.compute_loss, which gets what the model gets:
        the labels must be there before the loss is."""
        if not self.finished:
            if self.inputs is None:
                self.inputs = _model_inputs(inputs)
            labels, unmasked = _targets(inputs, self.trainer.model)
            self.labels, self.unmasked = self.labels + labels, self.unmasked + unmasked
            if not self.unmasked:
                self.report.add(
                    "labels",
                    False,
                    f"all {self.labels} labels of the first batch are masked ({MASKED}) or missing: nothing to learn "
                    "from",
                )
        return self.compute_loss(model, inputs, *rest, **more)

    def watched_step(self, model, inputs, *rest, **more):
        """Stands in for Trainer.training_step, which is one micro-batch: its raw loss, then the gradients so far."""
        loss = self.training_step(model, inputs, *rest, **more)
        if not self.finished:
            self.losses.append(loss.item())
            self.grad_norm = _norm(p.grad for p in self.trainer.model.parameters() if p.grad is not None)
        return loss

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        """All micro-batches of a step are done. Each of them adds its share, so the step's loss is their sum."""
        if self.finished:
            return
        self.waiting = self.patience > 0 and self.grad_norm == 0
        if self.waiting:
            self.patience, self.losses, self.inputs = self.patience - 1, [], None
            return
        report, report_loss = self.report, sum(self.losses)
        report.loss, report.grad_norm = report_loss, self.grad_norm
        report.add("labels", True, f"{self.unmasked} of {self.labels} labels unmasked")
        # whose advantages add up to zero at first
        learns_from = report_loss != 0 or load_config().get("training_method") == "grpo"
        report.add(
            "loss", all(math.isfinite(loss) for loss in self.losses) and learns_from, f"raw loss {report_loss:.6g}"
        )
        alike = (
            f": in {PATIENCE} steps no two answers to a prompt earned differently (rewards.py)"
            if self.of_rewards and not self.grad_norm
            else ""
        )
        report.add(
            "grad_norm",
            math.isfinite(self.grad_norm) and self.grad_norm > 0,
            f"norm {self.grad_norm:.6g} before clipping{alike}",
        )
        self._check_lora()

    def _check_lora(self):
        modules = {}
        for name, parameter in self.trainer.model.named_parameters():
            if ".lora_" in name:
                got = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
                modules[name.split(".lora_")[0]] = modules.get(name.split(".lora_")[0], False) or got
        wanted = load_config().get("training_method") in ("lora", "qlora")
        idle = [name for name, got in modules.items() if not got]
        if modules or wanted:
            detail = (
                f"no gradient in {len(idle)} of {len(modules)}: {', '.join(idle[:3])}"
                if idle
                else f"{len(modules)} modules"
            )
            self.report.add("lora_gradients", modules and not idle, detail)

    def on_step_begin(self, args, state, control, **kwargs):
        self.began = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        took = time.monotonic() - self.began  # the fastest: the first ones also set up what later ones find ready
        self.report.step_seconds = min(took, self.report.step_seconds or took)
        if self.waiting:
            return control
        if not self.finished:
            self.finished, self.last = True, state.global_step + self.max_steps - 1
            self._check_change()
        if state.global_step == self.last:
            self._measure_memory(args)
            control.should_training_stop = True
        return control

    def _measure_memory(self, args):
        """Here the optimizer has its states. A second pass adds to gradients that are there already,
        as accumulation does."""
        batch, rows = _largest_batch(self.trainer)
        if not isinstance(batch, dict):  # GRPO's are prompts, whose answers the steps before have made
            self.report.memory = self.memory.taken(args.per_device_train_batch_size)
            return
        self.memory.forget()
        for _ in range(min(2, args.gradient_accumulation_steps)):
            self.training_step(self.trainer.model_wrapped, dict(batch))
        self.trainer.model_wrapped.zero_grad()
        self.report.memory = self.memory.taken(rows)

    def _check_change(self):
        now = dict(self.trainer.model.named_parameters())
        changed = sum(not torch.equal(before, now[name].detach().cpu()) for name, before in self.before.items())
        self.report.add(
            "parameters_changed", changed > 0, f"{changed} of {len(self.before)} trainable tensors changed in step 1"
        )
        self.before = {}


def _model_inputs(inputs):
    """A copy of what the model is given, without what is to be learned. Of GRPO's prompts and answers,
    the two in a row."""
    if "prompt_ids" in inputs:
        parts = {"input_ids": ("prompt_ids", "completion_ids"), "attention_mask": ("prompt_mask", "completion_mask")}
        return {name: torch.cat([inputs[part] for part in of], 1) for name, of in parts.items()}
    return {
        name: value.clone() if torch.is_tensor(value) else value
        for name, value in inputs.items()
        if name not in TARGETS
    }


def _targets(inputs, model):
    """(labels in the batch, those that are not masked): class ids in a tensor, one dictionary of objects an image,
    or a 0/1 mask."""
    labels = next((inputs[name] for name in ("labels", "class_labels") if inputs.get(name) is not None), None)
    if labels is None:
        mask = inputs.get("completion_mask")
        return (mask.numel(), int(mask.sum())) if mask is not None else (0, 0)
    if torch.is_tensor(labels):
        ignored = getattr(model.config, "semantic_loss_ignore_index", MASKED)
        return labels.numel(), int(((labels != MASKED) & (labels != ignored)).sum())
    objects = sum(len(one["class_labels"] if isinstance(one, dict) else one) for one in labels)
    return objects, objects


def _norm(gradients):
    norms = [gradient.detach().float().norm() for gradient in gradients]
    return torch.stack(norms).norm().item() if norms else 0.0


def _check_reload(trainer, inputs, folder, report):
    """What train.py saves at its end is what run_eval.py loads: the two must agree."""
    before = _outputs(trainer.accelerator.unwrap_model(trainer.model), inputs)
    trainer.save_model(str(folder / "final"))
    after = _outputs(load_tuned(folder / "final").to(trainer.args.device), inputs)
    same = [
        one.shape == other.shape and torch.allclose(one, other, rtol=1e-3, atol=1e-4)
        for one, other in zip(before, after, strict=False)
    ]
    gap = max(
        (one - other).abs().max().item() if one.shape == other.shape else math.inf
        for one, other in zip(before, after, strict=False)
    )
    report.add("checkpoint_reloads", same and all(same), f"largest difference of a logit {gap:.3g}")


def _outputs(model, inputs):
    """Logits, boxes, masks, depth: what the model predicts. By the class's own forward: the instance's may be the
    Trainer's wrapper, which computes in bf16 where training does."""
    model.eval()
    with torch.no_grad():
        found = type(model).forward(model, **inputs)
    return [found[name].float() for name in PREDICTED if torch.is_tensor(found.get(name))]


if __name__ == "__main__":
    from train import build_trainer

    raise SystemExit(run(build_trainer, 2))
