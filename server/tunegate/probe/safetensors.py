"""Safetensors headers: 8 bytes of little-endian length, then JSON of name -> {dtype, shape, data_offsets}."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

PREFIX = 8
MAX_HEADER = 8 * 1024 * 1024  # the format allows 100 MB; 8 MB is some 60,000 tensors


@dataclass
class Weights:
    """What headers add up to. `parameters` and `bytes` are per dtype; `end` is the length of the file they describe."""

    parameters: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    end: int = 0

    def add(self, other: Weights) -> None:
        for mine, theirs in ((self.parameters, other.parameters), (self.bytes, other.bytes)):
            for dtype, count in theirs.items():
                mine[dtype] = mine.get(dtype, 0) + count


def header_length(start: bytes) -> int:
    """The JSON's length from a file's first 8 bytes. Raises ValueError with the reason."""
    if len(start) < PREFIX:
        raise ValueError("it is shorter than 8 bytes")
    length = int.from_bytes(start[:PREFIX], "little")
    if not 2 <= length <= MAX_HEADER:
        raise ValueError(f"its first 8 bytes announce a header of {length:,} bytes (2 to {MAX_HEADER:,} are read)")
    return length


def parse_header(header: bytes) -> Weights:
    """JSON header -> parameters and bytes by dtype. Raises ValueError with the reason."""
    try:
        tensors = json.loads(header)
    except (ValueError, RecursionError):
        raise ValueError("its header is not JSON") from None
    if not isinstance(tensors, dict):
        raise ValueError("its header is not a mapping")
    result, end = Weights(), 0
    for name, tensor in tensors.items():
        if name == "__metadata__":
            continue
        dtype, count, start, stop = _tensor(tensor, name)
        result.add(Weights({dtype: count}, {dtype: stop - start}))
        end = max(end, stop)
    result.end = PREFIX + len(header) + end
    return result


def _tensor(tensor: object, name: str) -> tuple[str, int, int, int]:
    """(dtype, elements, start, stop) of one entry."""
    try:
        dtype, shape, (start, stop) = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
        numbers = [*shape, start, stop]
        ok = isinstance(dtype, str) and all(type(n) is int and n >= 0 for n in numbers) and start <= stop
    except (TypeError, KeyError, ValueError):
        ok = False
    if not ok:
        raise ValueError(f"its entry for tensor {name[:60]!r} has no valid dtype, shape and data_offsets")
    return dtype[:16], math.prod(shape), start, stop
