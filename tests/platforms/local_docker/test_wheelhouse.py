"""What needs no engine of `tunegate wheelhouse`; tests/engine/test_build_real.py fills some."""

from __future__ import annotations

import configparser
import os
import stat
from pathlib import Path

import pytest

from tests import sealed
from tunegate.clients import network
from tunegate.clients.docker.engine import Engine
from tunegate.errors import ToolFailure
from tunegate.platforms.local_docker import wheelhouse
from tunegate.rundir import Run

CONFIG = sealed.CONFIG.model_copy(
    update={"platform": "local-docker", "ngc_image": "a/b:1", "ngc_image_digest": "sha256:5"}
)


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch):
    for name in (*wheelhouse.INDEX, *wheelhouse.CA_BUNDLES, *network.PROXIES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(tmp_path) -> Run:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/requirements.txt").write_text("tinypackage==1.2.3\n")
    return Run(tmp_path / "run")


@pytest.mark.parametrize(
    "name", ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CERT", "SSL_CERT_FILE"]
)
def test_what_the_user_says_of_packages(monkeypatch, name):
    assert not wheelhouse.index_given()
    monkeypatch.setenv(name, "x")
    assert wheelhouse.index_given()


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("", "default"),
        ("https://index.example/simple", "default"),
        ("http://me:pw@127.0.0.1:8080/simple", "host"),
        ("https://a.example http://[::1]:3128", "host"),
        ("localhost:3128", "host"),
    ],
)
def test_loopback_is_this_machines(monkeypatch, value, wanted):
    monkeypatch.setenv("HTTPS_PROXY", value)
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")  # names no proxy
    assert network.network_for(*network.PROXIES) == wanted


def test_pips_settings_as_a_file_of_our_own(run, tmp_path, monkeypatch):
    """What pip reads in the container: no environment, which `docker inspect` shows, holds the password."""
    (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:pa%40ss@index.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://one.example/simple https://two.example/simple")
    monkeypatch.setenv("PIP_TRUSTED_HOST", "index.example")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.crt"))
    work = tmp_path / "work"
    work.mkdir()
    wheelhouse._prepare(work, run)
    found = configparser.RawConfigParser()  # as pip reads it
    found.read(work / "pip.conf")
    assert dict(found["global"]) == {
        "index-url": "https://me:pa%40ss@index.example/simple",
        "extra-index-url": "https://one.example/simple\nhttps://two.example/simple",
        "trusted-host": "index.example",
        "cert": "/workspace/ca.pem",
    }
    assert stat.S_IMODE(os.stat(work / "pip.conf").st_mode) == 0o600
    assert (work / "ca.pem").read_text() == "-----BEGIN CERTIFICATE-----\n"
    assert (work / "requirements.txt").read_text() == "tinypackage==1.2.3\n"


def test_a_ca_bundle_that_is_not_there(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "absent.pem"))
    with pytest.raises(ToolFailure, match="absent.pem"):
        wheelhouse._prepare(tmp_path, run)


def test_where_wheels_may_go(run, tmp_path):
    nobody = Engine(None, "unix:///nowhere")  # not asked: the refusal comes first
    (tmp_path / "full").mkdir()
    (tmp_path / "full/old.whl").touch()
    for dest in (tmp_path / "full", tmp_path / "full/old.whl"):
        with pytest.raises(ToolFailure, match="not an empty directory") as refused:
            wheelhouse.fill(nobody, run, CONFIG, dest)
        assert refused.value.code == "invalid_input"
    with pytest.raises(ToolFailure, match="pick_ngc_image"):
        wheelhouse.fill(nobody, run, sealed.CONFIG.model_copy(update={"ngc_image": None}), tmp_path / "new")


def test_a_wheelhouse_is_a_directory_with_wheels(tmp_path):
    with pytest.raises(ToolFailure, match="holds no wheels"):
        wheelhouse.given(tmp_path / "absent")
    (tmp_path / "b.whl").touch()
    (tmp_path / "a.txt").touch()
    assert wheelhouse.given(tmp_path) == [Path(tmp_path / "b.whl")]
