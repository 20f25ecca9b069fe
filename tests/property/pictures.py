"""Pictures that say who they are: a bar code on top, rectangles below it; stored in one of many ways.

What has to be seen is written to truth/<key>.png: gray and upright. Colors have their own brightness, so that it is enough.
"""

from __future__ import annotations

import struct
from pathlib import Path

from PIL import Image, ImageDraw

from tests.property.world import Example

BLOCK, BITS = 8, 8  # of the bar code: white, black, then the number, 6 bits
COLORS = ((200, 30, 30), (40, 170, 40), (90, 140, 250), (250, 220, 90))  # about 81, 132, 140 and 218 as gray
GROUND = (30, 24, 36)
INVERSE = {
    2: 0,
    3: 3,
    4: 1,
    5: 5,
    6: 2,
    7: 6,
    8: 4,
}  # EXIF orientation -> the transposition that leads from upright to stored
STYLES = {  # oddity -> the ways of storing that it stands for
    "turned": tuple(f"exif{i}" for i in range(2, 9)),
    "deep": ("I;16", "I", "F"),
    "modes": ("CMYK", "P", "RGBA", "LA", "1", "L"),
    "animated": ("gif",),
    "broken": ("empty", "cut", "html", "lfs"),
    "wrong ending": ("wrong",),
    "endings": (".JPG", ".jfif", ".webp", ".bmp", ".tiff", ".PNG", ".jpe"),
}
UNREADABLE = STYLES["broken"]
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12345\n"


def style_of(example: Example, *, readable: bool = False) -> str:
    """A way of storing the next picture: plain for most, odd for about a third where an oddity says so."""
    odd = [name for name in STYLES if example.odd(name) and not (readable and name == "broken")]
    if not odd or example.rng.random() < 0.6:
        return "plain"
    return example.rng.choice(STYLES[example.rng.choice(odd)])


def size_of(example: Example) -> tuple[int, int]:
    """(width, height): wide or high, never nearly square, so that a turn shows."""
    width = BLOCK * BITS + example.rng.randrange(0, 24)
    return width, example.rng.choice((example.rng.randrange(40, 50), example.rng.randrange(100, 116)))


def scene(
    key: int, size: tuple[int, int], shapes: list[tuple[tuple[int, int, int, int], tuple[int, int, int]]]
) -> Image.Image:
    """shapes: (left, top, right, bottom) and a color."""
    image = Image.new("RGB", size, GROUND)
    pen = ImageDraw.Draw(image)
    for (left, top, right, bottom), color in shapes:
        pen.rectangle((left, top, right - 1, bottom - 1), fill=color)
    bits = [1, 0, *(key >> i & 1 for i in range(BITS - 2))]
    for i, bit in enumerate(bits):
        pen.rectangle((i * BLOCK, 0, (i + 1) * BLOCK - 1, BLOCK - 1), fill=(255,) * 3 if bit else (0, 0, 0))
    return image


def rectangles(example: Example, size: tuple[int, int], most: int = 3) -> list[tuple[int, int, int, int]]:
    """(left, top, right, bottom) of up to `most` rectangles beside each other, clear of the bar code and the edge."""
    rng, (width, height) = example.rng, size
    count = rng.randint(1, most)
    step = width // count
    found = []
    for i in range(count):
        left, top = i * step + rng.randint(2, 4), rng.randint(BLOCK + 4, height - 20)
        found.append((left, top, left + rng.randint(10, step - 6), top + rng.randint(10, height - 2 - top)))
    return found


def gray(color: tuple[int, int, int]) -> int:
    return Image.new("RGB", (1, 1), color).convert("L").getpixel((0, 0))


def store(example: Example, image: Image.Image, key: int, stem: Path, style: str) -> Path:
    """Writes the picture at stem with an ending, and what has to be seen of it to truth/. Returns its path."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    seen, path = image.convert("L"), Path(f"{stem}{example.rng.choice(('.png', '.jpg', '.png'))}")
    if style == "plain":
        image.save(path, quality=95)
    elif style.startswith("exif"):
        turn, exif = int(style[4:]), Image.Exif()
        exif[0x0112] = turn
        path = Path(f"{stem}.jpg")
        image.transpose(Image.Transpose(INVERSE[turn])).save(path, quality=97, exif=exif)
    elif style in UNREADABLE:
        seen = None
        image.save(path, quality=95)
        whole = path.read_bytes()
        page = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
        text = {"empty": b"", "cut": whole[: len(whole) // 2], "html": page, "lfs": POINTER.format("a" * 64).encode()}
        path.write_bytes(text[style])
    elif style == "wrong":
        image.save(path, "JPEG" if path.suffix == ".png" else "PNG", quality=95)
    elif style.startswith("."):
        path = Path(f"{stem}{style}")
        image.save(path, {".jfif": "JPEG", ".jpe": "JPEG"}.get(style), quality=97)
    elif style == "gif":
        path = Path(f"{stem}.gif")
        frames = [image.quantize(64), Image.new("RGB", image.size, (250, 250, 250)).quantize(64)]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=50)
    else:
        path, seen = _in_mode(image, stem, style)
    if seen is not None:
        seen.save(example.truth / f"{key}.png")
    return path


def _in_mode(image: Image.Image, stem: Path, mode: str) -> tuple[Path, Image.Image]:
    gray, path = image.convert("L"), Path(f"{stem}.png")
    values = gray.tobytes()
    if mode == "I;16":
        Image.frombytes("I;16", image.size, struct.pack(f"<{len(values)}H", *(200 * v + 90 for v in values))).save(path)
    elif mode in ("I", "F"):
        path = Path(f"{stem}.tif")
        scaled = [v * 300 + 7 for v in values] if mode == "I" else [v / 255 for v in values]
        packed = struct.pack(f"<{len(values)}{'i' if mode == 'I' else 'f'}", *scaled)
        Image.frombytes(mode, image.size, packed).save(path)
    elif mode == "CMYK":
        path = Path(f"{stem}.jpg")
        image.convert("CMYK").save(path, quality=97)
    elif mode == "1":
        gray = gray.point(lambda value: 255 * (value > 127))
        gray.convert("1", dither=Image.Dither.NONE).save(path)
    elif mode == "P":
        image.quantize(64).save(path)
    else:
        image.convert(mode).save(path)
    return path, gray
