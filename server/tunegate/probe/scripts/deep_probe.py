"""Runs inside the probe's container, in .probe/: what the transformers there makes of repo/config.json.

    python -I deep_probe.py KEY [--install REQUIREMENT [pip's own options]]

Writes result.json: {"key", "python", "transformers", "model_type", "config_class", "auto": {auto class: [class]}}, or
{"key", "transformers", "error"}. Exit code 3: there is no transformers here. No weights, no torch, no code of the repository.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys


def main(key: str, *install: str) -> int:
    own = {**os.environ, "PYTHONUSERBASE": os.path.abspath("site")}  # beside what the image has, which pip may keep
    own.pop("PYTHONNOUSERSITE", None)
    if install:
        pip = [sys.executable, "-m", "pip", "install", "--user", "--quiet", "--no-cache-dir", *install[1:]]
        if (code := subprocess.call(pip, env=own)) != 0:
            return code
        site = subprocess.run([sys.executable, "-m", "site", "--user-site"], env=own, capture_output=True, text=True)
        sys.path.insert(0, site.stdout.strip())
    try:
        import transformers
    except ImportError:
        return 3
    found = {"key": key, "python": platform.python_version(), "transformers": transformers.__version__}
    try:
        found |= built()
    except Exception as error:  # whatever a config can do to AutoConfig is its verdict
        found["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    with open("result.tmp", "w") as file:
        json.dump(found, file)
    os.replace("result.tmp", "result.json")
    return 0


def built() -> dict:
    from transformers import AutoConfig
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.auto_factory import _BaseAutoModelClass

    config = AutoConfig.from_pretrained("repo", trust_remote_code=False, local_files_only=True)
    auto = {}
    for name, kind in vars(modeling_auto).items():
        if isinstance(kind, type) and issubclass(kind, _BaseAutoModelClass) and kind._model_mapping is not None:
            if classes := kind._model_mapping._model_mapping.get(config.model_type):
                auto[name] = list(classes) if isinstance(classes, (tuple, list)) else [classes]
    return {"model_type": config.model_type, "config_class": type(config).__name__, "auto": auto}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
