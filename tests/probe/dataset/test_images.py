from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.tiny import png
from tunegate.probe.dataset.images import inspect, measure


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "webp", "tiff"])
def test_sizes_agree_with_pillow(kind, tmp_path):
    out = io.BytesIO()
    Image.new("RGB", (37, 21), "red").save(out, kind)
    (tmp_path / "x").write_bytes(out.getvalue())
    assert inspect(tmp_path / "x") == (kind, 37, 21)


@pytest.mark.parametrize("how", [{"lossless": True}, {"exif": b"Exif\0\0"}])
def test_the_other_kinds_of_webp(how):
    out = io.BytesIO()
    Image.new("RGB", (37, 21), "red").save(out, "webp", **how)
    assert measure(out.getvalue()) == ("webp", 37, 21)


def test_cut_off_files_are_told(tmp_path):
    for name, body in (("a", png()[:-8]), ("b", b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(50))):
        (tmp_path / name).write_bytes(body)
        with pytest.raises(ValueError, match="cut off"):
            inspect(tmp_path / name)


@given(
    st.binary(max_size=200),
    st.sampled_from(
        [
            b"",
            b"\xff\xd8\xff\xe0",
            b"\x89PNG\r\n\x1a\n",
            b"BM",
            b"GIF89a",
            b"RIFF0000WEBP",
            b"RIFF0000WEBPVP8L",
            b"RIFF0000WEBPVP8X",
            b"RIFF0000WEBPVP8 ",
            b"II*\0",
            b"MM\0*",
        ]
    ),
)
def test_any_bytes_are_measured_or_refused(body, start):
    try:
        kind, width, height = measure(start + body)
    except ValueError:
        return
    assert kind and (width is None) == (height is None)
