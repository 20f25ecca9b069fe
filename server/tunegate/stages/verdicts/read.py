"""What verdicts read of what a stage left."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from tunegate.rundir import Run


def read_json(run: Run, name: str) -> Any:
    return json.loads(run.at(name).read_text())


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and value > 0
