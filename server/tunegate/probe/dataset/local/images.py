"""Folders of images as Tables: classes by folder or by a metadata file (imagefolder), pairs of image and mask (segfolder)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunegate.probe.dataset.columns import Feature, value_feature
from tunegate.probe.dataset.labels import Labels, count_some
from tunegate.probe.dataset.pictures import Picture, from_path
from tunegate.probe.dataset.table import N_ROWS, Rows, Table
from tunegate.readers import captions, image_folder, pairs
from tunegate.readers.tree import relative, spread

IMAGE = Feature("image", "Image")


def picture(path: Path, root: Path) -> Picture:
    return from_path(path, relative(path, root))


def imagefolder(path: Path, task: str) -> Table:
    """[split/]class/image, or images beside a metadata file. Class ids follow the sorted names, as in `datasets`."""
    found = image_folder.read(path)
    return _classes(path, found) if isinstance(found, image_folder.Classes) else _described(path, found)


def _classes(root: Path, found: image_folder.Classes) -> Table:
    def count(split: str, column: str) -> Labels | None:
        counts = Counter(name for name, _ in found.splits[split])
        return Labels(counts=counts, seen=counts.total(), complete=True) if column == "label" else None

    def read(split: str) -> Rows:
        images = found.splits[split]
        rows = [{"image": picture(image, root), "label": name} for name, image in spread(images, N_ROWS)]
        return Rows(rows, complete=len(images) <= N_ROWS, spread=True)

    def every(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        return ({"image": picture(image, root), "label": name} for name, image in found.splits[split])

    features = {"image": IMAGE, "label": Feature("class", f"ClassLabel({len(found.names)})", found.names)}
    counts = {split: len(images) for split, images in found.splits.items()}
    return Table("imagefolder", counts, features, read, count, every, listing=found.listing, warnings=found.warnings)


def _described(root: Path, found: image_folder.Described) -> Table:
    first = [row for rows in found.splits.values() for row in rows][:500]
    features = {
        found.images.get(name, name): IMAGE if name in found.images else value_feature([row.get(name) for row in first])
        for name in found.columns
    }

    def with_pictures(row: dict[str, Any]) -> dict[str, Any]:
        return {name: picture(value, root) if isinstance(value, Path) else value for name, value in row.items()}

    def read(split: str) -> Rows:
        rows = found.splits[split]
        sample = [with_pictures(found.row(row)) for row in spread(rows, N_ROWS)]
        return Rows(sample, complete=len(rows) <= N_ROWS, spread=True)

    def count(split: str, column: str) -> Labels | None:
        if column not in found.columns:
            return None
        return count_some((row.get(column) for row in found.splits[split]), features[column])

    def every(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        return map(with_pictures, found.rows(split))

    counts = {split: len(rows) for split, rows in found.splits.items()}
    names = pairs.class_names(root)
    return Table(
        "imagefolder", counts, features, read, count, every, listing=found.listing, warnings=found.warnings, names=names
    )


def captioned(path: Path, task: str) -> Table:
    """Images with a text of the same name beside each."""
    found = captions.read(path)

    def row(pair: tuple[Path, Path]) -> dict[str, Any]:
        return {"image": picture(pair[0], path), "text": captions.text_of(pair[1])}

    def read(split: str) -> Rows:
        group = found.splits[split]
        return Rows([row(pair) for pair in spread(group, N_ROWS)], complete=len(group) <= N_ROWS, spread=True)

    def every(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        return map(row, found.splits[split])

    counts = {split: len(group) for split, group in found.splits.items()}
    features = {"image": IMAGE, "text": Feature("string", "string")}
    return Table("captions", counts, features, read, every=every, listing=found.listing, warnings=found.warnings)


def segfolder(path: Path, task: str) -> Table:
    """images/ and masks/ (or depth/) with the same stems, split by folders above or below them."""
    column = "depth_map" if task == "depth-estimation" else "mask"
    return pairs_table("segfolder", path, column, *pairs.read(path, column))


def pairs_table(
    kind: str, root: Path, column: str, splits: dict[str, list[tuple[Path, Path]]], warnings: list[str]
) -> Table:
    """splits: split -> (image, its mask or depth map)."""

    def read(split: str) -> Rows:
        chosen = spread(splits[split], N_ROWS)
        rows = [{"image": picture(image, root), column: picture(target, root)} for image, target in chosen]
        return Rows(rows, complete=len(splits[split]) <= N_ROWS, spread=True)

    def every(split: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        return ({"image": picture(image, root)} for image, _ in splits[split])

    counts = {split: len(group) for split, group in splits.items()}
    names = pairs.class_names(root)
    features = {"image": IMAGE, column: IMAGE}
    return Table(
        kind,
        counts,
        features,
        read,
        every=every,
        listing=lambda: pairs.listing(splits, root),
        warnings=warnings,
        names=names,
    )
