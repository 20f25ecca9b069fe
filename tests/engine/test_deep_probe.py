"""The deep probe on a real engine: an image without transformers gets it from wheels, all inside .probe/."""

from __future__ import annotations

import os

import pytest

from tests.probe.model.test_deep import AUTO, CONFIG
from tunegate.probe.model import deep

pytestmark = pytest.mark.slow  # half a minute of pip


def test_the_real_autoconfig_in_a_container(engine, ngc_image, wheelhouse, tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEGATE_PROBE_IMAGE", ngc_image.name)
    monkeypatch.setenv("TUNEGATE_WHEELHOUSE", str(wheelhouse))
    seen = deep.inspect(tmp_path, CONFIG, wait_s=300)
    assert seen.config_class == "ViTConfig" and seen.auto.items() >= AUTO.items()
    assert seen.contradiction("AutoModelForImageClassification", ["ViTForImageClassification"]) is None
    assert [path.name for path in tmp_path.iterdir()] == [".probe"]
    [folder] = (tmp_path / ".probe").iterdir()
    assert not (folder / "site").exists() and {path.stat().st_uid for path in folder.iterdir()} == {os.getuid()}
    assert not engine.containers.list(all=True, filters={"label": f"tunegate.probe.dir={folder}"})
