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
"""What every script of this project shares: where things lie, how config.yaml is read, how results are written."""

import hashlib
import json
import os
import re
import sys
from pathlib import Path

import yaml

from harness import RENDERED

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
CHECKPOINTS = ROOT / "checkpoints"
FINAL = CHECKPOINTS / "final"
TUNED = CHECKPOINTS / RENDERED["tuned"]  # merged, where final holds an adapter alone
LOGS = ROOT / "logs"
REPORTS = ROOT / "reports"


class Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-3 as text; people write learning rates like that."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def load_config():
    """config.yaml as a dictionary: every value of this project, in one place."""
    with (ROOT / "config.yaml").open(encoding="utf-8") as file:
        return yaml.load(file, Loader)


def load_meta():
    """data/meta.json, as prepare_data.py wrote it."""
    path = DATA / "meta.json"
    if not path.exists():
        raise SystemExit("data/meta.json is missing: run `python prepare_data.py` first")
    return json.loads(path.read_text())


def load_split(name):
    """data/<name>, as prepare_data.py wrote it: a datasets.Dataset."""
    from datasets import load_from_disk  # here: not every script needs it

    if not (DATA / name).is_dir() and (DATA / "meta.json").exists():
        raise SystemExit(f"data/{name} is not here: the rows that measure a model are held out of its training")
    if not (DATA / name).is_dir():
        raise SystemExit(f"data/{name} is missing: run `python prepare_data.py` first")
    return load_from_disk(str(DATA / name))


def tuned_folder():
    """Where the trained model lies. Refuses to go on where there is none yet."""
    if not TUNED.is_dir():
        scripts = "`python train.py`" if TUNED == FINAL else "`python train.py` and `python merge_lora.py`"
        raise SystemExit(f"checkpoints/{TUNED.name} is missing: run {scripts} to the end first")
    return TUNED


def write_json(path, value):
    """Write, then rename: a reader, or a crash, never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    os.replace(temporary, path)


def say(text):
    """Print at once. Where the reader is gone (a killed follower), the work goes on without one."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")


def digest(value):
    """SHA-256 of any JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def cpu_count():
    """Cores that this process may use; os.cpu_count() counts the whole machine, also inside a container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_device(cfg):
    """ "cuda" or "cpu". Refuses the CPU where config.yaml counts on a GPU, unless torch is a CPU build,
    which was chosen for that."""
    import torch  # here: not every script needs it

    if torch.cuda.is_available():
        return "cuda"
    if cfg.get("gpu_count") and torch.version.cuda:
        raise SystemExit(
            f"No CUDA GPUs are available: config.yaml says gpu_count: {cfg['gpu_count']}, and torch finds none. "
            "Check `nvidia-smi` on the host and call audit_gpu"
        )
    return "cpu"
