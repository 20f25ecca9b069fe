"""Tars of samples: which files make one, what the columns are called, and what a hostile tar is refused for."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from tests.tiny import png
from tunegate.readers import webdataset
from tunegate.readers.detect import detect
from tunegate.readers.refusal import Refusal


def member(name: str, data: bytes = b"", **more) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def pack(path, *members, **files) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for info, data in (*members, *(member(name, data) for name, data in files.items())):
            tar.addfile(info, io.BytesIO(data))


def test_samples_are_files_of_one_name(tmp_path):
    pack(
        tmp_path / "train-000.tar",
        member("a", type=tarfile.DIRTYPE),
        member("./a/1.jpg", b"one"), member("a/1.cls", b"3\n"), member("a/1.json", b'{"caption": "x.png", "at": [1, 2]}'),
        member("a/2.v1.jpg", b"other"), member("a/2.PNG", b"two"), member("a/2.cls", b"4"), member("a/._2.png", b"-"),
        member("a/1.txt", "ä".encode()), member("README", b"-"), member("a/1.pyd", b"-"),
    )  # fmt: skip
    pack(tmp_path / "val.tar", **{"b.jpg": b"three", "b.cls": b"5"})
    assert detect(tmp_path) == detect(tmp_path / "val.tar") == "webdataset"
    found = webdataset.read(tmp_path)
    assert found.columns == {"jpg": "image", "png": "image", "cls": "cls", "json": "json", "txt": "txt", "v1.jpg": "v1"}
    assert found.types == {"image": "image", "v1": "image", "cls": "int", "json.caption": "string",
                           "json.at": {"list": "int"}, "txt": "string"}  # fmt: skip
    first, second = found.rows("train")
    assert first == {"image": {"bytes": b"one", "path": "a/1.jpg"}, "v1": None, "cls": 3, "json.caption": "x.png",
                     "json.at": [1, 2], "txt": "ä"}  # fmt: skip
    assert (second["image"]["bytes"], second["v1"]["bytes"], second["cls"]) == (b"two", b"other", 4)
    assert list(found.rows("validation", ["cls"])) == [{"cls": 5}] and found.count("train") == 2
    assert any("are not read: pyd" in warning for warning in found.warnings)
    again = webdataset.Tars.listed(json.loads(json.dumps(found.listing().layout)), tmp_path, ["train"])
    assert list(again.rows("train")) == [first, second]


def test_an_image_and_its_mask_stay_apart(tmp_path):
    pack(tmp_path / "a.tar", **{"1.jpg": b"a", "1.png": b"b", "2.jpg": b"c", "2.seg.png": b"d"})
    assert webdataset.read(tmp_path / "a.tar").columns == {"jpg": "jpg", "png": "png", "seg.png": "seg"}


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([member("1.cls", linkname="/etc/passwd", type=tarfile.SYMTYPE)], "'1.cls', which is a link"),
        ([member("1.cls", linkname="1.jpg", type=tarfile.LNKTYPE)], "--dereference"),
        ([member("1.cls", type=tarfile.FIFOTYPE)], "special file"),
        ([member("../1.cls", b"1")], "leads out"),
        ([member("/etc/1.cls", b"1")], "leads out"),
        ([member("1.jpg", b"1")], "two files '1.jpg'"),
        ([member("1.json", b"{")], "is no JSON"),
        ([member("1.txt", b"\xff\xfe")], "not text in UTF-8"),
        ([], "unpack the tars"),
    ],
)
def test_what_is_refused(tmp_path, members, says):
    pack(tmp_path / "a.tar", member("1.jpg", png()), *members)
    with pytest.raises(Refusal, match=says):
        webdataset.read(tmp_path)


def test_headers_that_lie(tmp_path):
    pack(tmp_path / "good.tar", **{"1.jpg": png(), "1.cls": b"1"})
    whole = (tmp_path / "good.tar").read_bytes()
    large = member("2.jpg")[0]
    large.size = webdataset.MAX_MEMBER + 1
    name = member("././@LongLink", type=tarfile.GNUTYPE_LONGNAME)[0]
    name.size = 1 << 32
    for data, says in (
        (large.tobuf() + bytes(1024), "more than any image"),
        (name.tobuf() + bytes(1024), "a header of 4,294,967,296 bytes"),
        (whole[:600], "unexpected end of data"),
        (whole[:1024] + b"x" * 512 + whole[1536:], "is damaged after 1,024 bytes"),
        (b"x" * 2048, "not readable as a plain tar"),
    ):
        (tmp_path / "bad").mkdir(exist_ok=True)
        (tmp_path / "bad/a.tar").write_bytes(data)
        with pytest.raises(Refusal, match=says):
            webdataset.read(tmp_path / "bad")
