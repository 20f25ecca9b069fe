"""Depth maps as numpy.save writes them (.npy), without NumPy, which the server does not need."""

from __future__ import annotations

import array
import ast
import sys

NPY_MAGIC = b"\x93NUMPY"
NPY_CODES = {"f4": "f", "f8": "d", "u1": "B", "u2": "H", "i2": "h", "u4": "I", "i4": "i", "i8": "q", "u8": "Q"}
MOST = 40_000  # values that are looked at


def is_npy(data: bytes | None) -> bool:
    return bool(data) and data.startswith(NPY_MAGIC)


def values(data: bytes) -> tuple[list[float], str]:
    """(some of the values, evenly spread; how they are stored). Raises ValueError for what is no plain array of numbers."""
    try:
        wide = data[6] > 1  # format 2 has a longer header
        start = 12 if wide else 10
        length = int.from_bytes(data[8:start], "little")
        header = ast.literal_eval(data[start : start + length].decode("latin-1"))
        order, code = str(header["descr"])[0], str(header["descr"])[1:]
        found = array.array(NPY_CODES[code])
        body = data[start + length :]
        found.frombytes(body[: len(body) // found.itemsize * found.itemsize])
    except (ValueError, SyntaxError, KeyError, TypeError, IndexError):
        raise ValueError("is no .npy file of plain numbers") from None
    size = 1
    for side in header["shape"]:
        size *= side
    if len(found) < size:
        raise ValueError("is a .npy file that is cut off")
    if order == {"little": ">", "big": "<"}[sys.byteorder]:
        found.byteswap()
    return list(found[:: max(1, len(found) // MOST)]), "floats" if code[
        0
    ] == "f" else f"{8 * found.itemsize}-bit integers"
