"""Datasets from probe to prepared rows: probed here, then prepared one after the other by one process of a rendered project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.probe.dataset import probe_dataset
from tests.scaffolds.conftest import make_project
from tunegate.clients.hub import Hub
from tunegate.errors import ToolFailure

PREPARE = """
import contextlib, io, json, pathlib, sys
import prepare_data
from harness import local_data, project
given = json.load(open("cases.json"))
base, found = project.load_config(), {}
for name, (values, code) in given.items():
    cfg = {**base, **values}
    local_data.MANIFEST = pathlib.Path(f"manifests/{name}.json").resolve()
    prepare_data.load_config = lambda: cfg
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            prepare_data.main()
        rows = [row for split in ("train", "eval") for row in project.load_split(split)]
        scope = {"rows": rows, "meta": project.load_meta(), "cfg": cfg, "project": project}
        exec(code, scope)
        found[name] = scope["found"]
    except SystemExit as refusal:
        found[name] = {"refused": str(refusal)}
print(json.dumps(found, default=str))
"""


class Walk:
    """Cases of one task: probed when they are added, prepared together by `prepared`."""

    def __init__(self, folder: Path, python: str, task: str, method: str | None = None, **values: Any):
        more = {"training_method": method} if method else {}
        self.project = make_project(folder, python, task=task, **more, **values)
        (folder / "manifests").mkdir()
        self.task, self.method, self.cases = task, method, {}

    def probe(self, name: str, path: Path, code: str = "found = meta", **asked: Any) -> Any:
        """The probe's facts, or its refusal as text. code: leaves in `found` what `prepared` answers; sees rows and meta."""
        try:
            facts = probe_dataset(
                Hub("http://127.0.0.1:9"), local_path=str(path), task=self.task, method=self.method, **asked
            )
        except ToolFailure as failure:
            return f"{failure.code}: {failure}"
        (self.project.path / f"manifests/{name}.json").write_text(facts.manifest)
        values = {
            **facts.for_config(),
            "column_map": facts.column_map,
            "column_reshape": facts.column_reshape,
            "class_names": facts.class_names,
            "train_split": facts.train_split,
            "eval_split": facts.eval_split,
            "local_dataset_path": facts.local_path,
            "local_dataset_format": facts.local_format,
        }
        self.cases[name] = (values, code)
        return facts

    def prepared(self) -> dict[str, Any]:
        (self.project.path / "cases.json").write_text(json.dumps(self.cases))
        return json.loads(self.project.ok("-c", PREPARE).splitlines()[-1])
