"""Which split to train on and which to measure on. Which files belong to one: readers/splits.py."""

from __future__ import annotations

import re

from tunegate.errors import ToolFailure
from tunegate.readers.splits import split_of

TRAIN_NAMES = ("train", "training")
EVAL_NAMES = ("validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation")  # in order of preference


def choose_splits(
    splits: dict[str, int | None], train: str | None, evaluation: str | None
) -> tuple[str, str | None, str]:
    """(train, eval or None, why). None: held out of train. Raises invalid_input, ambiguous, rejected."""
    for argument, name in (("train_split", train), ("eval_split", evaluation)):
        if name is not None and name not in splits:
            raise ToolFailure(
                "invalid_input", f"{argument} = {name!r} does not exist: the dataset has {_listed(splits)}"
            )
    if train is None:
        train = _train_split(splits, evaluation)
    if train == evaluation:
        raise ToolFailure(
            "invalid_input",
            f"eval_split = {evaluation!r} is the train split too: the metric would be measured on "
            "what was trained on; leave eval_split out to hold a part of it back",
        )
    if splits[train] == 0:
        raise ToolFailure(
            "rejected",
            f"split {train!r} has no rows: the dataset has {_listed(splits)}; choose another train_split or dataset",
        )
    if evaluation is not None:
        if splits[evaluation] == 0:
            raise ToolFailure("rejected", f"eval_split = {evaluation!r} has no rows: the dataset has {_listed(splits)}")
        return train, evaluation, "eval_split was named"
    # train_sft goes with test_sft, not with test_prefs
    suffix = train.removeprefix("train") if train.startswith("train") else ""
    for name in (found for part in EVAL_NAMES for found in dict.fromkeys((part + suffix, part))):
        if name in splits and name != train and splits[name] != 0:
            return train, name, f"{name!r} is the first of {', '.join(EVAL_NAMES[:5])} that it has"
    why = f"it has no split to evaluate on ({_listed(splits)}): n_eval rows, at most a fifth of {train!r}, are held out with `seed`"
    return train, None, why


def _train_split(splits: dict[str, int | None], evaluation: str | None) -> str:
    found = next((name for name in TRAIN_NAMES if name in splits), None)
    rest = [name for name in splits if name != evaluation]
    if found or (len(rest) == 1 and split_of(rest[0]) != "test"):
        return found or rest[0]
    if len(rest) == 1:
        raise ToolFailure(
            "ambiguous",
            f"the only split to train on is called {rest[0]!r}: ask the user whether it shall be trained on, then pass "
            f"train_split={rest[0]!r}",
        )
    if not splits:
        raise ToolFailure("rejected", "the dataset has no splits: choose another one")
    # trl-style and partial names (train_sft, train_prefs, partial-train): one of them is clear, two are for the user
    like = [name for name in rest if re.match(r"(partial[-_])?train([-_.].*)?$", name)]
    if len(like) == 1:
        return like[0]
    raise ToolFailure(
        "ambiguous", f"no split is called train: the dataset has {_listed(splits)}; ask the user, then pass train_split"
    )


def _listed(splits: dict[str, int | None]) -> str:
    return (
        ", ".join(f"{name} ({'?' if rows is None else f'{rows:,}'} rows)" for name, rows in list(splits.items())[:12])
        or "no splits"
    )
