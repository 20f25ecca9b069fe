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
"""Tables as Datasets: csv and jsonl by the probe's types, others by their own, saved ones as they lie there."""

from functools import partial
from pathlib import Path

import pyarrow
import pyarrow.parquet
from datasets import Dataset, DatasetInfo, Features, concatenate_datasets, load_dataset

from harness.features import as_feature, class_names
from harness.readers import tables, types


def of_files(files, root, images, kinds, hashes):
    suffix = files[0].suffix.lower()
    if suffix in tables.TABLES_OF_TEXT:
        return of_text(files, root, images, kinds, hashes)
    return of_typed({".parquet": "parquet", ".arrow": "arrow"}.get(suffix, "json"), files, root, images)


def of_saved(listed, split):
    """The rows that save_to_disk wrote, as they lie there: nothing of them is copied."""
    stored = concatenate_datasets([of_declared(file, listed.declared) for file in listed.splits[split]])
    if split not in listed.indices:
        return stored
    return stored.select(tables.row_numbers(listed.indices[split], len(stored)))


def of_declared(file, beside):
    """A file's rows; older versions of `datasets` wrote the names of classes beside it, not into it."""
    stored = Dataset.from_file(str(file))
    features = Features(
        {**stored.features, **Features.from_dict({name: beside[name] for name in stored.features if name in beside})}
    )
    return stored if features == stored.features else Dataset.from_file(str(file), info=DatasetInfo(features=features))


def of_text(files, root, images, kinds, hashes):
    """Rows of csv and jsonl, with the probe's types. In a csv file all is text: a class `None` or 007 is a name."""
    given = {"files": tuple(map(str, files)), "root": str(root), "kinds": kinds, "images": tuple(images)}
    features = Features({name: as_feature(kind) for name, kind in kinds.items()})
    stamps = tuple(hashes.items())  # of the cache: a file may change
    return Dataset.from_generator(text_rows, features, gen_kwargs={**given, "stamps": stamps})


def text_rows(files, root, kinds, images, stamps):
    for file in map(Path, files):
        for row in tables.rows_of(file):
            row = {name: types.fitted(row.get(name), kind) for name, kind in kinds.items()}
            yield row | {name: located(row[name], file, root) for name in images if is_path(row.get(name))}


def is_path(cell):
    return isinstance(cell, str) or isinstance(cell, list) and all(isinstance(one, str) for one in cell)


def of_typed(builder, files, root, images):
    """Files that say their own types. Text, or a list of texts, as images or masks is paths, relative to the file."""
    each = [declared(file) for file in files] if builder != "json" else [None]
    if any(class_names(one) != class_names(each[0]) for one in each):
        raise SystemExit(
            f"{files[0]} and the files beside it declare different classes, or in another order: write them again"
        )
    features = each[0]
    load = partial(load_dataset, builder, split="train", features=features)
    table = load(data_files=[str(file) for file in files])
    paths = [name for name in images if name in table.features and is_text(table.features[name])]
    if not paths:
        return table
    folders, parts = list(dict.fromkeys(file.parent for file in files)), []
    for folder in folders:
        here = [str(file) for file in files if file.parent == folder]
        part = load(data_files=here) if len(folders) > 1 else table
        for column in paths:
            given = {"column": column, "file": here[0], "root": str(root)}
            part = part.map(with_paths, input_columns=[column], fn_kwargs=given)
        parts.append(part)
    return concatenate_datasets(parts)


def declared(file):
    """The features of a parquet or an arrow file: of `datasets`' own where it wrote them down."""
    if file.suffix.lower() == ".parquet":
        return Features.from_arrow_schema(pyarrow.parquet.read_schema(file))
    with pyarrow.memory_map(str(file)) as mapped:
        try:
            schema = pyarrow.ipc.open_stream(mapped).schema
        except pyarrow.ArrowInvalid:
            mapped.seek(0)
            schema = pyarrow.ipc.open_file(mapped).schema
    return Features.from_arrow_schema(schema)


def is_text(feature):
    return getattr(getattr(feature, "feature", feature), "dtype", None) in ("string", "large_string")


def with_paths(cell, column, file, root):
    return {column: located(cell, Path(file), root)}


def located(cell, file, root):
    if isinstance(cell, list):
        return [located(one, file, root) for one in cell]
    return str(tables.image_path(cell, file, Path(root))) if cell else cell
