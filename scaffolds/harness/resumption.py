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
"""Which checkpoint a training goes on from, and which it must not."""

import json
import shutil

from harness.project import CHECKPOINTS, FINAL, LOGS, REPORTS, digest, write_json

STEPS = LOGS / "steps.jsonl"  # each optimizer step that was ever done


def find_checkpoint(values, fresh):
    """The newest complete checkpoint of this training, or None. Refuses to go on from another training's."""
    begun = CHECKPOINTS / "fingerprint.json"
    if fresh:
        shutil.rmtree(CHECKPOINTS, ignore_errors=True)
        (REPORTS / "train.json").unlink(missing_ok=True)
    old = json.loads(begun.read_text()) if begun.exists() else None
    checkpoints = written()
    if old != values and (checkpoints or FINAL.exists()):
        changed = [key for key in values if old is None or old.get(key) != values[key]]
        raise SystemExit(
            f"checkpoints/ holds another training (different: {', '.join(changed)}): `python train.py --fresh` "
            "begins anew and deletes it; to keep it, move the folder away or set these values back"
        )
    if old != values:
        STEPS.unlink(missing_ok=True)  # steps of another training
    write_json(begun, values)
    drop_incomplete()
    return max(written(), key=step_of, default=None)


def written():
    return sorted(CHECKPOINTS.glob("checkpoint-*"), key=step_of)


def step_of(checkpoint):
    return int(checkpoint.name.split("-")[1])


def drop_incomplete():
    """Remove the newest checkpoints that were cut off while they were written."""
    for checkpoint in reversed(written()):
        if is_complete(checkpoint):
            break
        shutil.rmtree(checkpoint, ignore_errors=True)


def is_complete(checkpoint):
    """trainer_state.json is the last file that the Trainer writes."""
    try:
        return "global_step" in json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False


def finished(values):
    path = REPORTS / "train.json"
    return FINAL.exists() and path.exists() and json.loads(path.read_text())["fingerprint"] == digest(values)


def read_lines(path):
    """Complete lines only: a killed training may leave half of one."""
    return (
        [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] if path.exists() else []
    )
