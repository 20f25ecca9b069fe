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
"""The hash by which a file's content is known: of all its bytes or, of a very large file, of a sample of them."""

from __future__ import annotations

import hashlib
from typing import IO

WHOLE_BYTES = 2 * 2**30  # a larger file is known by its size and by BLOCKS blocks of BLOCK_BYTES of it, evenly spread
BLOCKS, BLOCK_BYTES = 256, 2**20


def sha256_of(file: IO[bytes], size: int) -> str:
    """SHA-256 of an open file's bytes, or `sample:` and that of its size and sample."""
    if size > WHOLE_BYTES:
        sample = hashlib.sha256(str(size).encode())
        for number in range(BLOCKS):
            file.seek(number * (size - BLOCK_BYTES) // (BLOCKS - 1))
            sample.update(file.read(BLOCK_BYTES))
        return f"sample:{sample.hexdigest()}"
    digest = hashlib.sha256()
    while piece := file.read(BLOCK_BYTES):
        digest.update(piece)
    return digest.hexdigest()
