"""Links that were planted in a run: nothing outside is written, truncated, renamed or deleted, whoever in the server writes."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path

import pytest

from tests import sealed
from tests.sealed import CONFIG, FACTS
from tunegate import evidence, jobs, nofollow, rundir, stages
from tunegate.errors import ToolFailure
from tunegate.evidence import ledger
from tunegate.platforms.local_process import envs
from tunegate.probe.dataset import streamed
from tunegate.publish import progress_log, rerun
from tunegate.rundir import Run
from tunegate.tools.base import recorded


@pytest.fixture
def run(tmp_path) -> Run:
    return sealed.build(Run(tmp_path / "run"), until="stages/eval")


@pytest.fixture
def outside(tmp_path) -> Path:
    folder = tmp_path / "outside"
    (folder / "deep").mkdir(parents=True)
    (folder / "precious").write_text("precious")
    (folder / "deep/precious").write_text("precious")
    return folder


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def refusal(call, *arguments, **keywords) -> str:
    with pytest.raises(ToolFailure) as caught:
        call(*arguments, **keywords)
    assert caught.value.code == "outside_root", caught.value
    return str(caught.value)


# -- the module


@pytest.mark.parametrize("link", ["a", "a/b"])
@pytest.mark.parametrize(
    "change",
    [
        lambda path: nofollow.write(path, "x"),
        lambda path: nofollow.create(path),
        lambda path: nofollow.mkdir(path),
        lambda path: nofollow.check(path),
        lambda path: nofollow.open_file(path, os.O_WRONLY | os.O_TRUNC),
        lambda path: nofollow.unlink(path),
        lambda path: nofollow.rmtree(path),
        lambda path: nofollow.rename(path, path.with_name("other")),
        lambda path: nofollow.rename(path.parents[2] / "mine", path),
    ],
)
def test_a_link_on_the_way_is_refused_and_named(tmp_path, outside, link, change):
    (tmp_path / "top").mkdir()
    (tmp_path / "top/mine").write_text("mine")
    (outside / "b").mkdir()
    (outside / "b/precious").write_text("precious")
    if link == "a":
        (tmp_path / "top/a").symlink_to(outside)
    else:
        (tmp_path / "top/a").mkdir()
        (tmp_path / "top/a/b").symlink_to(outside)
    before = everything(outside)
    assert str(tmp_path / "top" / link) in refusal(change, tmp_path / "top/a/b/precious")
    assert everything(outside) == before and (tmp_path / "top/mine").exists()


@pytest.mark.parametrize("plant", [lambda at, to: at.symlink_to(to), lambda at, to: at.hardlink_to(to)])
def test_a_file_that_is_a_link_is_replaced_and_its_target_keeps_its_bytes(tmp_path, outside, plant):
    path = tmp_path / "f"
    plant(path, outside / "precious")
    nofollow.write(path, "new")
    assert path.read_text() == "new" and not path.is_symlink() and (outside / "precious").read_text() == "precious"
    path.unlink()
    plant(path, outside / "precious")
    nofollow.create(path).close()
    assert path.read_bytes() == b"" and (outside / "precious").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "outside"]


def test_a_tree_is_deleted_without_what_its_links_lead_to(tmp_path, outside):
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/link").symlink_to(outside)
    (tmp_path / "link").symlink_to(outside)
    before = everything(outside)
    nofollow.rmtree(tmp_path / "tree")
    nofollow.rmtree(tmp_path / "link")
    nofollow.rmtree(tmp_path / "absent")
    assert everything(outside) == before and [p.name for p in tmp_path.iterdir()] == ["outside"]


def test_what_is_no_regular_file_is_not_opened(tmp_path, outside):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(outside / "precious")
    with pytest.raises(ToolFailure):  # at once: nobody reads that pipe
        nofollow.open_file(tmp_path / "pipe", os.O_WRONLY)
    with pytest.raises(ToolFailure, match="not a regular file"):
        nofollow.open_file(tmp_path / "pipe", os.O_RDWR)
    refusal(nofollow.open_file, tmp_path / "link", os.O_WRONLY)


def test_the_name_of_a_temporary_file_cannot_be_foreseen(tmp_path, outside, monkeypatch):
    names = []
    opened = os.open
    monkeypatch.setattr(os, "open", lambda name, *a, **k: names.append(str(name)) or opened(name, *a, **k))
    for _ in range(2):
        nofollow.write(tmp_path / "config.yaml", "x")
    first, second = (name for name in names if name.endswith(".tmp"))
    assert first != second and len(first) > len(".config.yaml.tmp") + 16


# -- the server's own writes


def plant(run: Run, folder: str, outside: Path) -> None:
    """The folder of the run becomes a link to a copy of it outside, so that all that is read there is still there."""
    path = run.path / folder
    if path.exists():
        path.rename(outside / "moved")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        (outside / "moved").mkdir()
    path.symlink_to(outside / "moved")


def _job(run: Run) -> jobs.Job:
    return jobs.start(
        run, "train", [sys.executable, "-c", "pass"], env=jobs.environment({}), makes=(), resting_on={}, files={}
    )


WRITES = [
    ("meta", lambda run: rundir.lock(run, "probe_model").__enter__()),
    ("meta", lambda run: ledger.append(run, "probe_model", {}, "ok")),
    ("meta", lambda run: sealed.write(run, "model", FACTS["model"])),
    ("meta/stages", lambda run: sealed.write(run, "stages/eval", FACTS["stages/eval"])),
    ("meta/jobs", _job),
    ("meta/jobs/train", _job),
    ("logs", _job),
    ("skills", rerun.emit),
    ("skills/run-m", rerun.emit),
    ("tests", lambda run: rundir.atomic_write(run.path / "tests/conftest.py", "x")),
    *(
        (folder, lambda run: stages.start(run, CONFIG, "infer"))
        for folder in ("reports", "reports/inference_samples", "logs", "checkpoints", "checkpoints/final", "data")
    ),
    (".probe", lambda run: streamed._prepare(run.path / ".probe/x", {})),
]


@pytest.mark.parametrize(("folder", "write"), WRITES, ids=lambda value: value if isinstance(value, str) else "")
def test_nothing_is_written_through_a_folder_that_is_a_link(run, outside, folder, write):
    plant(run, folder, outside)
    before = everything(outside)
    assert str(run.path / folder) in refusal(write, run)
    assert everything(outside) == before


def test_the_build_stage_too(run, outside):
    plant(run, "reports", outside)
    (run.path / "none.txt").write_text("")
    before = everything(outside)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envs, "ensure", lambda texts: {"python": "p", "reused": True})
        refusal(envs.main, run.path / "reports/build.json", run.path / "none.txt")
    assert everything(outside) == before


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_no_file_of_the_server_is_written_through_a_link(run, outside, link):
    names = (
        "config.yaml", "meta/model.json", "meta/jobs/train/job.lock", "meta/jobs/train/runner.err", "meta/jobs/train/spec.json",
        "meta/jobs/train/reserve", "meta/jobs/train/result.json", "meta/jobs/train/process.json", "logs/train.log", "logs/train.old.log",
        "PROGRESS.md",
    )  # fmt: skip
    config = CONFIG.model_copy(update={"emit_progress_log": True})
    run.save_config(config)
    for name in names:
        path = run.path / name
        text = path.read_bytes() if path.exists() else b"precious"
        victim = outside / name.replace("/", "-")
        victim.write_bytes(text)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        getattr(path, link)(victim)
    before = everything(outside)
    run.save_config(config)
    progress_log.update(run)
    sealed.write(run, "model", FACTS["model"])
    _job(run)
    deadline = time.monotonic() + 20
    while jobs.inspect(run, "train").state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert jobs.inspect(run, "train").state == "ended"
    assert everything(outside) == before


@pytest.mark.parametrize("name", ["meta/.lock", "meta/ledger.jsonl"])
def test_the_lock_and_the_ledger_are_no_links(run, outside, name):
    path = run.path / name
    victim = outside / "victim"
    victim.write_bytes(path.read_bytes() if path.exists() else b"precious")
    path.unlink(missing_ok=True)
    path.symlink_to(victim)
    before = everything(outside)

    def call() -> None:
        with recorded(run, "probe_model", {}):
            pass

    assert name in refusal(call) and everything(outside) == before
    path.unlink()
    path.hardlink_to(victim)
    call()
    assert everything(outside) == before and ledger.entries(run)[-1]["tool"] == "probe_model"


def test_a_refused_new_run_deletes_nothing_outside(tmp_path, outside):
    run = Run(tmp_path / "new")
    before = everything(outside)
    with pytest.raises(ToolFailure), recorded(run, "probe_model", {}):
        (run.path / "link").symlink_to(outside)
        raise ToolFailure("rejected", "no")
    assert not run.path.exists() and everything(outside) == before


def test_modes_do_not_depend_on_the_umask(tmp_path):
    before = os.umask(0)
    try:
        run = sealed.build(Run(tmp_path / "a/run"), until="stages/build")
        with rundir.lock(run, "probe_model"):
            pass
        _job(run)
        while jobs.inspect(run, "train").state == "running":
            time.sleep(0.02)
    finally:
        os.umask(before)
    modes = {p.relative_to(tmp_path): stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "a").rglob("*")}
    assert [str(path) for path, mode in modes.items() if mode & 0o022] == []
    own = {path: mode for path, mode in modes.items() if "meta" in path.parts}
    assert own and [str(path) for path, mode in own.items() if mode & 0o077] == []
    assert evidence.read(run, "model") is not None
