from __future__ import annotations

import io

import httpx2
import pytest
from PIL import Image

from tests.embedded.conftest import OTHER, OWNER
from tests.tiny import dataset_files, model_files, parquet, png
from tunegate.embedded import hub_tables

CSV = b"text,label,score\nhi,0,1.5\nho,1,nan\n"
FEATURES = {"image": {"_type": "Image"}, "label": {"names": ["a", "b"], "_type": "ClassLabel"}}


@pytest.fixture
def ask(hub):
    def get(endpoint, dataset="me/data", token=None, status=200, **params):
        headers = {"authorization": f"Bearer {token}"} if token else {}
        answer = httpx2.get(f"{hub.url}/{endpoint}", params={"dataset": dataset, **params}, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json() if status == 200 else answer.headers.get("x-error-code")

    return get


@pytest.fixture
def images(hub):
    train, test = parquet([0, 1] * 60, names=["a", "b"]), parquet([1], names=["a", "b"])
    return hub.add_repo("dataset", "me/data", dataset_files(train, test=test))


def test_splits_info_and_size(hub, ask, images):
    assert ask("is-valid") == dict.fromkeys(("preview", "viewer", "search", "filter", "statistics"), True)
    rows = [{"dataset": "me/data", "config": "default", "split": split} for split in ("train", "test")]
    assert ask("splits") == {"splits": rows, "pending": [], "failed": []}
    info = ask("info", config="default")["dataset_info"]
    assert ask("info")["dataset_info"] == {"default": info} and info["features"] == FEATURES
    assert {name: split["num_examples"] for name, split in info["splits"].items()} == {"train": 120, "test": 1}
    size = ask("size")["size"]
    assert size["dataset"]["num_rows"] == size["configs"][0]["num_rows"] == 121
    assert [(row["split"], row["num_rows"], row["num_columns"]) for row in size["splits"]] == [
        ("train", 120, 2),
        ("test", 1, 2),
    ]
    assert ask("size", config="default")["size"]["config"]["num_rows"] == 121
    answer = httpx2.get(f"{hub.url}/splits", params={"dataset": "me/data"})
    assert answer.headers["x-revision"] == images


def test_parquet_files_can_be_fetched(hub, ask, images):
    found = ask("parquet")
    assert (
        [row["split"] for row in found["parquet_files"]] == ["train", "test"]
        and found["partial"] is False
        and "features" not in found
    )
    first = found["parquet_files"][0]
    assert (
        len(httpx2.get(first["url"]).content) == first["size"] and first["filename"] == "train-00000-of-00001.parquet"
    )
    assert ask("parquet", config="default")["features"] == FEATURES


def test_first_rows_and_pages(ask, images):
    first = ask("first-rows", config="default", split="train")
    assert len(first["rows"]) == 100 and first["truncated"] is True
    assert first["features"] == [
        {"feature_idx": i, "name": name, "type": kind} for i, (name, kind) in enumerate(FEATURES.items())
    ]
    assert ask("first-rows", config="default", split="test")["truncated"] is False
    page = ask("rows", config="default", split="train", offset=115, length=50)
    assert [row["row_idx"] for row in page["rows"]] == [115, 116, 117, 118, 119] and page["rows"][0]["row"][
        "label"
    ] == 1
    assert (page["num_rows_total"], page["num_rows_per_page"], page["partial"]) == (120, 100, False)
    assert ask("rows", config="default", split="train", offset=999)["rows"] == []


def test_image_cells_are_addresses(hub, ask, images):
    cell = ask("rows", config="default", split="train", offset=3, length=1)["rows"][0]["row"]["image"]
    assert set(cell) == {"src", "height", "width"} and (cell["height"], cell["width"]) == (4, 4)
    answer = httpx2.get(cell["src"])
    assert answer.content == png() and answer.headers["content-type"] == "image/png"
    assert httpx2.get(cell["src"].replace("/3/", "/4/")).status_code == 403, "each address is signed"
    assert httpx2.get(cell["src"].partition("?")[0]).status_code == 403


def test_csv_and_awkward_values(hub, ask):
    hub.add_repo("dataset", "me/data", {"valid.csv": CSV, "data.csv": CSV})
    assert [row["split"] for row in ask("splits")["splits"]] == ["train", "validation"]
    rows = ask("first-rows", config="default", split="train")
    assert [row["row"] for row in rows["rows"]] == [
        {"text": "hi", "label": 0, "score": 1.5},
        {"text": "ho", "label": 1, "score": None},
    ]
    assert {column["name"]: column["type"]["dtype"] for column in rows["features"]} == {
        "text": "string",
        "label": "int64",
        "score": "float64",
    }
    assert (
        ask("info", config="default")["dataset_info"]["builder_name"] == "csv" and ask("parquet")["parquet_files"] == []
    )


def test_rows_across_files_and_undeclared_features(hub, ask):
    files = {f"data/train-{n}.parquet": parquet([f"c{n}"] * 3, declared=False) for n in range(3)}
    hub.add_repo("dataset", "me/data", files)
    page = ask("rows", config="default", split="train", offset=2, length=5)
    assert [row["row"]["label"] for row in page["rows"]] == ["c0", "c1", "c1", "c1", "c2"] and page[
        "num_rows_total"
    ] == 9
    kinds = {column["name"]: column["type"] for column in page["features"]}
    assert kinds["image"] == {
        "bytes": {"dtype": "binary", "_type": "Value"},
        "path": {"dtype": "string", "_type": "Value"},
    }
    assert isinstance(page["rows"][0]["row"]["image"]["bytes"], str)


def test_configs_of_the_card(hub, ask):
    card = b"""---
configs:
- config_name: small
  data_files:
  - {split: train, path: s/*.csv}
- config_name: large
  data_files:
  - {split: train, path: [l/a.csv, l/b.csv]}
  - {split: test, path: l/c.csv}
---
"""
    hub.add_repo(
        "dataset", "me/data", {"README.md": card, **{f"{name}.csv": CSV for name in ("s/a", "l/a", "l/b", "l/c")}}
    )
    assert [(row["config"], row["split"]) for row in ask("splits")["splits"]] == [
        ("small", "train"),
        ("large", "train"),
        ("large", "test"),
    ]
    assert {row["config"]: row["num_rows"] for row in ask("size")["size"]["configs"]} == {"small": 2, "large": 6}


def test_who_may_look(hub, ask):
    hub.add_repo("dataset", "me/data", {"a.csv": CSV}, private=True)
    hub.add_repo("dataset", "me/gated", {"a.csv": CSV}, gated=True)
    hub.add_repo("model", "me/model", model_files())
    for dataset in ("me/data", "me/gated", "me/nothing", "me/model", "../../etc", "x"):
        assert ask("splits", dataset, status=401) == "ExternalUnauthenticatedError"
        assert ask("splits", dataset, token=OTHER, status=404) == "ExternalAuthenticatedError"
    assert ask("splits", token=OWNER)["splits"] and ask("splits", "me/gated", token=OWNER)["splits"]


def test_what_cannot_be_shown(hub, ask, images):
    hub.add_repo("dataset", "me/empty", {"README.md": b""})
    hub.add_repo("dataset", "me/broken", {"a.parquet": b"PAR1 no"})
    assert (
        ask("is-valid", "me/empty")["viewer"] is False and ask("splits", "me/empty", status=500) == "EmptyDatasetError"
    )
    assert ask("info", "me/broken", status=500) == "DatasetGenerationError"
    assert ask("splits", config="nope", status=404) == "ConfigNotFoundError"
    assert ask("first-rows", config="default", split="nope", status=404) == "SplitNotFoundError"
    assert ask("first-rows", config="default", status=422) == "MissingRequiredParameter"
    assert ask("splits", dataset="", status=422) == "MissingRequiredParameter"
    for length in ("101", "-1", "x"):
        assert ask("rows", config="default", split="train", length=length, status=422) == "InvalidParameter"


def test_image_sizes_from_the_header_alone():
    for kind in ("PNG", "JPEG"):
        file = io.BytesIO()
        Image.new("RGB", (70, 30)).save(file, kind)
        assert hub_tables.image_size(file.getvalue()) == (70, 30)
    for junk in (b"", b"\x89PNG", b"\xff\xd8\xff", b"\xff\xd8" + b"\xff\x00\x00\x00" * 9, b"GIF89a"):
        assert hub_tables.image_size(junk) in ((None, None), (0, 0))
