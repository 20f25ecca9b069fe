"""Compares what arrived with the truth. Answers with sentences: what is wrong."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from tests.property.world import Example, Row

CLOSE = 1.01  # pixels by which a box may differ
SHADES = 6.0  # mean difference of a picture from what has to be seen
BINARY = ("background", "object")


def refused(example: Example, code: str, message: str) -> list[str]:
    if code not in example.refusals:
        return [f"the probe refuses it ({code}): {message}"]
    next_step = re.search(
        r"\b(ask|pass|choose|fix|save|use|give|write|set|put|look|check|keep|rename|convert)\b", message
    )
    return [] if next_step else [f"a refusal without a next step: {message}"]


def judged(example: Example, facts: Any, found: dict[str, Any]) -> list[str]:
    if found.get("error"):
        return [f"prepare or the collator crashed: {found['error'].strip().splitlines()[-1]} | {found['error'][-900:]}"]
    parts = [rows for rows in (_of_split(example, facts.train_split), _of_split(example, facts.eval_split)) if rows]
    if found["exit"] is not None and any(all(row.problem for row in rows) for rows in parts):
        return [] if "none of the" in found["exit"] else [f"a refusal of another kind: {found['exit']}"]
    if found["exit"] is not None:
        return [f"the probe accepts it, prepare refuses it: {found['exit']}"]
    expected = {"train": _of_split(example, facts.train_split), "eval": _of_split(example, facts.eval_split)}
    problems = list(found["batch"]) + _splits(example, facts)
    if facts.eval_split:
        for part, rows in expected.items():
            problems += _rows(example, part, rows, found["rows"][part])
    else:
        problems += _rows(example, "all", expected["train"], found["rows"]["train"] + found["rows"]["eval"])
    for part, rows in expected.items():
        if counted := found["meta"]["read"].get(part):
            problems += _left_out(example, part, rows, counted)
    told = " ".join([*facts.warnings, found["said"], facts.split_reason])
    return problems + [
        f"nothing says that {n} files are not used" for n in example.said if not re.search(rf"\b{n}\b", told)
    ]


def _of_split(example: Example, split: str | None) -> list[Row]:
    return [row for row in example.rows if split and _canonical(split) == row.split]


def _canonical(split: str) -> str:
    words = {"valid": "validation", "val": "validation", "dev": "validation", "training": "train", "testing": "test"}
    return words.get(split.lower(), split.lower())


def _splits(example: Example, facts: Any) -> list[str]:
    found = []
    if _canonical(facts.train_split) != "train":
        found.append(f"trained on the split {facts.train_split!r}")
    if (facts.eval_split is None) != (len({row.split for row in example.rows}) == 1):
        found.append(
            f"eval_split = {facts.eval_split!r} ({facts.split_reason}), and there are {Counter(row.split for row in example.rows)}"
        )
    for split, count in facts.splits.items():
        there = sum(row.split == _canonical(split) for row in example.rows)
        if count is not None and there != count:
            found.append(f"the probe counts {count} rows of {split!r}, there are {there}")
    return found


# --- rows


def _rows(example: Example, part: str, rows: list[Row], seen: list[dict[str, Any]]) -> list[str]:
    return (
        _texts
        if example.task == "text-generation"
        else _questions
        if example.task == "image-text-to-text"
        else _pictures
    )(example, part, rows, seen)


def _pictures(example: Example, part: str, rows: list[Row], seen: list[dict[str, Any]]) -> list[str]:
    problems = [
        f"{part}: a picture of another look than it should have (key {one['key']}, by {one['differs']:.0f})"
        for one in seen
        if one["differs"] > SHADES
    ]
    there, wanted = Counter(one["key"] for one in seen), Counter(row.key for row in rows if not row.problem)
    either = {row.key for row in rows if row.either}
    for key in sorted({*there, *wanted} - {None}):
        if there[key] != wanted[key] and not (key in either and there[key] == 0):
            problems.append(f"{part}: picture {key} arrived {there[key]} times, it should {wanted[key]} times")
    by_key = {row.key: row for row in rows}
    for one in seen:
        if row := by_key.get(one["key"]):
            problems += [
                f"{part}, picture {row.key}: {text}" for text in VALUES[example.task](example, row, one["value"])
            ]
    return problems


def _label(example: Example, row: Row, value: str) -> list[str]:
    return [] if value == row.value else [f"label {value!r} should be {row.value!r}"]


def _boxes(example: Example, row: Row, value: list[list[Any]]) -> list[str]:
    left = list(value)
    for wanted in row.value or []:
        hit = next((one for one in left if one[0] == wanted[0] and all(abs(a - b) <= CLOSE for a, b in zip(one[1:5], wanted[1:5], strict=True))
                    and (len(wanted) < 6 or one[5] == wanted[5])), None)  # fmt: skip
        if hit is None and row.either and not left:
            return []
        if hit is None:
            return [f"no object {wanted}, only {value}"]
        left.remove(hit)
        if len(hit) > 6 and wanted[0] != "sky" and hit[6] < 0.9:
            return [f"object {wanted} has holes: {hit}"]
    return [f"objects that are not there: {left}"] if left else []


def _mask(example: Example, row: Row, value: list[list[Any]]) -> list[str]:
    if not value:
        return ["the mask is of another size than the picture"]
    pixels = sum(count for *_, count in value)
    wrong = sum(count for true, name, count in value if not _means(example, true, name))
    return [f"{wrong} of {pixels} pixels of the mask have another class: {value}"] if wrong > 0.015 * pixels else []


def _means(example: Example, true: int, name: str | None) -> bool:
    if true == 255:
        return name is None or example.odd("binary", "soft edges")
    if example.names:
        return name == example.names[true]
    if example.odd("binary", "soft edges"):
        return name in (BINARY[true], str(true))
    return name in (str(true), str(true * 60)) if example.odd("sparse") else name == str(true)


def _depth(example: Example, row: Row, value: list[float] | None) -> list[str]:
    if value is None:
        return ["the depth map is of another size than the picture"]
    return (
        []
        if value[0] < 0.01 and value[1] < 0.001
        else [f"depth differs by {value[0]:.3f} m, and {value[1]:.1%} of it is known to one side only"]
    )


VALUES = {
    "image-classification": _label,
    "object-detection": _boxes,
    "instance-segmentation": _boxes,
    "panoptic-segmentation": _boxes,
    "semantic-segmentation": _mask,
    "depth-estimation": _depth,
}


def _texts(example: Example, part: str, rows: list[Row], seen: list[dict[str, Any]]) -> list[str]:
    wanted = Counter(_frozen(row.value) for row in rows if not row.problem and not row.either)
    allowed = wanted + Counter(_frozen(row.value) for row in rows if row.either)
    there = Counter(_frozen(one["value"]) for one in seen)
    if any(row.either for row in rows) and example.layout.endswith(
        "/text"
    ):  # of a text in blocks, the whole is what counts
        return [f"{part}: texts that are missing: {dict(list((wanted - there).items())[:2])}"] if wanted - there else []
    problems = [f"{part}: missing {count} x {dict(value)}" for value, count in (wanted - there).items()]
    return (problems + [f"{part}: not in the data: {dict(value)}" for value, count in (there - allowed).items()])[:4]


def _frozen(value: dict[str, Any]) -> tuple:
    return tuple(sorted(value.items()))


def _questions(example: Example, part: str, rows: list[Row], seen: list[dict[str, Any]]) -> list[str]:
    problems = [
        f"{part}: a picture of another look than it should have: {one['value']['images']}"
        for one in seen
        if one["differs"] > SHADES
    ]
    wanted = {tuple(row.value["images"]): row for row in rows if not row.problem}
    there = Counter(tuple(one["value"]["images"]) for one in seen)
    problems += [f"{part}: row of pictures {key} is missing" for key in wanted if not there[key]]
    for one in seen:
        value = one["value"]
        row = wanted.get(tuple(value["images"]))
        if row is None or there[tuple(value["images"])] > 1:
            problems.append(f"{part}: a row of pictures {value['images']} should not be there, or only once")
        elif value["learned"] != row.value["answer"] + "<end_of_utterance>":
            problems.append(f"{part}: learns {value['learned']!r} where the answer is {row.value['answer']!r}")
        elif row.value["question"] not in value["text"]:
            problems.append(f"{part}: the question {row.value['question']!r} is not in {value['text']!r}")
    return problems


# --- what is left out


def _left_out(example: Example, part: str, rows: list[Row], counted: dict[str, Any]) -> list[str]:
    problems, reasons = [], Counter(counted["left_out"])
    if counted["rows"] != len(rows):
        problems.append(f"{part}: prepare read {counted['rows']} rows, there are {len(rows)}")
    loose = sum(row.either for row in rows)
    for wanted, count in Counter(row.problem for row in rows if row.problem and not row.either).items():
        told = sum(n for reason, n in reasons.items() if re.search(wanted, reason))
        if not count <= told <= count + loose:
            problems.append(f"{part}: {count} rows have to be left out ({wanted}), and {told} are: {dict(reasons)}")
    gone, seen = Counter(), Counter(counted["objects_left_out"])
    for row in rows:
        gone.update({} if row.problem else row.gone)
    for reason in {*gone, *seen}:
        spare = sum(len(row.value) + sum(row.gone.values()) for row in rows if row.either)
        if abs(seen[reason] - gone[reason]) > spare:
            problems.append(f"{part}: {gone[reason]} objects have to be left out ({reason}), and {seen[reason]} are")
    return problems
