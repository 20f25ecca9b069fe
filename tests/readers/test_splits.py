from __future__ import annotations

import pytest

from tunegate.readers.splits import of_images, of_tables, split_of


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train2017/1.jpg", "train"),
        ("data/val-00000-of-00001.parquet", "validation"),
        ("instances_dev.json", "validation"),
        ("testing/a.png", "test"),
        ("trainer/contest.png", None),
        ("images/1.png", None),
    ],
)
def test_paths_name_their_split(path, split):
    assert split_of(path) == split


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["spring.jsonl", "autumn.jsonl", "test.jsonl"], ["train", "train", "test"]),
        (["relays.csv", "test tubes.csv", "dev boards.csv"], ["train", "train", "train"]),
        (["data.csv", "data_test.csv"], ["train", "test"]),
        (["train.csv", "notes.csv"], ["train", None]),
        (["train-0-of-2.parquet", "train-1-of-2.parquet", "test-0-of-1.parquet"], ["train", "train", "test"]),
        (["one.csv"], ["train"]),
    ],
)
def test_tables(names, splits):
    assert list(of_tables(names).values()) == splits


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["images/1.png", "images/test tube.png"], ["train", "train"]),
        (["images/train_1.png", "images/val_1.png"], ["train", "validation"]),
        (["train/val_1.png", "test/1.png", "more/1.png"], ["train", "test", "train"]),
    ],
)
def test_images(names, splits):
    assert list(of_images(names).values()) == splits
