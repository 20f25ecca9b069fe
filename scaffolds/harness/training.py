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
"""Everything around the Trainer: what a command asks for, checkpoints and resumption, logs, an end that reports.

train.py builds the Trainer, trains and saves within a `session`. SIGTERM ends a training well: the step in hand is
finished, everything is saved, and the exit code is 75. logs/train.jsonl has what was logged, logs/steps.jsonl each
optimizer step that was ever done.
"""

import argparse
import contextlib
import json
import math
import os
import random
import secrets
import signal
import sys
import time
from collections import Counter

import torch
from torch import distributed
from transformers import PrinterCallback, TrainerCallback

from harness import RENDERED, watch
from harness.project import (
    CHECKPOINTS,
    LOGS,
    REPORTS,
    cpu_count,
    digest,
    load_meta,
    say,
    write_json,
    write_jsonl,
)
from harness.resumption import STEPS, drop_incomplete, find_checkpoint, finished, read_lines

STOPPED = 75  # EX_TEMPFAIL of sysexits.h: "the user is invited to retry"
STANDSTILL_S = 300  # without a step: what is waited for will not come
ASKED = CHECKPOINTS / "ended_for.json"  # the rules of watch.py that have ended this training once
# by TRL's trainers
ALSO_LOGGED = (
    "reward",
    "frac_reward_zero_std",
    "rewards/accuracies",
    "rewards/margins",
    "mean_token_accuracy",
    "entropy",
)


def parse_options():
    parser = argparse.ArgumentParser(description="Train, or go on where a training was interrupted.")
    parser.add_argument("--smoke", action="store_true", help="run the smoke test instead of a training")
    parser.add_argument("--max_steps", type=int, help="stop after this many steps")
    parser.add_argument("--fresh", action="store_true", help="forget earlier checkpoints")
    options = parser.parse_args()
    if options.max_steps is not None and options.max_steps < 1:
        parser.error(f"--max_steps {options.max_steps}: at least 1")
    return options


@contextlib.contextmanager
def session(cfg, options):
    """One call of train.py: finds the checkpoint to go on from, and writes reports/train.json when its block ends.

    Exits: at once where the training is finished already; with code 75 where it was asked to stop; with a note where
    the rules of watch.py ended it.
    """
    values = {key: cfg[key] for key in RENDERED["fingerprint"]} | {"data": load_meta()["train_sha256"]}
    checkpoint = find_checkpoint(values, options.fresh)
    if finished(values):
        print("this training is finished already (checkpoints/final): `python train.py --fresh` would begin anew")
        sys.exit()
    (REPORTS / "train.json").unlink(missing_ok=True)  # of an earlier part of this training: no result of this process
    set_up_monitoring(cfg["monitoring"])
    found = Session(Progress(options.max_steps, cfg), checkpoint)
    signal.signal(signal.SIGTERM, found.progress.asked_to_stop)
    began = time.monotonic()
    try:
        yield found
    except BaseException:
        drop_incomplete()  # what a full disk cut off must not keep it full
        raise
    if found.trainer.is_world_process_zero():
        write_report(found, time.monotonic() - began, digest(values))
    if found.progress.stopped:
        sys.exit(STOPPED)
    if found.progress.ended_for:
        sys.exit(found.progress.ended_for)


class Session:
    """checkpoint: the folder to go on from, or None."""

    def __init__(self, progress, checkpoint):
        self.progress, self.checkpoint, self.trainer = progress, checkpoint, None

    def follow(self, trainer):
        """The trainer, whose steps are logged and judged, and which stops where it is asked to."""
        self.trainer = prepared(trainer)
        trainer.add_callback(self.progress)
        return trainer

    def is_complete(self, trainer):
        """Whether its last step is done and this is the process that saves.
        Else it prints where the next call goes on."""
        state = trainer.state
        if state.global_step < state.max_steps and trainer.is_world_process_zero():
            said = "ended" if self.progress.ended_for else "stopped"
            say(f"{said} at step {state.global_step} of {state.max_steps}: `python train.py` goes on from there")
        return state.global_step >= state.max_steps and trainer.is_world_process_zero()


def prepared(trainer):
    """train.py's Trainer, which says less and tells its dataset the epoch."""
    trainer.remove_callback(PrinterCallback)  # Progress, below, says it shorter
    if isinstance(trainer.train_dataset, Repeatable):
        trainer.add_callback(EpochOf(trainer.train_dataset))
    return trainer


def set_up_monitoring(name):
    """The variables of what is monitored with; one that is set already stays. WANDB_API_KEY is never in a file."""
    variables = {
        "wandb": {"WANDB_PROJECT": RENDERED["name"], "WANDB_DIR": str(LOGS)},
        "tensorboard": {"TENSORBOARD_LOGGING_DIR": str(LOGS / "tensorboard")},  # tensorboard --logdir logs
        "trackio": {"TRACKIO_DIR": str(LOGS / "trackio")},  # TRACKIO_DIR=logs/trackio trackio show
    }
    LOGS.mkdir(exist_ok=True)
    for variable, value in variables.get(name, {}).items():
        os.environ.setdefault(variable, value)


def project_name():
    """Where trackio files this training."""
    return os.environ.get("TRACKIO_PROJECT", RENDERED["name"])


def supports_bf16():
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def data_workers():
    """Processes that read ahead for each GPU. Half of the cores stay free:
    the process that hands the GPU its work must not wait."""
    return max(1, min(8, cpu_count() // 2 // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))


class Repeatable(torch.utils.data.Dataset):
    """A batch's augmentation depends on the seed, the epoch and the rows alone. The Trainer reads batches ahead of the
    random state that it saves: without this, the first batches after a resumption would be other pictures than without
    it."""

    def __init__(self, rows, seed):
        self.rows, self.seed = rows, seed
        self.shared = torch.zeros(
            1, dtype=torch.long
        ).share_memory_()  # the data workers outlive an epoch, and see it change

    @property
    def epoch(self):
        return int(self.shared)

    @epoch.setter
    def epoch(self, number):
        self.shared[0] = number

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.__getitems__([index])[0]

    def __getitems__(self, indices):
        random.seed(f"{self.seed} {self.epoch} {list(indices)}")
        return self.rows.__getitems__(indices)


class EpochOf(TrainerCallback):
    """Tells the dataset its epoch, before the first batch of it is read."""

    def __init__(self, dataset):
        self.dataset = dataset

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.dataset.epoch = int(state.epoch + 1e-6)


def count_steps(cfg, n_train):
    """(full batches in an epoch, optimizer steps of the whole training), counted as the Trainer does."""
    devices = max(1, torch.cuda.device_count()) if "WORLD_SIZE" not in os.environ else int(os.environ["WORLD_SIZE"])
    full = n_train // (cfg["per_device_train_batch_size"] * devices)
    return full, cfg["n_epochs"] * math.ceil(max(1, full) / cfg["gradient_accumulation_steps"])


class Saving:
    """When a checkpoint is due: at each tenth of the steps, unless it would cost more than a twentieth of the time
    since the last one; in any case after ten minutes. At fixed steps, a short training would spend half of its time on
    writing."""

    def __init__(self, model, step):
        self.step, self.time = step, time.monotonic()
        # seconds, with AdamW's states
        self.cost = 3 * sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad) / 1e9

    def due(self, state):
        waited = time.monotonic() - self.time
        return waited > 600 or state.global_step - self.step >= state.max_steps / 10 and waited > 20 * self.cost

    def begin(self, step):
        self.step, self.time = step, time.monotonic()

    def end(self):
        self.cost, self.time = time.monotonic() - self.time, time.monotonic()


class Progress(TrainerCallback):
    """logs/train.jsonl, logs/steps.jsonl, a short line now and then, and an early end: where watch.py says so,
    or where asked to."""

    def __init__(self, stop_at, cfg):
        self.stop_at, self.cfg, self.printed, self.began = stop_at, cfg, 0.0, None
        self.asked = self.stopped = False
        self.ended_for = None  # what watch.py saw
        self.session, self.ranks = secrets.token_hex(4), None

    def asked_to_stop(self, *_):
        """SIGTERM. Before the first step there is nothing to save; after the last one, the rest is soon done; and one
        that does not end (a data loader that hangs) is not waited for."""
        self.asked = True
        if self.began is None or time.monotonic() - self.stepped > STANDSTILL_S:
            raise SystemExit(STOPPED)

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        # config.yaml may name save_steps
        self.saving = Saving(model, state.global_step) if args.save_strategy == "no" else None
        if distributed.is_available() and distributed.is_initialized():
            self.ranks = distributed.new_group(backend="gloo")  # on the CPU: the GPUs need not wait for a question
        if state.is_world_process_zero:  # rows after the checkpoint belong to steps that are done again
            rows = [json.loads(line) for line in read_lines(LOGS / "train.jsonl")] if state.global_step else []
            write_jsonl(LOGS / "train.jsonl", [row for row in rows if row["step"] <= state.global_step])
            # a killed process may leave half a line
            write_jsonl(STEPS, [json.loads(line) for line in read_lines(STEPS)])
        self.began, self.first = time.monotonic(), state.global_step
        self.stepped = self.began

    def on_optimizer_step(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            with STEPS.open("a") as file:
                file.write(json.dumps({"session": self.session, "step": state.global_step + 1}) + "\n")

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" not in logs:
            return
        # a checkpoint holds them, so that a resumption judges as well
        rows = [row for row in state.log_history if "loss" in row]
        broken, note = watch.not_finite(rows, args.fp16), None
        if broken:
            note = f"[nan-loss] {broken}"  # the code in front is the one by which `diagnose` finds its row
        elif seen := watch.inspect(rows, state.max_steps, self.cfg, load_meta()):
            rule, text, enough = seen
            note = f"[{rule}] {text}"
            if enough and rule not in ended_before() and state.global_step < state.max_steps:
                self.ended_for = note
                control.should_save = control.should_training_stop = True
        if state.is_world_process_zero:
            self.write(args, state, logs, note)
        if broken:
            raise SystemExit(note)
        if self.ended_for and state.is_world_process_zero:
            write_json(ASKED, [*ended_before(), rule])

    def write(self, args, state, logs, note):
        elapsed, done = time.monotonic() - self.began, max(1, state.global_step - self.first)
        row = {
            "step": state.global_step,
            "max_steps": state.max_steps,
            "epoch": round(state.epoch, 3),
            "loss": number(logs["loss"]),
            "grad_norm": number(logs.get("grad_norm")),
            "learning_rate": logs["learning_rate"],
            "time": round(time.time(), 2),
            "eta_s": round(elapsed / done * (state.max_steps - state.global_step), 1),
            "samples_per_second": round(done * samples_in_step(args) / elapsed, 1),
            **{name: number(logs[name]) for name in ALSO_LOGGED if name in logs},
            **({"note": note} if note else {}),
        }
        with (LOGS / "train.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        if time.monotonic() - self.printed > 5 or state.global_step == state.max_steps:
            self.printed = time.monotonic()
            say(
                f"step {row['step']}/{row['max_steps']}  loss {logs['loss']:.4f}  lr {row['learning_rate']:.2e}  eta "
                f"{row['eta_s']:.0f} s"
            )

    def on_step_end(self, args, state, control, **kwargs):
        self.stepped = time.monotonic()
        if state.global_step <= watch.ENOUGH or state.global_step == state.max_steps:
            control.should_log = True  # the first steps each, however seldom the later ones are logged
        ends = state.global_step >= state.max_steps  # which is saved as checkpoints/final
        asked, due = self.agreed(self.asked, self.saving is not None and not ends and self.saving.due(state))
        self.stopped = asked and not ends
        if self.stopped or self.stop_at is not None and state.global_step >= self.stop_at:
            control.should_log = control.should_save = control.should_training_stop = True
        control.should_save |= due
        if control.should_save and self.saving:
            self.saving.begin(state.global_step)
        return control

    def on_save(self, args, state, control, **kwargs):
        if self.saving:
            self.saving.end()

    def agreed(self, *wishes):
        """Whether any process of this training wishes so: they must all save, and all stop, after the same step."""
        if self.ranks is None:
            return wishes
        found = torch.tensor([int(wish) for wish in wishes])
        distributed.all_reduce(found, distributed.ReduceOp.MAX, self.ranks)
        return [bool(wish) for wish in found]


def ended_before():
    return json.loads(ASKED.read_text()) if ASKED.exists() else []


def samples_in_step(args):
    return args.train_batch_size * args.gradient_accumulation_steps * args.world_size


def number(value):
    """JSON has no NaN: null stands for it."""
    return value if value is not None and math.isfinite(value) else None


def write_report(session, seconds, fingerprint):
    """reports/train.json: the training in a few numbers."""
    state, progress = session.trainer.state, session.progress
    losses = [row["loss"] for row in state.log_history if "loss" in row]
    share = max(1, len(losses) // 10)
    done = [json.loads(line) for line in read_lines(STEPS)]
    samples = (state.global_step - progress.first) * samples_in_step(session.trainer.args)
    report = {
        "global_step": state.global_step,
        "max_steps": state.max_steps,
        "resumed_from": session.checkpoint.name if session.checkpoint else None,
        "first_loss": sum(losses[:share]) / share,  # means over a tenth of the log each
        "last_loss": sum(losses[-share:]) / share,
        "seconds": round(seconds, 1),
        "samples_per_second": round(samples / seconds, 1),
        "fingerprint": fingerprint,
        "stopped": progress.stopped,
        "ended_for": progress.ended_for,
        "sessions": len({row["session"] for row in done}),
        "steps_repeated": len(done)
        - len(Counter(row["step"] for row in done)),  # after a kill that nothing could save from
    }
    write_json(REPORTS / "train.json", report)
