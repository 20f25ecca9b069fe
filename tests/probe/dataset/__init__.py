from __future__ import annotations

from typing import Any

from tunegate.clients.hub import Hub
from tunegate.probe import dataset
from tunegate.probe.dataset.facts import DatasetFacts
from tunegate.probe.request import DatasetRequest


def probe_dataset(hub: Hub, **asked: Any) -> DatasetFacts:
    """As probe_dataset, with the fields of its request as arguments."""
    return dataset.probe_dataset(hub, DatasetRequest(**asked))
