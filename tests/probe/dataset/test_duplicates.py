from __future__ import annotations

import io

from PIL import Image, ImageDraw

from tests.tiny import png
from tunegate.probe.dataset.columns import dig
from tunegate.probe.dataset.duplicates import compare, difference_hash, row_key
from tunegate.probe.dataset.pictures import Picture, from_bytes


def scene(seed: int, size=(120, 90), kind="png", **how) -> bytes:
    image = Image.new("RGB", (400, 300), (20 * seed % 255, 90, 140))
    draw = ImageDraw.Draw(image)
    for at in range(12):
        x, y = (at * 97 * (seed + 3)) % 380, (at * 61 * (seed + 5)) % 280
        draw.ellipse((x, y, x + 70, y + 50), fill=((at * 40 * seed) % 255, (at * 70) % 255, (at * 23 + seed * 9) % 255))
    out = io.BytesIO()
    image.resize(size).save(out, kind, **how)
    return out.getvalue()


def test_a_rescaled_jpeg_copy_is_near_and_another_scene_is_not():
    hashes = [difference_hash(scene(seed)) for seed in range(1, 12)]
    copy = difference_hash(scene(4, size=(200, 150), kind="jpeg", quality=60))
    assert None not in hashes and (hashes[3] ^ copy).bit_count() <= 10
    assert min((a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]) > 30
    assert difference_hash(png(90, 90)) is None and difference_hash(b"no image") is None  # flat, broken
    assert difference_hash(scene(4, size=(40, 40))) is None  # too small to tell


def test_repeats_conflicts_and_overlap_are_counted():
    train, evaluation = (
        [("a", "cat"), ("b", "dog"), ("a", "cat"), ("a", "dog")],
        [("b", "dog"), ("c", "cat"), ("b", "dog")],
    )
    found = compare(train, evaluation, None)
    assert (found.exact, found.conflicting, found.exact_overlap, found.near) == (2, 1, 2, None)
    found = compare(train, evaluation, ([0b1111, 0, 1 << 200 | 0b1111], [0, (1 << 250) - 1]))
    assert (found.near, found.near_overlap) == (2, 1)


def test_a_rows_key_is_of_its_pictures_and_texts():
    one, other = (
        {"image": from_bytes(png(4, 4), "a"), "question": "x"},
        {"image": from_bytes(png(4, 4), "b"), "question": "y"},
    )
    assert row_key(one, ["image"], dig) == row_key(other, ["image"], dig)
    assert row_key(one, ["image", "question"], dig) != row_key(other, ["image", "question"], dig)
    assert row_key({"image": Picture("far", remote=True)}, ["image"], dig) is None
    assert row_key({"images": [one["image"], other["image"]]}, ["images"], dig) != row_key(one, ["image"], dig)
