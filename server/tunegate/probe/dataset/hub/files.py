"""A Hub dataset through its own files, where the viewer is no help: parquet by range, heads of csv and jsonl, image folders."""

from __future__ import annotations

import csv
import fnmatch
import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tunegate.clients.hub import Hub, RepoInfo
from tunegate.errors import ToolFailure
from tunegate.probe.dataset.columns import Feature, value_feature
from tunegate.probe.dataset.hub.parquet_range import Fetch, features_of, footer, some_rows
from tunegate.probe.dataset.labels import Labels
from tunegate.probe.dataset.local.files import spread_groups, with_pictures
from tunegate.probe.dataset.pictures import MAX_BYTES, Picture
from tunegate.probe.dataset.table import Rows, Table
from tunegate.readers.splits import KEYWORDS, doubts, of_images, of_tables
from tunegate.readers.tree import EXTENSIONS, Listing, is_leftover, spread

MAX_FOOTERS = 8
TABLE_HEAD = 1 << 20  # bytes of a csv or jsonl file that are read
N_IMAGES = 100
ROWS = (".parquet", ".csv", ".json", ".jsonl", ".arrow", ".zip", ".tar", ".gz", ".tgz", ".txt")
TEXT_SUFFIXES = (".jsonl", ".csv", ".json")


class NoReader(Exception):
    """The repository's files are none that can be read by range."""

    def __init__(self, configs: list[str], config: str, config_reason: str):
        self.configs, self.config, self.config_reason = configs, config, config_reason


@dataclass
class HubTable:
    table: Table
    configs: list[str]
    config: str | None
    config_reason: str
    read_through: str


def dicts(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def choose_config(info: RepoInfo, configs: list[str], asked: str | None) -> tuple[str, str]:
    """(config, why). Raises invalid_input and ambiguous with the list."""
    shown = ", ".join(configs[:20]) + (f" and {len(configs) - 20} more" if len(configs) > 20 else "")
    if asked is not None:
        if asked not in configs:
            raise ToolFailure("invalid_input", f"dataset_config = {asked!r} does not exist: {info.id!r} has {shown}")
        return asked, "it was named"
    if len(configs) == 1:
        return configs[0], "it is the only one"
    if "default" in configs:
        return "default", f"it is the default one of {len(configs)}"
    raise ToolFailure(
        "ambiguous",
        f"dataset_id = {info.id!r} has {len(configs)} configurations ({shown}): ask the user, then pass "
        f"e.g. dataset_config={configs[0]!r}",
    )


def through_files(hub: Hub, info: RepoInfo, asked: str | None) -> HubTable:
    """Raises NoReader, and ToolFailure: rejected (empty, unreadable), ambiguous or invalid_input (config)."""
    data = sorted(
        name
        for name in info.files
        if name.lower().endswith((*ROWS, *EXTENSIONS)) and not any(map(is_leftover, name.split("/")))
    )
    if not data:
        raise ToolFailure(
            "rejected",
            f"dataset_id = {info.id!r} is empty (no data files among its {len(info.files)} files): choose another dataset",
        )
    declared = {
        row["config_name"]: row for row in dicts(info.card.get("configs")) if isinstance(row.get("config_name"), str)
    }
    config, reason = choose_config(info, list(declared) or ["default"], asked)
    groups, warnings = _declared(declared.get(config, {}), data), []
    if not groups:
        groups, warnings = _by_name(data)
    names = [name for group in groups.values() for name in group]
    parquet = {
        split: found
        for split, group in groups.items()
        if (found := [n for n in group if n.lower().endswith(".parquet")])
    }
    images = [name for name in names if name.lower().endswith(EXTENSIONS)]
    text = {
        split: found
        for split, group in groups.items()
        if (found := [n for n in group if n.lower().endswith(TEXT_SUFFIXES)])
    }
    if parquet:
        table = _parquet(hub, info, parquet)
    elif images and len(images) == len(names):
        table = _images(hub, info, groups)
    elif text and not images:
        table = _text(hub, info, text)
    else:
        raise NoReader(list(declared) or ["default"], config, reason)
    table.warnings += warnings
    return HubTable(table, list(declared) or ["default"], config, reason, "files")


def _by_name(names: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """(split -> files, what their names leave open), by the rules for local files: readers/splits.py."""
    pictures = all(name.lower().endswith(EXTENSIONS) for name in names)
    assigned: dict[str, str | None] = of_images(names) if pictures else of_tables(names)
    groups: dict[str, list[str]] = {}
    for name, split in assigned.items():
        if split:
            groups.setdefault(split, []).append(name)
    return groups, doubts(assigned, "images" if pictures else "files")


def _rows_listing(groups: dict[str, list[str]]) -> Listing:
    files = [name for group in groups.values() for name in group]
    return Listing(Path(), {"kind": "rows", "saved": False, "types": None, "splits": groups}, files)


def _declared(config: dict[str, Any], names: list[str]) -> dict[str, list[str]]:
    """split -> files, as the card's `data_files` say it; empty where they do not."""
    found: dict[str, list[str]] = {}
    listed = config.get("data_files")
    for entry in listed if isinstance(listed, list) else [listed] if listed else []:
        entry = entry if isinstance(entry, dict) else {"path": entry}
        patterns = entry.get("path") if isinstance(entry.get("path"), list) else [entry.get("path")]
        matching = [n for n in names if any(fnmatch.fnmatchcase(n, str(pattern)) for pattern in patterns)]
        if matching:
            found.setdefault(str(entry.get("split", "train"))[:60], []).extend(matching)
    return found


def fetcher(hub: Hub, info: RepoInfo, path: str, revision: str | None = None) -> Fetch:
    """Ranges of one file of the repository."""
    return lambda start, length: hub.read_bytes(
        "dataset", info.id, revision or info.sha, path, max_bytes=64 << 20, start=start, length=length
    )


def fetcher_of_url(hub: Hub, info: RepoInfo, url: str) -> Fetch | None:
    """The same for an address of this repository that the viewer gave; None for any other address."""
    start = f"{hub.page('dataset', info.id)}/resolve/"
    if not url.startswith(start):
        return None
    revision, _, path = url.removeprefix(start).partition("/")
    return fetcher(hub, info, unquote(path), unquote(revision))


# --- parquet


def _parquet(hub: Hub, info: RepoInfo, groups: dict[str, list[str]]) -> Table:
    """Types and row counts from the footers of up to MAX_FOOTERS files, rows from the first and last file of a split."""
    footers: dict[str, Any] = {}

    def meta(path: str) -> Any:
        if path not in footers:
            footers[path] = footer(fetcher(hub, info, path), f"{path} of {info.id!r}")
        return footers[path]

    every = sum(map(len, groups.values())) <= MAX_FOOTERS
    splits = {split: sum(meta(path).num_rows for path in group) if every else None for split, group in groups.items()}
    features = features_of(meta(next(iter(groups.values()))[0]))

    def read(split: str) -> Rows:
        rows: list[dict[str, Any]] = []
        for path in dict.fromkeys((groups[split][0], groups[split][-1])):
            found = meta(path)
            if found.num_row_groups:
                rows += some_rows(fetcher(hub, info, path), found, spread_groups(list(range(found.num_row_groups)), 3))
        return Rows(with_pictures(rows, features, split), complete=len(rows) == splits[split], spread=len(rows) > 0)

    def own(split: str) -> dict[str, Feature]:
        return features_of(meta(groups[split][0]))

    return Table("parquet", splits, features, read, listing=lambda: _rows_listing(groups), declared=own)


def declared_by_files(hub: Hub, info: RepoInfo, config: str | None, split: str) -> dict[str, Feature]:
    """The columns as the first parquet file of a split declares them; {} where no such file is known."""
    data = sorted(name for name in info.files if name.lower().endswith(".parquet"))
    card = {row.get("config_name"): row for row in dicts(info.card.get("configs"))}
    groups = _declared(card.get(config, {}), data) or (
        _by_name(data)[0] if data and config in (None, "default") else {}
    )
    try:
        return features_of(footer(fetcher(hub, info, groups[split][0]), split)) if groups.get(split) else {}
    except ToolFailure:
        return {}


# --- csv and jsonl


def _text(hub: Hub, info: RepoInfo, groups: dict[str, list[str]]) -> Table:
    """The first rows of each split's first file. How many there are in all, only reading them would tell."""
    heads = {split: _head(hub, info, group[0]) for split, group in groups.items()}
    first = next((rows for rows, _ in heads.values() if rows), [])
    if not first:
        path = next(iter(groups.values()))[0]
        raise ToolFailure(
            "rejected", f"{path} of {info.id!r} is not readable as CSV or JSON Lines: choose another dataset"
        )
    names = dict.fromkeys(name for row in first for name in row)
    features = {name: value_feature([row.get(name) for row in first]) for name in names}
    whole = {split: rows if complete and len(groups[split]) == 1 else None for split, (rows, complete) in heads.items()}

    def read(split: str) -> Rows:
        return Rows(heads[split][0], complete=whole[split] is not None)

    splits = {split: None if rows is None else len(rows) for split, rows in whole.items()}
    return Table("text", splits, features, read, listing=lambda: _rows_listing(groups))


def _head(hub: Hub, info: RepoInfo, path: str) -> tuple[list[dict[str, Any]], bool]:
    """(rows in the first HEAD bytes, whether that is the whole file)"""
    data = hub.read_bytes("dataset", info.id, info.sha, path, max_bytes=TABLE_HEAD, length=TABLE_HEAD)
    complete = len(data) < TABLE_HEAD
    text = (data if complete else data[: data.rfind(b"\n") + 1]).decode("utf-8-sig", "replace")
    try:
        if path.lower().endswith(".csv"):
            rows: Any = list(csv.DictReader(io.StringIO(text, newline="")))
        elif text.lstrip().startswith("["):
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError, csv.Error):
        rows = []
    return dicts(rows), complete


# --- folders of images


def _images(hub: Hub, info: RepoInfo, groups: dict[str, list[str]]) -> Table:
    """[.../]class/image. A folder that names a split is no class."""
    counts = {
        split: Counter(folder for path in group if (folder := _folder(path)) is not None)
        for split, group in groups.items()
    }
    names = tuple(sorted({name for found in counts.values() for name in found}))
    features = {"image": Feature("image", "Image")}
    if names:
        features["label"] = Feature("class", f"ClassLabel({len(names)})", names)
    splits = {split: len(group) for split, group in groups.items()}

    def picture(path: str) -> Picture:
        return Picture(
            path, lambda: hub.read_bytes("dataset", info.id, info.sha, path, max_bytes=MAX_BYTES), remote=True
        )

    def read(split: str) -> Rows:
        chosen = spread(groups[split], N_IMAGES)
        return Rows(
            [{"image": picture(path), "label": _folder(path)} for path in chosen], len(chosen) == splits[split], True
        )

    def count(split: str, column: str) -> Labels | None:
        found = counts[split]
        return Labels(found, splits[split] - found.total(), splits[split], complete=True) if column == "label" else None

    def listing() -> Listing:
        classes: dict[str, dict[str, list[str]]] = {split: {} for split in groups}
        for split, group in groups.items():
            for path in group:
                classes[split].setdefault(_folder(path) or "", []).append(path)
        files = [path for group in groups.values() for path in group]
        return Listing(Path(), {"kind": "classes", "names": list(names), "splits": classes}, files)

    return Table("imagefolder", splits, features, read, count, listing=listing)


def _folder(path: str) -> str | None:
    parts = path.split("/")
    return parts[-2] if len(parts) > 1 and parts[-2].lower() not in (*KEYWORDS, "data", "images") else None
