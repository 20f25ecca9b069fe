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
"""The harness: everything around the scripts beside this folder. It measures; leave it as it is.

Importing it sets up the environment, whatever a script imports before: where a variable came too late for a library
that reads it when it is loaded, the script is started once more, with the variable. tunegate starts its stages with
all of them.
"""

import json
import os
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
RENDERED = json.loads((FOLDER / "rendered.json").read_text(encoding="utf-8"))  # what differs from project to project
LIBRARIES = ("torch", "datasets", "huggingface_hub", "transformers")


def set_up():
    wanted = RENDERED["environment"] | ({} if sys.stdout.isatty() else RENDERED["environment_of_logs"])
    missing = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(missing)
    # Several GPUs are for torchrun, a process each. One process that sees them all would train with DataParallel,
    # which cannot divide labels that are lists of objects: it gets the first. (Read when CUDA is first used, not when
    # it is loaded.)
    if "WORLD_SIZE" not in os.environ:
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    if missing and is_script() and any(name in sys.modules for name in LIBRARIES):
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def is_script():
    """Whether a script of this project is what Python was started with: not pytest, not a notebook."""
    main = getattr(sys.modules["__main__"], "__file__", None)
    return main is not None and Path(main).resolve().parent == FOLDER.parent


set_up()
