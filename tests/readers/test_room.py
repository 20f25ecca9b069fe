"""The room is a package of every rendered project, too: what each of its files must be for that."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tunegate import readers
from tunegate.paths import data_dir

FILES = sorted(Path(readers.__file__).parent.glob("*.py"))
IN_A_STAGE = {"pyarrow", "PIL", "yaml"}  # beside the standard library, in the environment of every task


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_can_be_copied_into_a_project(path):
    text = path.read_text()
    assert text.startswith((data_dir("scaffolds") / "_shared/header.txt").read_text())
    tree = ast.parse(text, feature_version=(3, 10))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom)) and not getattr(node, "level", 0)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported <= {*sys.stdlib_module_names, *IN_A_STAGE}
    assert len(text.splitlines()) < 400
