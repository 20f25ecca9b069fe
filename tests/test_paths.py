from __future__ import annotations

from pathlib import Path

import pytest

from tunegate import paths


def test_the_data_directories_are_there():
    assert (paths.data_dir("scaffolds") / "_shared/header.txt").is_file()
    assert (paths.data_dir("skill") / "SKILL.md").is_file() and (paths.data_dir("references") / "index.md").is_file()


def test_a_wheel_carries_its_own_data(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "server/tunegate")
    assert paths.data_dir("skill") == tmp_path / "skill"  # a checkout
    (tmp_path / "server/tunegate/_data/skill").mkdir(parents=True)
    assert paths.data_dir("skill") == tmp_path / "server/tunegate/_data/skill"


@pytest.mark.parametrize(
    ("name", "directory", "default"),
    [("XDG_STATE_HOME", paths.state_dir, ".local/state"), ("XDG_CACHE_HOME", paths.cache_dir, ".cache")],
)
def test_the_users_directories(name, directory, default, monkeypatch):
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setenv(name, "/x")
    assert directory() == Path("/x/tunegate")
    for unset in ("", None):
        monkeypatch.setenv(name, unset) if unset == "" else monkeypatch.delenv(name)
        assert directory() == Path("/home/u") / default / "tunegate"
