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
"""Readers of local datasets: for the probe, and for a rendered project, which has a copy of them in harness/readers/.

A reader says which files belong to which split and what is left out and why; its rows are plain values, images
are paths.
It needs Python 3.10 and the standard library (PyYAML for YOLO's data.yaml, pyarrow for parquet and arrow), and imports
nothing of what uses it.
"""
