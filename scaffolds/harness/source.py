# Copyright (c) 2026, NVIDIA CORPORATION.  All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The project's own modules as their source says them, and words that are nearly others: for check_api.py.

A check: leave this file as it is.
"""

import ast
import difflib
import importlib
import importlib.metadata
import sys
from functools import cache
from pathlib import Path

from harness.signatures import UNKNOWN, Local, bindings, within_scope

ROOT = Path(__file__).resolve().parents[1]


class Module(dict):
    """{name: what it is bound to} of a file of this project. A type of its own:
    matplotlib.rcParams is a dictionary too."""


def project_modules(paths):
    """Module name -> Module of the project's own files, from their source. A package holds its modules."""
    modules = {}
    for path in paths:
        bound = dict(
            pair for statement in parsed(path).body for node in within_scope(statement) for pair in bindings(node)
        )
        for value in bound.values():
            if isinstance(value, Local) and isinstance(value.node, ast.ClassDef):
                value.bases = [inherited(base, bound) for base in value.node.bases]
        known = {name: value if isinstance(value, Local) else UNKNOWN for name, value in bound.items()}
        modules[module_name(path)] = Module(known)
    for name, module in modules.items():
        package, _, last = name.rpartition(".")
        if package in modules:
            modules[package].setdefault(last, module)
    return modules


def module_name(path):
    """harness/rows.py -> harness.rows; tests/ is no package."""
    path = path.relative_to(ROOT)
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if path.name == "__init__.py" else parts[-1:] if parts[0] == "tests" else parts)


def inherited(base, bound):
    """The class that a name after `class X(` stands for in its module: its own, an installed one, or UNKNOWN."""
    found = bound.get(base.id) if isinstance(base, ast.Name) else None
    if not isinstance(found, ast.ImportFrom):
        return found if isinstance(found, Local) else UNKNOWN
    try:
        alias = next(alias for alias in found.names if (alias.asname or alias.name) == base.id)
        return member(importlib.import_module(found.module), alias.name)
    except Exception:  # reported where the import itself is checked
        return UNKNOWN


def member(module, name):
    """module.name, or its submodule. Raises AttributeError."""
    if isinstance(module, Module):
        if name not in module:
            raise AttributeError(name)
        return module[name]
    try:
        return getattr(module, name)
    except AttributeError:
        try:
            return importlib.import_module(f"{module.__name__}.{name}")
        except ModuleNotFoundError:
            raise AttributeError(name) from None


def parsed(path):
    try:
        return ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    except SyntaxError:  # reported where the file is checked
        return ast.Module(body=[], type_ignores=[])


def attributes_set(paths):
    """Every attribute that the project sets, of whatever."""
    return {
        node.attr
        for tree in map(parsed, paths)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }


def made(symbol):
    return symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()


@cache
def installed():
    return sorted({*importlib.metadata.packages_distributions(), *sys.stdlib_module_names})


def close(name, names):
    """The most similar names; those that begin with it count even where they are much longer."""
    names = sorted(map(str, names))
    longer = [other for other in names if len(name) > 3 and other.startswith(name)]
    return ", ".join(dict.fromkeys([*longer, *difflib.get_close_matches(name, names, n=3, cutoff=0.7)][:3]))


def slip(name, names):
    """Whether it looks like one of these names, mistyped."""
    return bool(difflib.get_close_matches(name, [*map(str, names)], n=1, cutoff=0.85))


def reason(error):
    return f"{type(error).__name__}: {error}"[:300]


def versions(paths):
    """{distribution: version} of the packages that the project imports."""
    distributions, found = importlib.metadata.packages_distributions(), {}
    for path in paths:
        for node in ast.walk(parsed(path)):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for name in names:
                for distribution in distributions.get(name.split(".")[0], []):
                    found[distribution.lower()] = importlib.metadata.version(distribution)
    return dict(sorted(found.items()))
