from __future__ import annotations

import errno
import multiprocessing
import os

import pytest

from tunegate import rundir
from tunegate.errors import ToolFailure


def code(call, *arguments) -> str:
    with pytest.raises(ToolFailure) as error:
        call(*arguments)
    return error.value.code


@pytest.mark.parametrize("outside", ["..", "../x", "/etc", ".", "output/../..", "a/../../b"])
def test_a_run_stays_below_the_root(tmp_path, outside):
    assert code(rundir.locate, tmp_path, outside) == "outside_root"


@pytest.mark.parametrize("bad", ["", " ", "a\0b", "x" * 2000])
def test_unusable_paths(tmp_path, bad):
    assert code(rundir.locate, tmp_path, bad) == "invalid_input"


def test_a_symlink_on_the_way_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "elsewhere")
    assert code(rundir.locate, root, "link/run") == "outside_root"
    assert code(rundir.locate, root, "link") == "outside_root"


def test_an_absolute_path_inside_the_root_is_the_same_run(tmp_path):
    assert rundir.locate(tmp_path, str(tmp_path / "a/b")) == rundir.locate(tmp_path, "a/b")


def test_a_directory_without_config_is_no_run(tmp_path):
    with pytest.raises(ToolFailure) as error:
        rundir.existing(tmp_path, "nothing")
    assert error.value.failure.next.tool == "probe_model"


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "f.json"
    rundir.atomic_write(path, "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert code(rundir.atomic_write, path, "new") == "disk_full"
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["f.json"]


def test_a_changed_file_with_its_old_mtime_has_a_new_hash(tmp_path):
    path = tmp_path / "f"
    path.write_text("one")
    os.utime(path, ns=(1, 1))
    first = rundir.file_sha256(path)
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert rundir.file_sha256(path) != first


def test_no_hash_of_what_is_not_a_regular_file(tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert rundir.file_sha256(tmp_path / "link") is None and rundir.file_sha256(tmp_path) is None


def _hold(path, held, release):
    with rundir.lock(rundir.Run(path), "probe_model"):
        held.set()
        release.wait(20)


def test_a_second_writer_is_told_who_is_working(tmp_path, monkeypatch):
    monkeypatch.setattr(rundir, "LOCK_WAIT_S", 0.2)
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, held, release))
    other.start()
    assert held.wait(10)
    with pytest.raises(ToolFailure, match="probe_model") as error, rundir.lock(rundir.Run(tmp_path), "fetch_recipe"):
        pass
    assert error.value.code == "run_locked"
    other.kill()  # -9: the kernel drops the lock
    other.join()
    with rundir.lock(rundir.Run(tmp_path), "fetch_recipe"):
        pass
