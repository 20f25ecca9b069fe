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
"""The types of columns, as `datasets` calls them."""

from datasets import ClassLabel, Features, Json, List, Value

SCALARS = {"null": "string", "bool": "bool", "int": "int64", "float": "float64", "string": "string"}


def as_feature(kind):
    """A type of readers/types.py -> the feature of `datasets`."""
    if kind == "json":
        return Json()
    if isinstance(kind, str):
        return Value(SCALARS[kind])
    if "list" in kind:
        return List(as_feature(kind["list"]))
    return {name: as_feature(one) for name, one in kind["struct"].items()}


def object_features(names, outlined=False):
    objects = {
        "bbox": List(List(Value("float64"))),
        "category": List(ClassLabel(names=list(names))),
        "iscrowd": List(Value("int64")),
    }
    if outlined:
        objects["segmentation"] = List({"counts": Value("string"), "size": List(Value("int64"))})
    return Features({"image": Value("string"), "width": Value("int64"), "height": Value("int64"), "objects": objects})


def panoptic_features(names):
    segment = {"id": Value("int64"), "category_id": ClassLabel(names=names), "iscrowd": Value("int64")}
    return Features({"image": Value("string"), "mask": Value("string"), "segments_info": List(segment)})


def class_names(feature):
    """The names of each class column in it, in the order of their ids."""
    if isinstance(feature, ClassLabel):
        return [feature.names]
    if isinstance(feature, dict):
        return [names for inner in feature.values() for names in class_names(inner)]
    return class_names(feature.feature) if hasattr(feature, "feature") else []
