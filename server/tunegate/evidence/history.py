"""Every trained model that was measured, by this user on this machine: the best of several tries is not reported as the only one.

<state>/measured.jsonl   one sealed line for each evaluation that passed, outside of every run: what happens to a run's
                         folder, or in which folder another try was made, changes nothing here
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from tunegate import nofollow
from tunegate.config import RunConfig
from tunegate.evidence import ledger, seal
from tunegate.paths import state_dir
from tunegate.rundir import Run, canonical
from tunegate.stage_table import MERGED, WEIGHTS

# What tells one try from another, for a reader.
REPORTED = ("seed", "learning_rate", "n_epochs", "n_train", "n_eval", "training_method")
LISTED = 10  # tries on a card, the newest
# What two models must share for the choice between them to be one between tries: the rows come from the same place.
SUBJECT = (
    "task",
    "model_id",
    "dataset_id",
    "dataset_config",
    "local_dataset_path",
    "local_eval_path",
    "train_split",
    "eval_split",
)


def add(run: Run, config: RunConfig, facts: dict[str, Any], files: dict[str, str]) -> None:
    """Note an evaluation that passed. facts: its evidence's; files: what it read, the weights among them, path -> sha256."""
    record = {
        "time": ledger.now(),
        "run": str(run.path),
        "subject": _subject(config),
        "weights": weights(files),
        "metric": facts["metric"],
        "value": facts[facts["metric"]],
        "n": facts["n"],
        "config": {key: getattr(config, key) for key in REPORTED},
    }
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    opened = nofollow.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, nofollow.PRIVATE_FILE)
    try:
        with os.fdopen(opened, "ab") as file:
            file.write(seal.line_of(record))
    except OSError as error:
        raise nofollow.disk_failure(error, path) from None


def others(config: RunConfig, files: dict[str, str]) -> list[dict[str, Any]]:
    """The other models that were trained from this one on these data and measured, oldest first; each as it was last measured."""
    found: dict[str, dict[str, Any]] = {}
    for record in _records():
        if record.get("subject") == _subject(config):
            found[record["weights"]] = record
    found.pop(weights(files), None)
    return list(found.values())


def weights(files: dict[str, str]) -> str:
    """Of which model an evaluation was: a digest of the weights among the files that it read."""
    read = {name: digest for name, digest in files.items() if any(Path(name).match(p) for p in (*WEIGHTS, *MERGED))}
    return hashlib.sha256(canonical(read)).hexdigest()


def sentence(found: list[dict[str, Any]]) -> str:
    """What a reader of the result learns of the other tries; "" where there are none."""
    if not found:
        return ""
    shown = "; ".join(_reported(record, found) for record in found[-LISTED:])
    before = f", the newest {LISTED} of them" if len(found) > LISTED else ""
    return (
        f"Not the only try: {len(found)} other model{'s' * (len(found) > 1)} trained from the same model on the same data "
        f"{'were' if len(found) > 1 else 'was'} measured on this machine{before}: {shown}."
    )


def _reported(record: dict[str, Any], found: list[dict[str, Any]]) -> str:
    config = record["config"]
    differ = [key for key in REPORTED if key == "seed" or len({str(one["config"].get(key)) for one in found}) > 1]
    values = ", ".join(f"{key} {config.get(key)}" for key in differ)
    return f"{record['metric']} {record['value']:.4f} on {record['n']} rows ({values}; {record['time'][:10]})"


def _subject(config: RunConfig) -> str:
    return hashlib.sha256(canonical([getattr(config, key) for key in SUBJECT])).hexdigest()


def _path() -> Path:
    return state_dir() / "measured.jsonl"


def _records() -> list[dict[str, Any]]:
    """The sealed lines; what is cut off or edited is none."""
    lines = _path().read_bytes().splitlines() if _path().is_file() else []
    return [record for line in lines if (record := seal.record_of(line)) is not None]
