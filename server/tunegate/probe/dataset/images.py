"""Is this file an image, and how large? From its first and last bytes: no decoder runs in the server."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

from tunegate.readers.impostors import instead

HEAD, TAIL = 65_536, 4_096


def inspect(path: Path) -> tuple[str, int | None, int | None]:
    """(format, width, height) in pixels, None where the head does not tell. Raises ValueError with the reason."""
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
        raise ValueError("is no file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(HEAD)
        file.seek(max(0, size - TAIL))
        tail = file.read(TAIL)
    if not head:
        raise ValueError("is empty")
    kind, width, height = measure(head)
    end = {"jpeg": b"\xff\xd9", "png": b"IEND"}.get(kind)
    if end and end not in tail:
        raise ValueError(f"is a {kind} that is cut off")
    return kind, width, height


def measure(head: bytes) -> tuple[str, int | None, int | None]:
    """(format, width, height) from a file's first bytes. Raises ValueError if they are no image's."""
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        return "png", *struct.unpack(">II", head[16:24])
    if head.startswith((b"GIF87a", b"GIF89a")) and len(head) >= 10:
        return "gif", *struct.unpack("<HH", head[6:10])
    if head.startswith(b"BM") and len(head) >= 26:
        width, height = struct.unpack("<ii", head[18:26])
        return "bmp", width, abs(height)
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg", *_jpeg_size(head)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp", *_webp_size(head)
    if head.startswith((b"II*\0", b"MM\0*")):
        return "tiff", *_tiff_size(head)
    raise ValueError(instead(head) or "is no image (its first bytes fit no known format)")


def _jpeg_size(head: bytes) -> tuple[int | None, int | None]:
    """Walk the segments up to the frame header (SOF0-15 without DHT, JPG and DAC)."""
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], struct.unpack(">H", head[at + 2 : at + 4])[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return width, height
        at += 2 + length
    return None, None


def _webp_size(head: bytes) -> tuple[int | None, int | None]:
    """From the first chunk: VP8X (extended), VP8L (lossless) or VP8 (lossy key frame)."""
    chunk = head[12:16]
    if chunk == b"VP8X" and len(head) >= 30:
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if chunk == b"VP8L" and len(head) >= 25 and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 " and len(head) >= 30 and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None, None


def _tiff_size(head: bytes) -> tuple[int | None, int | None]:
    """ImageWidth (256) and ImageLength (257) of the first directory, where it lies in the head."""
    order = "<" if head.startswith(b"II") else ">"
    found: dict[int, int] = {}
    at = struct.unpack(order + "I", head[4:8])[0] if len(head) >= 8 else len(head)
    count = struct.unpack(order + "H", head[at : at + 2])[0] if at + 2 <= len(head) else 0
    for entry in range(at + 2, min(at + 2 + 12 * count, len(head) - 11), 12):
        tag, kind = struct.unpack(order + "HH", head[entry : entry + 4])
        if tag in (256, 257) and kind in (3, 4):
            found[tag] = struct.unpack(
                order + ("H" if kind == 3 else "I"), head[entry + 8 : entry + (10 if kind == 3 else 12)]
            )[0]
    return found.get(256), found.get(257)
