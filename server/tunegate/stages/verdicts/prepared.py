"""What prepare read and left out, compared with what the probe counted: rows and classes of both splits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from tunegate import evidence
from tunegate.config import RunConfig
from tunegate.rundir import Run

FEWEST = 25  # evaluation rows: of fewer, the 95 % interval of a share may reach further than 0.2 to either side
LARGE_OVERLAP = 0.5  # of the evaluation rows that are training rows too
LARGE_LOSS = 0.1  # of a split's rows, or of its objects: whether to train on less is the user's decision
BY_DESIGN = ("box of a crowd", "object of a crowd")  # a class of which there are only crowds is not a mistake
LONGEST_NAME = 100  # characters of a class name that the probe keeps
MAX_SHOWN = 5


@dataclass
class Reconciled:
    """facts: what was left out, by split; notes: the same in sentences; problems: what nothing explains.

    large: the losses that are for the user to know before anything is trained.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    large: list[str] = field(default_factory=list)


def reconcile(run: Run, config: RunConfig, meta: dict[str, Any]) -> Reconciled:
    """Compares data/meta.json's `read` with the probe's evidence, where there is some."""
    probed = evidence.read(run, "dataset")
    known = probed.facts if probed else {}
    found, read = Reconciled(), meta.get("read")
    if read is None:
        if known.get("splits") or known.get("class_counts"):
            found.problems.append(
                "data/meta.json does not say how many rows were read and left out: render the project again"
            )
        return found
    parts = {"train": (config.train_split or "train", read["train"]), "eval": (config.eval_split, read.get("eval"))}
    if config.eval_split and not read.get("eval"):
        found.problems.append(f"data/meta.json says nothing about the rows of eval_split = {config.eval_split!r}")
    for part, (split, counts) in parts.items():
        if split and counts:
            _rows(found, split, counts, known)
            _classes(found, split, counts, (known.get("class_counts") or {}).get(split) or {})
            _left_out(found, part, split, counts, config)
    _chosen(found, config, meta, read)
    _unread(found, known)
    _measurable(found, meta)
    if found.large:
        found.facts |= _asked(run, f"train although {'; '.join(found.large)}")
    return found


def _asked(run: Run, question: str) -> dict[str, Any]:
    """What gate 4 waits for; the answer to this very question, where an earlier prepare has it, still holds."""
    before = evidence.read(run, "stages/prepare")
    known = before.facts.get("accepted") if before and evidence.is_ours(run, "stages/prepare", before) else None
    return {"asks": question, **({"accepted": question} if known == question else {})}


def _rows(found: Reconciled, split: str, counts: dict[str, Any], known: dict[str, Any]) -> None:
    rows, usable, left_out = counts["rows"], counts["usable"], sum(counts["left_out"].values())
    if rows != usable + left_out:
        found.problems.append(
            f"data/meta.json does not add up: of {rows} rows of split {split!r}, {usable} can be used and {left_out} are left out"
        )
    there_are = (known.get("splits") or {}).get(split)
    if not isinstance(there_are, int) or known.get("rows_partial"):
        return
    remedy = "check how the files are named and placed, and call probe_dataset again if they have changed"
    if rows < there_are:
        found.problems.append(
            f"prepare read {rows} rows of split {split!r} where the probe counted {there_are}: "
            f"{there_are - rows} are missing without a reason; {remedy}"
        )
    elif rows > there_are:
        found.problems.append(
            f"prepare read {rows} rows of split {split!r} where the probe counted {there_are}: "
            f"{rows - there_are} are more than were there; {remedy}"
        )


def _classes(found: Reconciled, split: str, counts: dict[str, Any], probed: dict[str, Any]) -> None:
    read = _by_short_name(counts["classes"])
    left_out = {name[:LONGEST_NAME]: why for name, why in counts["classes_left_out"].items()}
    wrong = []
    for name, expected in (probed.get("counts") or {}).items():
        seen, why = read.get(name, 0), left_out.get(name, {})
        if not seen:
            wrong.append(f"class {name!r} of split {split!r} vanished: the probe counted {expected}, prepare read none")
        elif seen < expected or (probed["complete"] and seen > expected):
            wrong.append(f"class {name!r} of split {split!r}: the probe counted {expected}, prepare read {seen}")
        elif sum(why.values()) == seen and not set(why) <= set(BY_DESIGN):
            wrong.append(f"class {name!r} of split {split!r} vanished: all {seen} are left out ({_listed(why)})")
    counted = probed.get("counts") or {}
    if counted and probed.get("complete") and probed.get("whole_list"):
        new = [name for name in read if name not in counted and read[name]]
        wrong += [
            f"class {name!r} of split {split!r}: the probe counted none, prepare read {read[name]}" for name in new
        ]
    found.problems += wrong[:MAX_SHOWN]
    if len(wrong) > MAX_SHOWN:
        found.problems.append(f"the same holds for {len(wrong) - MAX_SHOWN} more classes of split {split!r}")


def _by_short_name(counts: dict[str, int]) -> dict[str, int]:
    short: dict[str, int] = {}
    for name, count in counts.items():
        short[name[:LONGEST_NAME]] = short.get(name[:LONGEST_NAME], 0) + count
    return short


def _left_out(found: Reconciled, part: str, split: str, counts: dict[str, Any], config: RunConfig) -> None:
    used = sum(counts["classes"].values()) - sum(sum(why.values()) for why in counts["classes_left_out"].values())
    objects = counts["objects_left_out"]
    facts = {"read": counts["rows"], "left_out": counts["left_out"]} | (
        {"objects_left_out": objects} if objects else {}
    )
    found.facts[f"{part}_rows"] = facts
    for what, total, why in (
        ("rows", counts["rows"], counts["left_out"]),
        ("objects", used + sum(objects.values()), objects),
    ):
        if lost := sum(why.values()):
            note = f"{lost} of {total} {what} of split {split!r} are left out: {_listed(why)}"
            if what == "rows" and (fits := counts.get("fits_95")) and fits > (config.max_length or fits):
                note += f"; max_length {fits} would keep 95 %"
            found.notes.append(note)
            found.large += [note] if lost > LARGE_LOSS * total else []


def _listed(why: dict[str, int]) -> str:
    return ", ".join(
        f"{count} {reason}" for reason, count in sorted(why.items(), key=lambda item: -item[1])[:MAX_SHOWN]
    )


def _chosen(found: Reconciled, config: RunConfig, meta: dict[str, Any], read: dict[str, Any]) -> None:
    """As many rows were prepared as were asked for, or as there are; and each class that could be used is among them."""
    usable, other = read["train"]["usable"], read.get("eval")
    n_eval = min(config.n_eval, other["usable"] if other else max(1, usable // 5))
    n_train = min(config.n_train, usable if other else usable - n_eval)
    if blocks := meta.get("blocks"):  # of long texts, each of which has at least one
        if blocks["train"] < n_train or blocks["eval"] < n_eval:
            found.problems.append(f"data/meta.json does not add up: {blocks} blocks of {n_train} and {n_eval} texts")
        n_train, n_eval = min(config.n_train, blocks["train"]), min(config.n_eval, blocks["eval"])
    for name, rows, wanted in (("training", meta["n_train"], n_train), ("evaluation", meta["n_eval"], n_eval)):
        if rows != wanted:
            found.problems.append(f"{rows} {name} rows were prepared where the dataset has {wanted} that could be used")
    absent = [
        name
        for name, count in meta.get("train_histogram", {}).items()
        if not count and read["train"]["classes"].get(name)
    ]
    if absent and n_train < usable:
        found.notes.append(
            f"{len(absent)} classes have no example among the {n_train} training rows chosen: {', '.join(absent[:MAX_SHOWN])}; raise n_train"
        )


def _measurable(found: Reconciled, meta: dict[str, Any]) -> None:
    """Whether a number on these evaluation rows says something: there are enough of them, and most were not trained on."""
    rows, seen = meta["n_eval"], meta.get("seen_in_training", 0)
    if anew := meta.get("seen_anew"):
        found.facts["seen_anew"] = anew
    if 0 < rows < FEWEST:
        reach = min(1.0, 1.96 * math.sqrt(0.25 / rows))
        found.notes.append(
            f"{rows} evaluation rows are few: the 95 % interval of a share would reach {reach:.2f} to either side; "
            f"{FEWEST} rows or more need a larger n_eval, or more data to measure on"
        )
        found.large.append(f"it is measured on {rows} rows only, so that a share is known to +-{reach:.2f} at best")
    if seen and seen >= LARGE_OVERLAP * rows:
        found.large.append(
            f"{seen} of {rows} evaluation rows are training rows too, so that memorized rows are measured"
        )


def _unread(found: Reconciled, known: dict[str, Any]) -> None:
    if columns := known.get("unused_columns"):
        found.facts["columns_not_read"] = columns
        if known.get("task") in ("text-generation", "image-text-to-text"):
            found.notes.append(f"columns that are not read: {', '.join(columns[:20])}")
