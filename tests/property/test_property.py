"""Whatever the dataset: what arrives is what was made, or it is left out with a reason and the right count.

`python -m tests.property` runs thousands, with tallies; a failure here says how to repeat it.
"""

from __future__ import annotations

import copy

import pytest

from tests.property import LAYOUTS, judge
from tests.property.run import Workshop

QUICK = {  # layout -> seed: several oddities at once, each of another kind
    "imagefolder/classes": 10,
    "imagefolder/metadata": 7,
    "coco/boxes": 414,
    "coco/outlines": 383,
    "coco/panoptic": 12,
    "voc/boxes": 2,
    "voc/masks": 3,
    "segfolder/masks": 11,
    "segfolder/depth": 299,
    "csv/labels": 5,
    "csv/question": 4,
    "jsonl/boxes": 6,
    "jsonl/messages": 8,
    "jsonl/vlm question": 437,
    "parquet/boxes": 9,
    "parquet/dpo": 36,
    "yolo/boxes": 0,
    "captions/vlm": 3,
    "webdataset/labels": 33,
    "arrow/labels": 1,
    "arrow/vlm messages": 0,
}


@pytest.fixture(scope="module")
def shop(stage_python, tmp_path_factory):
    made = Workshop(stage_python, tmp_path_factory.mktemp("property"))
    yield made
    made.close()


@pytest.mark.parametrize("name", QUICK)
def test_what_arrives_is_what_was_made(name, shop):
    outcome = shop.run(QUICK[name], name)
    assert outcome.how != "wrong", outcome.shown


def test_every_format_is_among_the_quick_ones():
    assert {name.partition("/")[0] for name in QUICK} == {name.partition("/")[0] for name in LAYOUTS}


@pytest.mark.slow
def test_fifty_of_all_layouts(shop):
    wrong = [shop.reduced(one) for one in map(shop.run, range(100_000, 100_050)) if one.how == "wrong"]
    assert not wrong, "\n".join(one.shown for one in wrong)


# --- the judge sees what is wrong: each of these is a fault that a reader could have


def swapped(found):
    for row in every_row(found):
        for one in row["value"]:
            one[1], one[2], one[3], one[4] = one[2], one[1], one[4], one[3]


def next_class(found):
    names = found["meta"]["class_names"]
    for row in every_row(found):
        for one in row["value"]:
            one[0] = names[(names.index(one[0]) + 1) % len(names)]


def one_lost(found):
    found["rows"]["train"].pop()


def one_twice(found):
    found["rows"]["train"].append(found["rows"]["train"][0])


def one_in_the_other_split(found):
    found["rows"]["eval"].append(found["rows"]["train"].pop())


def a_box_lost(found):
    next(row for row in every_row(found) if row["value"])["value"].pop()


def dark(found):
    found["rows"]["train"][0]["differs"] = 60.0


def not_counted(found):
    found["meta"]["read"]["train"]["objects_left_out"] = {}


FAULTS = (swapped, next_class, one_lost, one_twice, one_in_the_other_split, a_box_lost, dark, not_counted)


def every_row(found):
    return [row for rows in found["rows"].values() for row in rows]


@pytest.fixture(scope="module")
def arrived(shop, tmp_path_factory):
    """A COCO dataset with crowds and two splits that came through, the probe's facts and what was prepared."""
    folder = tmp_path_factory.mktemp("arrived")
    return shop.examined(3, folder, "coco/boxes", ("crowd", "no area", "splits"))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_judge_sees(fault, arrived):
    example, facts, found = arrived
    assert judge.judged(example, facts, found) == []
    worse = copy.deepcopy(found)
    fault(worse)
    assert judge.judged(example, facts, worse) != []
