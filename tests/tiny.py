"""Tiny hand-made repositories, the embedded Hub that serves them, and the real client that reads them."""

from __future__ import annotations

import io
import json
import struct
import zlib

import pytest

from tunegate.clients.hub import Hub
from tunegate.embedded.hub import EmbeddedHub

TOKEN = "hf_" + "ownerownerownerowner"
OTHER = "hf_" + "strangerstrangerstra"

VIT = {
    "model_type": "vit",
    "architectures": ["ViTForImageClassification"],
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "image_size": 32,
    "id2label": {"0": "cat", "1": "dog"},
}
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 32, "width": 32},
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "do_resize": True,
}
CARD = b"---\nlicense: apache-2.0\nlibrary_name: transformers\npipeline_tag: image-classification\n---\n# tiny\n"


def safetensors(shapes: dict[str, tuple[str, list[int], int]], *, data: bool = True) -> bytes:
    """name -> (dtype, shape, bytes) -> a file, or only its header."""
    entries, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, size) in shapes.items():
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + (bytes(at) if data else b"")


WEIGHTS = safetensors({"a": ("F32", [2, 3], 24), "b": ("BF16", [4], 8)})


def model_files(config: dict | None = None, **files: bytes) -> dict[str, bytes]:
    """A small but complete classifier; `files` by name with __ for the dot; None takes one away."""
    found = {
        "config.json": json.dumps(VIT if config is None else config).encode(),
        "preprocessor_config.json": json.dumps(PROCESSOR).encode(),
        "README.md": CARD,
        "model.safetensors": WEIGHTS,
    }
    found |= {name.replace("__", "."): content for name, content in files.items()}
    return {name: content for name, content in found.items() if content is not None}


def png(width: int = 4, height: int = 4) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(b"".join(b"\0" + bytes(3 * width) for _ in range(height)))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


def parquet(
    labels: list, *, image: str = "image", label: str = "label", names: list[str] | None = None, declared: bool = True
) -> bytes:
    """Images and labels as `datasets` writes them; with `names`, the label is a ClassLabel."""
    import pyarrow as pa
    import pyarrow.parquet

    kind = pa.int64() if labels and isinstance(labels[0], int) or not labels else pa.string()
    table = pa.table(
        {
            image: pa.array(
                [{"bytes": png(), "path": None}] * len(labels),
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            label: pa.array(labels, kind),
        }
    )
    if declared:
        what = {"names": names, "_type": "ClassLabel"} if names else {"dtype": str(kind), "_type": "Value"}
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": {image: {"_type": "Image"}, label: what}}})}
        )
    out = io.BytesIO()
    pa.parquet.write_table(table, out)
    return out.getvalue()


DATASET = {"README.md": b"---\nlicense: mit\n---\n"}


def dataset_files(train: bytes, **more: bytes) -> dict[str, bytes]:
    parts = {"train": train, **more}
    return DATASET | {f"data/{name}-00000-of-00001.parquet": body for name, body in parts.items()}


@pytest.fixture
def server(tmp_path):
    with EmbeddedHub(tmp_path / "hub", tokens={TOKEN: "me", OTHER: "stranger"}) as running:
        yield running


@pytest.fixture
def hub(server, monkeypatch):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "TUNEGATE_VIEWER_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return Hub(server.url, read_s=5)
