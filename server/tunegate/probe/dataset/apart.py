"""The probe of a local dataset, in a process of its own: its memory and time are bounded by the size of the files."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

from tunegate.errors import Failure, ToolFailure
from tunegate.probe import bounded
from tunegate.probe.dataset.facts import DatasetFacts
from tunegate.probe.request import DatasetRequest

LEAST_MEMORY, MOST_MEMORY = 1 << 30, 8 << 30  # bytes; what no file asks for: libraries, a picture of the largest size
OF_FILES = 4  # bytes of memory for each byte of the files
LEAST_SECONDS, MOST_SECONDS = 120, 3600
BYTES_A_SECOND, FILES_A_SECOND = 2_000_000, 200
MAX_COUNTED = 500_000  # files whose sizes are added up
CODE = """
from tunegate.probe.dataset import apart
print(apart.answer(given["request"]))
"""


def probe(request: DatasetRequest) -> DatasetFacts:
    """As probe_dataset. Raises ToolFailure(rejected) too where the files unpack to more than their size allows."""
    sizes = [size_of(Path(path).expanduser()) for path in (request.local_path, request.local_eval_path) if path]
    files, size = (sum(part) for part in zip(*sizes, strict=True))
    memory = min(MOST_MEMORY, LEAST_MEMORY + OF_FILES * size)
    seconds = min(MOST_SECONDS, LEAST_SECONDS + size // BYTES_A_SECOND + files // FILES_A_SECOND)
    model = request.model_facts.model_dump(mode="json") if request.model_facts else None
    asked = {**asdict(replace(request, model_facts=None, container=None)), "model_facts": model}
    ended = bounded.run(CODE, {"request": asked}, memory, seconds)
    if ended.why:
        beyond = {"memory": f"more than {memory / 1e9:.1f} GB of memory", "time": f"more than {seconds} s"}
        took = beyond.get(ended.why, "a process that ended without an answer, as one does that is out of memory")
        raise ToolFailure(
            "rejected",
            f"local_dataset_path = {request.local_path!r}: reading a sample of its {size / 1e6:,.1f} MB took {took}: a file in it unpacks "
            "to far more than it holds, or is damaged; write it again from its source, without what is too large, or remove it",
        )
    if "failure" in ended.value:
        failure = Failure.model_validate(ended.value["failure"])
        raise ToolFailure(**{name: getattr(failure, name) for name in Failure.model_fields})
    return DatasetFacts.model_validate(ended.value["facts"] | {"manifest": ended.value["manifest"]})


def answer(request: dict) -> str:
    """In the other process: the facts, or the refusal, as a line of JSON."""
    import json

    from tunegate.clients.hub import Hub
    from tunegate.probe import dataset
    from tunegate.probe.model import ModelFacts

    model = request["model_facts"]
    asked = DatasetRequest(**{**request, "model_facts": ModelFacts.model_validate(model) if model else None})
    try:
        facts = dataset.probe_dataset(Hub("http://127.0.0.1:9"), asked)
    except ToolFailure as refused:
        return json.dumps({"failure": refused.failure.model_dump(mode="json")})
    return json.dumps(
        {"facts": facts.model_dump(mode="json"), "manifest": facts.manifest}
    )  # which is no part of a dump


def size_of(path: Path) -> tuple[int, int]:
    """(files, their bytes) of a file or a folder; links are not followed."""
    if path.is_file():
        return 1, path.stat().st_size
    names = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    sizes = [os.lstat(name).st_size for name in islice(names, MAX_COUNTED) if os.path.lexists(name)]
    return len(sizes), sum(sizes)
