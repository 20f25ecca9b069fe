from __future__ import annotations

import json

import pytest

from tests import sealed
from tunegate import __version__, cli
from tunegate.rundir import Run


@pytest.fixture
def run(tmp_path) -> Run:
    return sealed.build(Run(tmp_path / "out/run"), until="host")


def exit_code(*argv: str) -> int:
    with pytest.raises(SystemExit) as exited:
        cli.main(list(argv))
    return exited.value.code


def test_version_and_usage(capsys):
    assert exit_code("--version") == 0 and capsys.readouterr().out == f"tunegate {__version__}\n"
    assert exit_code() == 2 and exit_code("deploy") == 2 and exit_code("skill") == 2
    assert exit_code("demo", "--platform", "slurm") == 2


def test_gates_for_people(run, capsys):
    assert cli.main(["gates", str(run.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "open    1 qualify" and "closed  2 hardware" in lines
    assert any(line.split() == ["--", "image:", "has", "not", "been", "written", "yet"] for line in lines)
    assert lines[-1].startswith("next: pick_ngc_image")


def test_gates_as_json(run, capsys):
    assert cli.main(["gates", str(run.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [step["passed"] for step in found["steps"]] == [True, *[False] * 5] and not found["complete"]
    assert found["next"]["tool"] == "pick_ngc_image" and found["output_dir"] == str(run.path)


@pytest.mark.parametrize("where", ["nowhere", "/", "."])
def test_gates_of_what_is_no_run(where, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["gates", where]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("tunegate: ") and "Traceback" not in printed.err


def test_gates_of_a_broken_config(run, capsys):
    run.config_path.write_text("model_id: a/b\nfoo: 1\n")
    assert cli.main(["gates", str(run.path)]) == 1 and "'foo'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "http",
    [
        "8000",
        ":8000",
        "localhost",
        "localhost:",
        "127.0.0.1:http",
        "127.0.0.1:99999",
        "localhost:²",
        "0.0.0.0:8000",
        "example.org:8000",
    ],
)
def test_an_address_that_cannot_be_served(http, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tunegate.mcp_server.Server.run", lambda *a, **k: pytest.fail("it was served"))
    assert cli.main(["serve", "--root", str(tmp_path), "--http", http]) == 1
    assert "--http" in capsys.readouterr().err


def test_serve_takes_its_transport_and_its_roots(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr("tunegate.mcp_server.Server.run", lambda self, *a, **k: ran.append(k))
    assert cli.main(["serve", "--root", str(tmp_path)]) == 0
    assert cli.main(["serve", "--root", str(tmp_path), "--http", "127.0.0.1:8123"]) == 0
    assert ran == [{}, {"transport": "streamable-http", "host": "127.0.0.1", "port": 8123}]


def test_skill_install(tmp_path, capsys):
    assert cli.main(["skill", "install", "--to", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"installed: {tmp_path / 'tunegate'}\n"
    assert (tmp_path / "tunegate/SKILL.md").is_file()
    (tmp_path / "tunegate/mine.md").write_text("x")
    assert cli.main(["skill", "install", "--to", str(tmp_path)]) == 1 and "mine.md" in capsys.readouterr().err
