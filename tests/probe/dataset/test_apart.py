"""Files that unpack to far more than they hold are refused in bounded memory and time; large honest ones are read."""

from __future__ import annotations

import resource
import time

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.tiny import hub, parquet, server  # noqa: F401
from tunegate.errors import ToolFailure
from tunegate.probe import bounded
from tunegate.probe.dataset import apart, probe_dataset
from tunegate.probe.dataset.local.files import MAX_BATCH, group_rows
from tunegate.probe.request import DatasetRequest


def repeated(path, megabytes: int, rows: int, **options):
    """`rows` times the same text: a few kB of dictionary and run lengths."""
    text = pa.array(["x" * (megabytes << 20)], pa.large_string())
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), text)
    table = pa.table({"prompt": column.dictionary_decode() if options.pop("plain", False) else column,
                      "completion": pa.array(["y"] * rows)})  # fmt: skip
    pa.parquet.write_table(table, path / "train.parquet", compression="zstd", **options)
    return path


@pytest.mark.parametrize(
    "options", [{}, pytest.param({"plain": True, "use_dictionary": False}, marks=pytest.mark.slow)]
)
def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path, options):
    repeated(tmp_path, 32, 60, **options)
    assert (tmp_path / "train.parquet").stat().st_size < 1_000_000
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(ToolFailure, match="unpacks to far more than it holds") as refused:
        apart.probe(DatasetRequest(task="text-generation", local_path=str(tmp_path)))
    assert refused.value.code == "rejected" and "more than 1.1 GB of memory" in str(refused.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000 and time.monotonic() - began < 30


def test_a_repeated_value_is_not_unpacked_beyond_the_bound(tmp_path):
    """Of a file on the Hub, which is read by range in the server itself."""
    file = pa.parquet.ParquetFile(repeated(tmp_path, 32, 60) / "train.parquet")
    rows = group_rows(file, 0, 60)
    assert 1 <= len(rows) <= MAX_BATCH // (32 << 20) and len(rows[0]["prompt"]) == 32 << 20


def test_a_dictionary_of_short_values_is_read_whole(tmp_path):
    pa.parquet.write_table(pa.table({"label": ["cat", "dog"] * 500}), tmp_path / "x.parquet")
    assert len(group_rows(pa.parquet.ParquetFile(tmp_path / "x.parquet"), 0, 200)) == 200


def test_an_honest_dataset_has_the_facts_that_it_has_without(tmp_path, hub):  # noqa: F811
    (tmp_path / "train.parquet").write_bytes(parquet([0, 1, 1] * 20, names=["cat", "dog"]))
    request = DatasetRequest(task="image-classification", local_path=str(tmp_path))
    found, expected = apart.probe(request), probe_dataset(hub, request)
    assert [one.sha256 for one in found.sources] == [one.sha256 for one in expected.sources]
    times = {"sources": []}  # when it was read
    assert found.model_copy(update=times) == expected.model_copy(update=times) and found.manifest


def test_a_refusal_is_the_same_refusal(tmp_path):
    with pytest.raises(ToolFailure, match="local_dataset_path") as refused:
        apart.probe(DatasetRequest(task="image-classification", local_path=str(tmp_path / "none")))
    assert refused.value.code == "not_found"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("x = bytearray(400 << 20); print(1)", "memory"),
        ("while True: pass", "time"),
        ("raise SystemExit(3)", "failed"),
        ("print('no JSON')", "failed"),
        ("print(json.dumps(given['x']))", ""),
    ],
)
def test_a_process_ends_at_its_bounds_and_says_which(code, why):
    assert bounded.run(code, {"x": [1]}, 300 << 20, 1) == bounded.Ended(None if why else [1], why)
