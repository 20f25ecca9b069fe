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
"""The one error that a reader raises."""

from __future__ import annotations


class Refusal(Exception):
    """What lies there cannot be read as a dataset: what happened, where, and what to do.

    code: rejected, ambiguous (a person must choose), invalid_input (a wrong argument), or unavailable (pyarrow is
    missing).
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code
