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
"""Does every .py of this project begin with the copyright header? It runs while an image is built, and needs nothing
but Python.

python -m harness.headers
"""

import itertools
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER = "".join(
    itertools.takewhile(lambda line: line.startswith("#"), Path(__file__).read_text(encoding="utf-8").splitlines(True))
)


def code_files():
    """Every .py of this project: the scripts, harness/ and tests/."""
    return sorted([*ROOT.glob("*.py"), *ROOT.glob("harness/**/*.py"), *ROOT.glob("tests/*.py")])


def main():
    files = code_files()
    wrong = [path for path in files if not path.read_text(encoding="utf-8", errors="replace").startswith(HEADER)]
    if wrong:
        print(f"without the copyright header: {', '.join(path.relative_to(ROOT).as_posix() for path in wrong)}")
        return 1
    print(f"{len(files)} files begin with the copyright header")
    return 0


if __name__ == "__main__":
    sys.exit(main())
