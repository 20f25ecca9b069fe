"""A WebDataset on the embedded Hub, streamed on a real engine: an image without `datasets` gets it from wheels."""

from __future__ import annotations

import os

import pytest

from tests.probe.dataset import probe_dataset
from tests.probe.dataset.test_streamed import AGAIN, shards
from tests.tiny import hub, server  # noqa: F401
from tunegate.errors import ToolFailure
from tunegate.probe.dataset import streamed
from tunegate.probe.request import ProbeContainer

pytestmark = pytest.mark.slow  # needs a real engine: `make test-all`, as root with docker.io installed


def test_a_webdataset_in_a_container(engine, ngc_image, wheelhouse, server, hub, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("TUNEGATE_PROBE_IMAGE", ngc_image.name)
    monkeypatch.setenv("TUNEGATE_WHEELHOUSE", str(wheelhouse))
    monkeypatch.setattr(streamed, "WAIT_S", 300)
    place, task = ProbeContainer(tmp_path / "run", AGAIN), "image-classification"
    server.add_repo("dataset", "me/shards", shards())
    facts = probe_dataset(hub, dataset_id="me/shards", task=task, container=place)
    assert facts.read_through == "streamed in a container" and facts.splits == {"train": 60, "test": 6}
    assert facts.column_map == {"image": "png", "label": "cls"} and facts.rows_read == {"train": 60, "test": 6}
    assert facts.images.broken == 0 and facts.images.width == [60, 60, 400]
    [folder] = (tmp_path / "run/.probe").iterdir()
    assert {path.name for path in folder.iterdir()} == {"asked.json", "result.json", streamed.SCRIPT.name}
    assert {path.stat().st_uid for path in folder.iterdir()} == {os.getuid()}
    assert not engine.containers.list(all=True, filters={"label": f"tunegate.probe.dir={folder}"})
    server.add_repo("dataset", "me/bad", {"train-0.tar": bytes(3000)})
    with pytest.raises(ToolFailure, match="could not be loaded by `datasets` 5") as caught:
        probe_dataset(hub, dataset_id="me/bad", task=task, container=place)
    assert caught.value.code == "rejected"
