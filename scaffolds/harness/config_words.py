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
"""The words in config.yaml that train.py hands on, such as an optimizer's name: does the library know them? For
check_api.py.

A check: leave this file as it is.
"""

import ast
import importlib

import yaml

from harness.signatures import allowed_values
from harness.source import ROOT, close, member, parsed


def config_problems():
    try:
        found = arguments_class(parsed(ROOT / "train.py"))
    except Exception:  # reported where train.py imports it
        return []
    return list(check_config(ROOT / "config.yaml", found)) if found else []


def arguments_class(tree):
    """The class that train.py gives an `output_dir`: TrainingArguments, or a trainer's own."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    names = {call.func.id for call in calls if any(keyword.arg == "output_dir" for keyword in call.keywords)}
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    found = [
        (node.module, alias.name) for node in imports for alias in node.names if (alias.asname or alias.name) in names
    ]
    return member(importlib.import_module(found[0][0]), found[0][1]) if found else None


def check_config(path, arguments_class):
    """The words in config.yaml that train.py hands on."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    cfg = yaml.safe_load(text) or {}
    words = {"lr_scheduler_type": cfg.get("lr_scheduler_type"), **(cfg.get("training_arguments") or {})}
    for key, value in words.items():
        allowed = allowed_values(arguments_class, key) if isinstance(value, str) else None
        if allowed and value not in allowed:
            line = next((i for i, line in enumerate(text.splitlines(), 1) if line.strip().startswith(f"{key}:")), 1)
            yield {
                "file": path.name,
                "line": line,
                "call": arguments_class.__name__,
                "keyword": key,
                "suggestion": close(value, allowed),
                "message": f"{key} = {value!r} is not one of {', '.join(allowed)}"[:300],
            }
