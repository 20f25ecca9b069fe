"""Safetensors headers: 8 bytes of little-endian length, then JSON of name -> {dtype, shape, data_offsets}."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

LENGTH_BYTES = 8
MAX_HEADER = 8 * 1024 * 1024  # the format allows 100 MB; 8 MB is some 60,000 tensors
MAX_DIMENSIONS = 32
MAX_SIZE = 1 << 53  # of one dimension or offset: beyond every file, and no product becomes a huge number
DTYPE_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}


@dataclass(frozen=True)
class Tensor:
    name: str
    dtype: str
    elements: int
    start: int
    stop: int


@dataclass
class Weights:
    """What headers add up to. `parameters` and `bytes` are per dtype; `end` is the length of the file they describe."""

    parameters: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    end: int = 0
    tensors: list[Tensor] = field(default_factory=list)

    def count(self, tensor: Tensor) -> None:
        self.tensors.append(tensor)
        self.parameters[tensor.dtype] = self.parameters.get(tensor.dtype, 0) + tensor.elements
        self.bytes[tensor.dtype] = self.bytes.get(tensor.dtype, 0) + tensor.stop - tensor.start


def header_length(start: bytes) -> int:
    """The JSON's length from a file's first 8 bytes. Raises ValueError with the reason."""
    if len(start) < LENGTH_BYTES:
        raise ValueError("it is shorter than 8 bytes")
    if start.startswith(b"version "):
        raise ValueError("it is a Git LFS pointer, the weights themselves were never uploaded")
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if not 2 <= length <= MAX_HEADER:
        raise ValueError(f"its first 8 bytes announce a header of {length:,} bytes (2 to {MAX_HEADER:,} are read)")
    return length


def parse_header(header: bytes) -> Weights:
    """JSON header -> tensors, parameters and bytes by dtype. Raises ValueError with the reason, as safetensors itself would."""
    try:
        entries = json.loads(header)
    except (ValueError, RecursionError):
        raise ValueError("its header is not JSON") from None
    if not isinstance(entries, dict):
        raise ValueError("its header is not a mapping")
    result, end = Weights(), 0
    tensors = [_tensor(entry, name) for name, entry in entries.items() if name != "__metadata__"]
    for tensor in sorted(tensors, key=lambda t: (t.start, t.stop)):
        if tensor.start != end:
            raise ValueError(
                f"its tensor {tensor.name[:60]!r} begins at byte {tensor.start:,}, not at {end:,} where the one before ends"
            )
        result.count(tensor)
        end = tensor.stop
    result.end = LENGTH_BYTES + len(header) + end
    return result


def _tensor(entry: object, name: str) -> Tensor:
    try:
        dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        ok = isinstance(shape, list) and len(shape) <= MAX_DIMENSIONS and isinstance(dtype, str)
        ok = ok and all(type(n) is int and 0 <= n <= MAX_SIZE for n in (*shape, start, stop)) and start <= stop
    except (TypeError, KeyError, ValueError):
        ok = False
    if not ok:
        raise ValueError(f"its entry for tensor {name[:60]!r} has no valid dtype, shape and data_offsets")
    elements, bits = math.prod(shape), DTYPE_BITS.get(dtype)
    if elements > MAX_SIZE or (bits and elements * bits != (stop - start) * 8):
        raise ValueError(f"its tensor {name[:60]!r} has {stop - start:,} bytes for {elements:,} elements of {dtype}")
    return Tensor(name, dtype[:16], elements, start, stop)
