"""Pictures in rows: where one lies, how large it is, and, within limits, what is in it.

Sizes come from headers (probe/images.py). Only a bounded sample is decoded, by Pillow, for what headers do not tell:
whether an image is whole, the values of masks and depth maps, perceptual hashes. A picture whose header promises more
than MAX_PIXELS is never decoded.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.images import inspect, measure

MAX_BYTES = 64 * 1024 * 1024  # of one picture file
MAX_PIXELS = 50_000_000  # 150 MB decoded as RGB
PICTURE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")  # what Pillow may open: no Ghostscript, no plug-ins


@dataclass
class Picture:
    """One cell of an image column. `load` reads its file; `problem` says why it cannot be read."""

    name: str
    load: Callable[[], bytes | None] = field(repr=False, default=lambda: None)
    size: tuple[int | None, int | None] = (None, None)
    problem: str | None = None
    remote: bool = False  # loading it costs a request
    shrunk: bool = False  # its bytes are of a smaller copy, and `size` is the original's
    _held: bytes | None = field(default=None, repr=False)

    def at_hand(self) -> bool:
        """Whether its bytes can be had without a request."""
        return not self.remote or self._held is not None

    def data(self) -> bytes | None:
        """The file's bytes; None where it cannot be had, `problem` then says why."""
        if self._held is not None or self.problem:
            return self._held
        try:
            found = self.load()
            self._held = found if self.remote else None
        except ToolFailure:  # a request that failed says nothing about the picture
            found = None
        except OSError:
            found, self.problem = None, "cannot be read"
        return found


def from_path(path: Path, name: str) -> Picture:
    """A file on this machine: header and last bytes are looked at now."""

    def load() -> bytes | None:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        return data if len(data) <= MAX_BYTES else None

    found = Picture(name, load)
    if path.suffix.lower() == ".npy" and path.is_file():  # a depth map, which has no picture's head
        return found
    try:
        _, *size = inspect(path)
        found.size = tuple(size)
    except FileNotFoundError:
        found.problem = "does not exist"
    except (ValueError, OSError) as error:
        found.problem = str(error) if isinstance(error, ValueError) else "cannot be read"
    return found


def from_bytes(data: Any, name: str) -> Picture:
    """A file's bytes that lie in a table, alone or beside their path."""
    data, path = (data.get("bytes"), data.get("path")) if isinstance(data, dict) else (data, None)
    found = Picture(name, lambda: data)
    if not data:
        found.problem = f"has no bytes, only the path {str(path)[:100]!r}" if path else "is empty"
        return found
    try:
        _, *size = measure(data if isinstance(data, bytes) else b"")
        found.size = tuple(size)
    except ValueError as error:
        found.problem = str(error)
    return found


def from_viewer(cell: Any, name: str, fetch: Callable[[str], bytes]) -> Picture:
    """A cell of the dataset viewer: {src, width, height}; `fetch` gets the copy of the image that the viewer made."""
    cell = cell if isinstance(cell, dict) else {}
    sizes = [cell.get(side) for side in ("width", "height")]
    source = cell.get("src") if isinstance(cell.get("src"), str) else None
    return Picture(
        name,
        lambda: fetch(source) if source else None,
        tuple(size if type(size) is int and size > 0 else None for size in sizes),
        None if cell else "is empty",
        remote=True,
    )


def pillow():
    """PIL.Image with its own bomb check on, or None where Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError:
        return None
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    return Image


def decoded(data: bytes | None) -> Any:
    """The decoded first frame. Raises ValueError with the reason, in the words of images.inspect."""
    image = pillow()
    if not data:
        raise ValueError("is empty, or too large to be read")
    if image is None:
        raise ValueError("cannot be decoded here")
    _, width, height = measure(data)
    if width and height and width * height > MAX_PIXELS:
        raise ValueError(f"promises {width}x{height} pixels, more than is decoded")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", image.DecompressionBombWarning)
            opened = image.open(io.BytesIO(data), formats=PICTURE_FORMATS)
            opened.load()
    except (image.DecompressionBombError, image.DecompressionBombWarning):
        raise ValueError("promises more pixels than are decoded") from None
    except Exception:  # Pillow raises a dozen types on damaged files, none of which says more to a user
        raise ValueError("is damaged: it cannot be decoded") from None
    return opened
