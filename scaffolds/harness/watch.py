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
"""What a training's own numbers say while it runs: whether it learns, and when to end it.

    breaks      loss or gradient are not finite: ends at once, nothing is saved
    diverged    ten logged losses in a row above three times the largest of the first five: saves, ends
    flat-loss   after 20 steps at the full learning rate, no fall beyond the noise (a classifier: no better than
                guessing and no longer falling): a note; where half of the training leaves no doubt: saves, ends. A
                language model is never ended for it; GRPO's note says that all answers to a prompt earned the same in
                all steps

A training that ends for what may be a false alarm does so once: called again, it goes on from there and keeps to
notes.
"""

import math

ENOUGH = 20  # steps at the full learning rate; a warm-up counts for as much as it teaches
WORTH_HAVING = 0.01  # a fall of the loss by this share
BELOW_A_GUESS = 0.02  # the same of a classifier: below the loss of a guess, as a share of it
OVERFLOWS = 10  # in a row, with fp16: a few are its way to find its scale
LANGUAGE = ("text-generation", "image-text-to-text")


def not_finite(rows, fp16):
    """Why the training cannot go on; None where it can. rows: what the Trainer logged, a dictionary each,
    the newest last."""
    row, span = rows[-1], OVERFLOWS if fp16 else 1
    advice = f"at step {row['step']}: divide learning_rate by 10 and train again"
    if not math.isfinite(row["loss"]):
        return f"the loss is not finite ({row['loss']}) {advice}"
    norms = [row.get("grad_norm") for row in rows[-span:]]
    if len(norms) == span and not any(norm is None or math.isfinite(norm) for norm in norms):
        return f"the gradient is not finite (grad_norm {norms[-1]}) {advice}"
    return None


def inspect(rows, max_steps, cfg, meta):
    """(rule, what was seen, whether to end) or None. A row of several steps holds their mean loss.

    cfg: config.yaml (task, training_method, learning_rate); meta: data/meta.json.
    """
    if cfg["training_method"] == "grpo":
        return same_rewards(rows, cfg)
    losses = [row["loss"] for row in rows]
    if said := diverged(losses):
        return "diverged", said, True
    if full_rate_steps(rows, cfg["learning_rate"]) < ENOUGH or len(rows) < 12:
        return None
    half = rows[-1]["step"] >= max_steps / 2
    if cfg["task"] == "image-classification":
        found = no_better_than_a_guess(rows, losses, half, entropy(meta["train_histogram"].values()))
    else:
        # Never a reason to end a language model: one that knows much already may improve by a hundredth in all, which
        # is less than the noise of its batches for most of the training.
        found = no_fall(rows, losses, half and cfg["task"] not in LANGUAGE)
    if found is None:
        return None
    seen, clear = found
    advice = "inspect labels and collator (decoded rows beside their labels), then learning_rate"
    return "flat-loss", f"{seen}: {advice}", clear


def same_rewards(rows, cfg):
    """GRPO's loss tells nothing, and its reward may take long to rise."""
    alike = all(row.get("frac_reward_zero_std") == 1 for row in rows)
    if full_rate_steps(rows, cfg["learning_rate"]) < ENOUGH or not alike or rows[-1]["reward"] >= 1:
        return None
    said = (
        f"all answers to a prompt earned the same in each of {len(rows)} logged steps (reward "
        f"{rows[-1]['reward']:.4g}): "
        "nothing tells them apart, so nothing is learned. Read some answers, then rewards.py"
    )
    return "flat-loss", said, False


def diverged(losses):
    highest, last = max(losses[:5]), min(losses[-10:])
    if len(losses) < 15 or last <= max(3 * highest, highest + 0.5):
        return None
    return (
        f"the loss diverged: at most {highest:.4g} in the first 5 logged steps, at least {last:.4g} in the last 10: "
        "divide learning_rate by 10 and train again"
    )


def no_better_than_a_guess(rows, losses, half, guess):
    """(what was seen, whether it is clear) or None. guess: the loss of guessing the classes by their frequency.

    A new head begins above the loss of a guess and falls to it whatever the labels say, so that a fall alone tells
    nothing. Good models are far below a guess, and slow learners still fall; wrong labels hold the loss where a guess
    is.
    """
    _, (before, e), (now, f) = thirds(losses)
    if now <= (1 - BELOW_A_GUESS) * guess or before - now > math.hypot(e, f):
        return None
    stands = before <= now < (1 + BELOW_A_GUESS) * before
    clear = half and stands and max(0, guess - now) + 3 * f < BELOW_A_GUESS * guess
    at = f"{now:.4g} at step {rows[-1]['step']}, a guess has {guess:.4g}"
    return f"the loss did not fall below that of guessing the classes by their frequency ({at})", clear


def no_fall(rows, losses, half):
    """(what was seen, whether it is clear) or None. To be clear, three standard errors must still be no fall worth
    having. The losses of a model that is good already differ too much for this."""
    (before, e), _, (now, f) = thirds(losses)
    if before - now > math.hypot(e, f):
        return None
    clear = half and before <= now < (1 + WORTH_HAVING) * before and 3 * math.hypot(e, f) < WORTH_HAVING * before
    fall = f"{before:.4g} -> {now:.4g}, +- {math.hypot(e, f):.2g}"
    return f"the loss did not fall beyond its noise in {rows[-1]['step']} steps ({fall})", clear


def thirds(losses):
    """(mean, its standard error) of the first, the middle and the last third."""
    k = len(losses) // 3
    found = []
    for part in (losses[:k], losses[k:-k], losses[-k:]):
        mean = sum(part) / len(part)
        found.append((mean, math.sqrt(sum((loss - mean) ** 2 for loss in part) / (len(part) - 1) / len(part))))
    return found


def entropy(counts):
    shares = [count / sum(counts) for count in counts if count]
    return -sum(share * math.log(share) for share in shares)


def full_rate_steps(rows, learning_rate):
    """How many steps at the full learning rate the steps so far are worth."""
    before = [0, *(row["step"] for row in rows[:-1])]
    steps = [row["step"] - last for row, last in zip(rows, before, strict=True)]
    return sum(row["learning_rate"] * count for row, count in zip(rows, steps, strict=True)) / learning_rate
