"""Rows that occur twice, in the training split or in both splits: exactly, and by a perceptual hash, on a sample."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tunegate.probe.dataset.pictures import Picture, decoded

SIDE = 16  # of the difference hash: 16 x 16 comparisons of neighbors, 256 bits
# Bits of 256 in which near copies differ at most. Measured: photographs, half size or JPEG quality 40, at most 11, unrelated
# ones at least 68; at 28 px unrelated pictures of clothes come as near as 6: images smaller than SMALLEST are left out.
NEAR_BITS = 10
SMALLEST = 48  # pixels, the shorter side
FLAT = 24  # an image with fewer set or unset bits has too little in it to be distinguished from another


class DuplicateFacts(BaseModel):
    """`exact` compares bytes (or whole texts), `near` a 256-bit difference hash, at most 10 bits apart."""

    model_config = ConfigDict(extra="forbid")
    train_rows: int = Field(description="compared, of the training split")
    eval_rows: int
    exact: int = Field(description="rows of the training sample that repeat an earlier one")
    conflicting: int = Field(description="of those, rows with another label than the earlier one")
    exact_overlap: int = Field(description="rows of the evaluation sample that are in the training sample")
    near: int | None = Field(description="as exact, by the perceptual hash; null: no images were decoded")
    near_overlap: int | None


Keyed = list[tuple[str, Any]]  # (what identifies the row, its label)


def compare(train: Keyed, evaluation: Keyed, hashes: tuple[list[int], list[int]] | None) -> DuplicateFacts:
    seen: dict[str, Any] = {}
    exact = conflicting = 0
    for key, label in train:
        if key in seen:
            exact += 1
            conflicting += seen[key] != label
        else:
            seen[key] = label
    near, overlap = (None, None) if hashes is None else (_repeats(hashes[0]), _shared(*hashes))
    return DuplicateFacts(
        train_rows=len(train),
        eval_rows=len(evaluation),
        exact=exact,
        conflicting=conflicting,
        exact_overlap=sum(key in seen for key, _ in evaluation),
        near=near,
        near_overlap=overlap,
    )


def row_key(row: dict[str, Any], columns: list[str], read: Callable[[dict[str, Any], str], Any]) -> str | None:
    """What the model sees of a row, hashed: the bytes of its pictures and its texts; None where a picture is not to be had."""
    digest = hashlib.sha256()
    for column in columns:
        value = read(row, column)
        for item in value if isinstance(value, list) and value and isinstance(value[0], Picture) else [value]:
            if isinstance(item, Picture):
                data = item.data() if item.at_hand() else None
                if data is None:
                    return None
                digest.update(hashlib.sha256(data).digest())
            else:
                digest.update(json.dumps(item, default=str, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def difference_hash(data: bytes | None) -> int | None:
    """Whether each pixel of the 17 x 16 gray thumbnail is brighter than its right neighbor; None for small, flat or broken images."""
    try:
        image = decoded(data)
        if min(image.size) < SMALLEST:
            return None
        gray = image.convert("L").resize((SIDE + 1, SIDE), 4)  # 4: box filter, whatever the size
    except ValueError:
        return None
    pixels = gray.tobytes()
    found = 0
    for y in range(SIDE):
        row = pixels[y * (SIDE + 1) : (y + 1) * (SIDE + 1)]
        for x in range(SIDE):
            found = found << 1 | (row[x] > row[x + 1] + 2)
    return found if FLAT <= found.bit_count() <= SIDE * SIDE - FLAT else None


def _repeats(hashes: list[int]) -> int:
    return sum(any((one ^ other).bit_count() <= NEAR_BITS for other in hashes[:at]) for at, one in enumerate(hashes))


def _shared(train: list[int], evaluation: list[int]) -> int:
    return sum(any((one ^ other).bit_count() <= NEAR_BITS for other in train) for one in evaluation)
