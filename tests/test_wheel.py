"""What `pip install tunegate` gives: the wheel in an environment of its own, run from an empty directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import anyio
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from tests.test_mcp_server import TOOLS
from tunegate.paths import checkout

PIP = ["-m", "pip", "--disable-pip-version-check", "-q"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, *PIP, "wheel", "--no-deps", "--wheel-dir", folder, checkout()]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """bin/ of an environment with the wheel alone; its dependencies are borrowed from this one."""
    home = tmp_path_factory.mktemp("env")
    venv.create(home, symlinks=True)
    python = home / "bin/python"
    site = subprocess.check_output([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True)
    subprocess.run([sys.executable, *PIP, "--python", python, "install", "--no-deps", wheel], check=True)
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (Path(site.strip()) / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return home / "bin"


def run(installed: Path, cwd: Path, *arguments: object) -> str:
    done = subprocess.run([installed / "tunegate", *map(str, arguments)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_wheel_holds_what_the_server_and_the_demo_read(wheel):
    import zipfile

    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("scaffolds", "references", "skill"):
        rows = [path for path in (checkout() / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        ours = {f"tunegate/_data/{folder}/{path.relative_to(checkout() / folder).as_posix()}" for path in rows}
        assert ours - names == set()
    package = checkout() / "server/tunegate"
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {f"tunegate/{path.relative_to(package).as_posix()}" for path in files} - names == set()


def test_what_the_probes_and_the_demo_import_is_a_dependency_and_not_an_extra(wheel):
    (found,) = metadata.distributions(path=[str(wheel)])
    plain = {line.split(">")[0] for line in found.requires if "extra ==" not in line}
    assert {"pyarrow", "pillow"} <= plain and found.metadata.get_all("Provides-Extra") == ["test"]


def test_the_command_and_the_skill_from_an_empty_directory(installed, tmp_path):
    assert run(installed, tmp_path, "--version").startswith("tunegate ")
    run(installed, tmp_path, "skill", "install", "--to", tmp_path / "skills")
    assert (tmp_path / "skills/tunegate/references/index.md").is_file()


def test_the_server_from_an_empty_directory(installed, tmp_path):
    where = subprocess.check_output(
        [installed / "python", "-c", "import tunegate; print(tunegate.__file__)"], cwd=tmp_path
    )
    assert str(installed.parent) in where.decode()
    server = StdioServerParameters(
        command=str(installed / "tunegate"), args=["serve"], cwd=tmp_path, env=dict(os.environ)
    )

    async def go():
        async with Client(server) as client:
            return [tool.name for tool in (await client.list_tools()).tools]

    assert anyio.run(go) == TOOLS


@pytest.mark.slow
def test_the_demo_from_an_environment_that_pip_made(wheel, tmp_path):
    """Nothing is borrowed: pip installs the wheel with its dependencies."""
    venv.create(tmp_path / "env", with_pip=True, symlinks=True)
    subprocess.run([tmp_path / "env/bin/python", *PIP, "install", wheel], check=True)
    (tmp_path / "empty").mkdir()
    cache = Path(os.environ.get("TUNEGATE_STAGE_PYTHON", tmp_path / "cache/tunegate/envs/x/bin/python")).parents[4]
    env = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    demo = [tmp_path / "env/bin/tunegate", "demo", "--platform", "local-process", "--output-dir", "demo"]
    done = subprocess.run(demo, cwd=tmp_path / "empty", env=env, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    gates = [tmp_path / "env/bin/tunegate", "gates", "demo", "--json"]
    assert json.loads(subprocess.check_output(gates, cwd=tmp_path / "empty", env=env))["complete"]
