"""Datasets of drawn shapes, in Parquet as `datasets` writes it."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterable

from tests.scaffolds.conftest import CLASSES, draw

Rows = list[tuple[str, bytes]]  # class name, PNG


def png(image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def pictures(seed: int, each: int | dict[str, int]) -> Rows:
    rng = random.Random(seed)
    counts = each if isinstance(each, dict) else dict.fromkeys(CLASSES, each)
    rows = [(name, png(draw(name, rng))) for name in CLASSES for _ in range(counts.get(name, 0))]
    rng.shuffle(rows)
    return rows


def resaved(data: bytes) -> bytes:
    """The same picture in other bytes."""
    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(data)).save(out, "PNG", compress_level=1)
    return out.getvalue()


def permuted(rows: Rows) -> Rows:
    """The same pictures, each class under another one's name."""
    names = list(CLASSES)
    return [(names[(names.index(name) + 1) % len(names)], data) for name, data in rows]


def parquet(rows: Rows, names: Iterable[str] = CLASSES) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(names)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
        {
            "image": pa.array([{"bytes": data, "path": None} for _, data in rows], image),
            "label": pa.array([names.index(name) for name, _ in rows], pa.int64()),
        }
    )
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def files(train: Rows, test: Rows | None = None, names=CLASSES, test_names=None) -> dict[str, bytes]:
    """A dataset repository's files."""
    found = {"data/train-00000-of-00001.parquet": parquet(train, names), "README.md": b"---\nlicense: mit\n---\n"}
    if test is not None:
        found["data/test-00000-of-00001.parquet"] = parquet(test, test_names or names)
    return found
