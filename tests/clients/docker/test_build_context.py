from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tunegate.clients.docker.build_context import EPOCH, packed
from tunegate.errors import ToolFailure


@pytest.fixture
def project(tmp_path) -> Path:
    where = tmp_path / "project"
    (where / "wheelhouse").mkdir(parents=True)
    (where / "Dockerfile").write_text("FROM base\n")
    (where / "wheelhouse/a-1-py3-none-any.whl").write_bytes(b"PK\xff\xfe")
    (where / "tool.py").write_text("print(1)\n")
    (where / "tool.py").chmod(0o750)
    (where / "wheelhouse").chmod(0o700)
    return where


def members(project: Path, files: list[str], elsewhere=None, check=lambda texts: []) -> dict[str, tarfile.TarInfo]:
    with packed(project, files, check, elsewhere) as file, tarfile.open(fileobj=file) as tar:
        return {member.name: member for member in tar.getmembers()}


def test_modes_and_directories_are_those_on_disk(project):
    """As `docker build` sends them: an engine's cache looks at the modes of files and directories, not at their dates."""
    found = members(project, ["Dockerfile", "tool.py", "wheelhouse/a-1-py3-none-any.whl"])
    assert {name: m.mode for name, m in found.items()} == {
        "wheelhouse": 0o700,
        "Dockerfile": 0o644,
        "tool.py": 0o750,
        "wheelhouse/a-1-py3-none-any.whl": 0o644,
    }
    assert list(found)[0] == "wheelhouse" and found["wheelhouse"].isdir()  # before what lies in it
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in found.values()} == {(0, 0, "", "", EPOCH)}


def test_files_from_elsewhere_lie_where_they_are_named(project, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store/b.whl").write_bytes(b"PK\x03\x04")
    (tmp_path / "b.whl").symlink_to("store/b.whl")  # the user's own link: followed
    found = members(project, ["Dockerfile"], {"wheels/b.whl": tmp_path / "b.whl"})
    assert found["wheels/b.whl"].isreg() and found["wheels/b.whl"].size == 4 and found["wheels"].mode == 0o755


@pytest.mark.parametrize("name", ["absent.whl", ""])
def test_a_file_from_elsewhere_that_is_none(project, tmp_path, name):
    with pytest.raises(ToolFailure, match="wheels/b.whl") as refused:
        members(project, ["Dockerfile"], {"wheels/b.whl": tmp_path / name})
    assert refused.value.code == "invalid_input"


def test_only_wheels_are_sent_unread(project):
    seen = {}
    members(project, ["Dockerfile", "wheelhouse/a-1-py3-none-any.whl"], check=lambda texts: seen.update(texts) or [])
    assert seen == {"Dockerfile": "FROM base\n"}
    (project / "requirements.txt").write_bytes(
        b"torch\xff\n" + b"#" * 2_000_000
    )  # too large is no way around the checks
    with pytest.raises(ToolFailure, match="requirements.txt is not UTF-8"):
        members(project, ["requirements.txt"])
