from __future__ import annotations

import io
import struct
import sys

import pytest
from PIL import Image, ImageDraw, ImageFilter

from tests.tiny import png
from tunegate.errors import ToolFailure
from tunegate.probe.dataset import npy
from tunegate.probe.dataset.masks import judge_depth, judge_masks
from tunegate.probe.dataset.pictures import Picture, from_bytes


def picture(image: Image.Image, kind: str = "png") -> Picture:
    out = io.BytesIO()
    image.save(out, kind)
    return from_bytes(out.getvalue(), f"a.{kind}")


def mask(*values: int, mode: str = "L", kind: str = "png") -> Picture:
    """Stripes of these values, 8 pixels wide."""
    image = Image.new(mode, (8 * len(values), 8))
    for at, value in enumerate(values):
        image.paste(value, (8 * at, 0, 8 * at + 8, 8))
    return picture(image, kind)


def judge(*masks, names=(), coded=None, images=None, codes=None):
    warnings: list[str] = []
    pairs = list(zip(images or [None] * len(masks), masks, strict=True))
    return judge_masks(pairs, list(names), coded=coded, column="mask", warnings=warnings, codes=codes), warnings


def test_class_ids_and_the_ignore_index():
    facts, warnings = judge(mask(0, 1, 2), mask(0, 3, 255))
    assert (facts.values, facts.ignore_index, facts.coding, facts.reduce_labels) == (
        [0, 1, 2, 3, 255],
        255,
        "class ids",
        False,
    )
    assert facts.background == 0.3333 and "255 far above" in facts.evidence and warnings == []
    assert judge(mask(0, 1, 2))[0].ignore_index is None


@pytest.mark.parametrize("mode", ["L", "1"])
def test_binary_masks_with_255(mode):
    facts, _ = judge(mask(0, 255, mode=mode), mask(255, 0, mode=mode))
    assert (facts.coding, facts.ignore_index) == ("binary 0/255", None) and "id 1" in facts.evidence


def disc(blur: float = 0, levels: int = 256, mode: str = "L") -> Image.Image:
    """A white disc on black, smoothed, in so many grays."""
    image = Image.new("L", (96, 96), 0)
    ImageDraw.Draw(image).ellipse((20, 20, 70, 70), fill=255)
    step = 256 // levels
    soft = image.filter(ImageFilter.GaussianBlur(blur))
    return soft.point(lambda v: 255 if v > 250 else v // step * step).convert(mode)


@pytest.mark.parametrize("names", [(), ("skin", "lesion")])
@pytest.mark.parametrize(
    "soft",
    [
        picture(disc(1.0)),
        picture(disc(0.7, levels=4)),
        picture(disc(1.0, mode="RGB")),
        picture(disc(), "jpeg"),
        picture(disc(mode="RGB"), "jpeg"),
    ],
    ids=["smoothed", "smoothed in few grays", "as RGB", "JPEG", "JPEG as RGB"],
)
def test_black_and_white_masks_with_soft_edges_are_binary(soft, names):
    facts, _ = judge(soft, soft, names=names)
    assert (facts.coding, facts.ignore_index) == ("binary 0/255", None) and "soft edges" in facts.evidence
    assert facts.n_values > 2


def test_ids_with_an_ignored_border_are_no_soft_edges():
    many = mask(0, 60, 90, 120, 150, 255)  # regions of classes, not edges
    assert judge(many, mask(*range(151)))[0].ignore_index == 255
    assert judge(mask(1, 2, 3, 255))[0].ignore_index == 255


@pytest.mark.parametrize(
    "levels", [(0, 128, 255), (0, 100), (0, 50, 100, 150), (0, 1, 8, 255), (0, 10, 255), (1, 255), (2, 3), (0, 7, 50)]
)
def test_values_that_do_not_count_classes_are_a_question(levels):
    with pytest.raises(ToolFailure, match=f"only the values {', '.join(map(str, levels))}") as refused:
        judge(mask(*levels))
    share = f"{1 / len(levels):.1%}"
    assert refused.value.failure.code == "ambiguous" and f"{levels[-1]}: {share}" in refused.value.failure.message


def test_codes_that_the_user_explains():
    facts, _ = judge(mask(0, 85, 170, 255), codes=[85, 0, 170])
    assert (facts.coding, facts.codes, facts.ignore_index) == ("codes", [85, 0, 170], 255)
    assert "85 is class 0, 0 is class 1, 170 is class 2" in facts.evidence
    assert judge(mask(0, 128, 255), codes=[0, 128, 255])[0].ignore_index is None
    for codes, says in (([0, 128], "hold 170, 255 too"), ([0, 0, 128], "once"), ([7], "at least two")):
        with pytest.raises(ToolFailure, match=says) as refused:
            judge(mask(0, 128, 170, 255), codes=codes)
        assert refused.value.failure.code == "invalid_input"


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_masks_of_more_than_8_bits(mode):
    image = Image.new(mode, (8, 8), 1)
    image.putpixel((0, 0), 0)
    image.putpixel((1, 0), 2)
    facts, _ = judge(picture(image, "tiff"))
    assert (facts.values, facts.coding, facts.ignore_index) == ([0, 1, 2], "class ids", None)


def test_fractions_are_no_class_ids():
    image = Image.new("F", (8, 8), 1)
    image.putpixel((0, 0), 0.5)
    with pytest.raises(ToolFailure, match="holds fractions"):
        judge(picture(image, "tiff"))


def test_palette_masks_hold_their_indices():
    image = Image.new("P", (8, 8), 3)
    image.putpalette([200, 100, 50] * 256)
    image.paste(255, (0, 0, 4, 4))
    image.paste(0, (4, 4, 8, 8))
    image.paste(1, (4, 0, 8, 2))
    image.paste(2, (4, 2, 8, 4))
    assert judge(picture(image))[0].values == [0, 1, 2, 3, 255]


def test_gray_in_rgb_is_read_and_colors_are_refused():
    assert judge(mask((0,) * 3, (2,) * 3, mode="RGB"))[0].values == [0, 2]
    with pytest.raises(ToolFailure) as caught:
        judge(mask((0, 0, 0), (128, 0, 0), (0, 128, 0), mode="RGB"))
    assert caught.value.code == "rejected" and "single-channel PNG" in caught.value.failure.message
    facts, _ = judge(mask((0, 0, 0), (1, 2, 0), mode="RGB"), coded="segments")
    assert facts.values == [0, 513] and facts.coding == "segment ids in RGB"
    facts, _ = judge(mask((0, 0, 0), (7, 1, 0), (7, 2, 0), mode="RGB"), coded="instances")
    assert facts.values == [0, 7] and facts.coding == "class in R, instance in G"
    with pytest.raises(ToolFailure, match="colored"):
        judge(mask((0, 0, 0), (7, 1, 9), mode="RGB"), coded="instances")


def test_jpeg_masks_are_refused():
    noisy = Image.effect_noise((64, 64), 200)
    with pytest.raises(ToolFailure, match="JPEG"):
        judge(picture(noisy, "jpeg"))


def test_names_and_values_must_agree():
    facts, _ = judge(mask(0, 1, 2), names=("a", "b"))
    assert facts.reduce_labels and "0 is no class" in facts.evidence
    assert not judge(mask(0, 1), names=("a", "b"))[0].reduce_labels
    with pytest.raises(ToolFailure, match="value 7"):
        judge(mask(0, 7), names=("a", "b"))
    assert judge(mask(0, 7, 255), names=[str(i) for i in range(8)])[0].ignore_index == 255


def test_constant_masks_are_refused_and_sizes_compared():
    with pytest.raises(ToolFailure, match="all pixels"):
        judge(mask(0, 0))
    facts, warnings = judge(mask(0, 1), images=[Picture("x", size=(99, 8))])
    assert facts.wrong_size == 1 and "another size" in warnings[0]


def test_damaged_masks_are_told():
    broken = from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40), "b.png")
    facts, warnings = judge(mask(0, 1), broken)
    assert facts.masks == 1 and "1 of 2 masks cannot be read: b.png" in warnings[0]
    with pytest.raises(ToolFailure, match="none of the 1 masks"):
        judge(broken)


def depth(mode: str, *values, kind: str = "png") -> Picture:
    if mode == "I;16":  # Pillow's paste writes only one byte of these
        return picture(Image.frombytes(mode, (len(values), 1), struct.pack(f"<{len(values)}H", *values)), kind)
    image = Image.new(mode, (len(values), 4))
    for at, value in enumerate(values):
        image.paste(value, (at, 0, at + 1, 4))
    return picture(image, kind)


@pytest.mark.parametrize(
    ("cell", "stored", "unit", "scale"),
    [
        (depth("I;16", 0, 500, 9000), "16-bit integers", "millimeters", 0.001),
        (depth("I;16", 300, 20000), "16-bit integers", "unknown", None),
        (depth("L", 0, 3, 250), "8-bit integers", "relative", None),
        (depth("RGB", (9, 9, 9), (200, 200, 200)), "8-bit integers", "relative", None),
        (depth("F", 0.0, 0.5, 9.5, kind="tiff"), "floats", "meters", 1.0),
        ([[0.0, 1.5], [2.5, float("nan")]], "floats", "meters", 1.0),
        ([[0.1, 0.9]], "floats", "relative", None),
        ([[700.0, 4000.0]], "floats", "millimeters", 0.001),
    ],
)
def test_depth_units_are_judged_by_how_they_are_stored(cell, stored, unit, scale):
    facts = judge_depth([cell], "depth_map", [])
    assert (facts.stored, facts.unit, facts.scale) == (stored, unit, scale)


def test_missing_depth_does_not_count_for_the_range():
    facts = judge_depth([[[0.0, -1.0, 2.0, 4.0]]], "depth_map", [])
    assert (facts.minimum, facts.maximum, facts.missing) == (2.0, 4.0, 0.5)


def test_colored_and_constant_depth_are_refused():
    with pytest.raises(ToolFailure, match="colored"):
        judge_depth([depth("RGB", (9, 0, 200), (0, 200, 9))], "depth_map", [])
    with pytest.raises(ToolFailure, match="one value or none"):
        judge_depth([[[0.0, 0.0]]], "depth_map", [])
    with pytest.raises(ToolFailure, match="none of the 1 depth maps"):
        judge_depth(["text"], "depth_map", [])


def test_a_bomb_is_never_decoded():
    bomb = bytearray(png())
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    with pytest.raises(ToolFailure, match="60000x60000"):
        judge(from_bytes(bytes(bomb), "bomb.png"))


def test_without_pillow_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    facts, warnings = judge(from_bytes(png(), "a.png"))
    assert facts is None and "needs Pillow" in warnings[0] and "pip install" in warnings[0]


@pytest.mark.parametrize(
    ("code", "numbers", "kind"),
    [
        ("<f4", [0.5, 2.0, 0.0], "floats"),
        (">u2", [500, 2000, 0], "16-bit integers"),
        ("<f8", [0.25, 9.5, -1.0], "floats"),
    ],
)
def test_depth_in_npy_files(code, numbers, kind):
    header = repr({"descr": code, "fortran_order": False, "shape": (1, 3)}).ljust(117) + "\n"
    pack = code[0] + "3" + {"f4": "f", "u2": "H", "f8": "d"}[code[1:]]
    data = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + struct.pack(pack, *numbers)
    assert npy.values(data) == (numbers, kind)
    for broken in (data[:-4], data[:9], data.replace(b"descr", b"dexxr"), data[:10] + b"exit()" + data[16:]):
        with pytest.raises(ValueError, match=r"\.npy"):
            npy.values(broken)
