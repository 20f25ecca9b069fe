"""Real virtual environments, of a package that is built here: nothing is fetched. One is made once for the whole file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile

import pytest

from tunegate.platforms.local_process import envs


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> str:
    """A requirement line: a wheel of one module, `tinypackage`."""
    path = tmp_path_factory.mktemp("wheel") / "tinypackage-1.2.3-py3-none-any.whl"
    info = "tinypackage-1.2.3.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tinypackage.py", "ANSWER = 42\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: TinyPackage\nVersion: 1.2.3\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return f"{path}\n"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def same_cache(cache, own_home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def build(tmp_path, name: str, *requirements: str) -> subprocess.Popen:
    """The build stage's own command, in a process of its own."""
    files = []
    for number, text in enumerate(requirements):
        files.append(tmp_path / f"{name}-{number}.txt")
        files[-1].write_text(text)
    argv = [
        sys.executable,
        "-m",
        "tunegate.platforms.local_process.envs",
        tmp_path / f"{name}.json",
        tmp_path / "none",
        *files,
    ]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ})


@pytest.fixture(scope="module")
def built(wheel, cache, tmp_path_factory) -> list[tuple[dict, str]]:
    """(report, output) of two runs that needed the same new environment at the same time."""
    where = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        both = {name: build(where, name, "", wheel) for name in ("one", "two")}
        said = {name: process.communicate()[0] for name, process in both.items()}
    assert [process.returncode for process in both.values()] == [0, 0], said
    return [(json.loads((where / f"{name}.json").read_text()), said[name]) for name in both]


def test_two_at_once_make_it_once(built):
    first, second = sorted((report for report, _ in built), key=lambda report: report["reused"])
    assert (first["reused"], second["reused"]) == (False, True) and first["python"] == second["python"]
    assert sorted("creating" in said for _, said in built) == [False, True]


def test_the_report_says_what_is_installed(built):
    report = built[0][0]
    assert report["packages"]["tinypackage"] == "1.2.3" and report["python_version"] == sys.version.split()[0]
    code = "import tinypackage, sys; print(tinypackage.ANSWER, sys.prefix)"
    said = subprocess.run([report["python"], "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == "42" and report["python"].startswith(said[1])  # its own interpreter, not the server's
    assert "mcp" not in report["packages"]


def test_it_is_reused_and_another_text_is_another_environment(built, wheel, monkeypatch):
    monkeypatch.setattr(envs, "_create", lambda *_: pytest.fail("made again"))
    assert envs.ensure(["", wheel])["reused"]
    with pytest.raises(pytest.fail.Exception, match="made again"):
        envs.ensure(["", wheel + "# other"])


def test_one_whose_interpreter_is_gone_is_made_again(built, wheel, cache, monkeypatch):
    made = []
    home = next(cache.glob("tunegate/envs/*/bin")).parent
    python = home / "bin/python"
    real = os.readlink(python)

    def create(where, python, requirements):
        made.append(where)
        python.symlink_to(real)

    monkeypatch.setattr(envs, "_create", create)
    python.unlink()
    found = envs.ensure(["", wheel])
    assert made == [home] and not found["reused"] and found["packages"]["tinypackage"] == "1.2.3"


def test_a_failure_leaves_nothing_that_counts_as_ready(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    process = build(tmp_path, "bad", "/no/such/package-1.0-py3-none-any.whl\n")
    said = process.communicate()[0]
    assert process.returncode == 1 and "installing the stage environment failed" in said and "/no/such/package" in said
    assert not (tmp_path / "bad.json").exists() and list((tmp_path / "cache").rglob("ready")) == []


def test_edited_requirements_leave_what_measures_an_environment_as_rendered(built, wheel, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    made = []

    def create(where, python, requirements):
        made.append(requirements)
        python.parent.mkdir(parents=True)
        python.symlink_to(sys.executable)

    monkeypatch.setattr(envs, "_create", create)
    (tmp_path / "as-rendered").mkdir()
    for name, text, rendered in (("a.txt", "", ""), ("b.txt", wheel + "# another wheel\n", wheel)):
        (tmp_path / name).write_text(text)
        (tmp_path / "as-rendered" / name).write_text(rendered)
    files = (tmp_path / "a.txt", tmp_path / "b.txt")
    assert envs.main(tmp_path / "report.json", tmp_path / "as-rendered", *files) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert made == [["", wheel + "# another wheel\n"]]
    assert report["measures"]["python"] == built[0][0]["python"] != report["python"]
