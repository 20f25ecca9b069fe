"""The dataset viewer: its endpoints, in the shapes of datasets-server, over a repository's Parquet or CSV files.

    /is-valid /splits /info /size /parquet /first-rows /rows    and /assets/..., where image cells are served

Every answer names the commit that it is about in X-Revision.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tunegate.embedded import hub_info, hub_tables
from tunegate.embedded.hub_access import check_gate, commit_at, open_repo, page, state
from tunegate.embedded.hub_store import Commit, HubRefusal, Repo, Store

MAX_ROWS = 100
VIEWER_SUFFIXES = (".parquet", ".csv")
SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
NO_ACCESS = (
    "The dataset does not exist, or is not accessible with the current credentials (private or gated). "
    "Please check the spelling of the dataset name or retry with other authentication credentials."
)
Layout = dict[str, dict[str, list[str]]]  # config -> split -> files


@dataclass
class DatasetView:
    """The dataset that a request is about."""

    store: Store
    repo: Repo
    commit: Commit
    layout: Layout

    def files(self, config: str, split: str) -> list[hub_tables.File]:
        """The split's files; none where there is no such split."""
        names = self.layout.get(config, {}).get(split, [])
        blobs = [self.store.blob(self.commit.files[name].sha256) for name in names]
        return [hub_tables.File(blob, name.rsplit(".", 1)[-1]) for blob, name in zip(blobs, names, strict=True)]


# --- endpoints


def is_valid(request: Request, view: DatasetView) -> dict[str, Any]:
    return dict.fromkeys(("preview", "viewer", "search", "filter", "statistics"), bool(view.layout))


def splits(request: Request, view: DatasetView) -> dict[str, Any]:
    rows = [{"dataset": view.repo.id, "config": config, "split": split} for config, split in _chosen(request, view)]
    return {"splits": rows, "pending": [], "failed": []}


def info(request: Request, view: DatasetView) -> dict[str, Any]:
    chosen, infos = _chosen(request, view), {}
    for config in dict.fromkeys(config for config, _ in chosen):
        counts = {
            split: {
                "name": split,
                "num_examples": found["num_rows"],
                "num_bytes": found["num_bytes_memory"],
                "dataset_name": view.repo.id.split("/")[1],
            }
            for split in view.layout[config]
            for found in [_size(view, config, split)]
        }
        kind = view.files(config, next(iter(view.layout[config])))[0].kind
        infos[config] = {
            "description": "",
            "citation": "",
            "homepage": "",
            "license": "",
            "builder_name": kind,
            "dataset_name": view.repo.id.split("/")[1],
            "config_name": config,
            "features": _features(view, config),
            "version": {"version_str": "0.0.0", "major": 0, "minor": 0, "patch": 0},
            "splits": counts,
        }
    asked = request.query_params.get("config")
    return {"dataset_info": infos[asked] if asked else infos, "pending": [], "failed": [], "partial": False}


def size(request: Request, view: DatasetView) -> dict[str, Any]:
    rows = [
        {"dataset": view.repo.id, "config": config, "split": split, **_size(view, config, split)}
        for config, split in _chosen(request, view)
    ]
    configs = [
        {
            "dataset": view.repo.id,
            "config": config,
            **_total([row for row in rows if row["config"] == config]),
            "num_columns": next(row["num_columns"] for row in rows if row["config"] == config),
        }
        for config in dict.fromkeys(row["config"] for row in rows)
    ]
    whole = (
        {"config": configs[0]}
        if "config" in request.query_params
        else {"dataset": {"dataset": view.repo.id, **_total(rows)}, "configs": configs}
    )
    return {"size": {**whole, "splits": rows}, "pending": [], "failed": [], "partial": False}


def parquet(request: Request, view: DatasetView) -> dict[str, Any]:
    chosen = _chosen(request, view)
    rows = [
        {
            "dataset": view.repo.id,
            "config": config,
            "split": split,
            "filename": name.split("/")[-1],
            "size": view.commit.files[name].size,
            "url": f"{page(request, view.repo)}/resolve/{view.commit.sha}/{quote(name)}",
        }
        for config, split in chosen
        for name in view.layout[config][split]
        if name.endswith(".parquet")
    ]
    answer = {"parquet_files": rows, "pending": [], "failed": [], "partial": False}
    return {**answer, "features": _features(view, chosen[0][0])} if "config" in request.query_params else answer


def first_rows(request: Request, view: DatasetView) -> dict[str, Any]:
    answer, total = _page(request, view, 0, MAX_ROWS)
    return {**answer, "truncated": total > MAX_ROWS}


def rows(request: Request, view: DatasetView) -> dict[str, Any]:
    offset, length = (_number(request, name, default) for name, default in (("offset", 0), ("length", MAX_ROWS)))
    if length > MAX_ROWS:
        raise HubRefusal(422, f"Parameter 'length' must not be greater than {MAX_ROWS}", "InvalidParameter")
    answer, total = _page(request, view, offset, length)
    return {**answer, "num_rows_total": total, "num_rows_per_page": MAX_ROWS, "partial": False}


def asset(request: Request) -> Response:
    """One image cell, for who was told its signed address."""
    if not state(request).signed(request.scope["path"], request.query_params.get("signature", "")):
        raise HubRefusal(403, "The signature of this address is not valid")
    wanted = request.path_params
    store = state(request).store
    repo = store.get("dataset", f"{wanted['ns']}/{wanted['name']}")
    if repo is None:
        raise HubRefusal(404, "Asset not found")
    commit = commit_at(request, repo, wanted["sha"])
    view = DatasetView(store, repo, commit, layout(store, commit))
    found, _ = hub_tables.read_rows(view.files(wanted["config"], wanted["split"]), wanted["row"], 1)
    content = hub_tables.image_at(found[0], wanted["rest"].split("/")[:-1]) if found else None
    if content is None:
        raise HubRefusal(404, "Asset not found")
    return Response(content, media_type=hub_tables.image_kind(content)[1])


def routes() -> list[Route]:
    endpoints = {
        "is-valid": is_valid,
        "splits": splits,
        "info": info,
        "size": size,
        "parquet": parquet,
        "first-rows": first_rows,
        "rows": rows,
    }
    return [
        *(Route(f"/{name}", _endpoint(answer), methods=["GET"]) for name, answer in endpoints.items()),
        Route("/assets/{ns}/{name}/--/{sha}/--/{config}/{split}/{row:int}/{rest:path}", asset, methods=["GET"]),
    ]


def _endpoint(answer):
    def endpoint(request: Request) -> Response:
        view = _view(request)
        if not view.layout and answer is not is_valid:
            raise HubRefusal(500, "The dataset is empty, or has no file that the viewer reads.", "EmptyDatasetError")
        return JSONResponse(answer(request, view), headers={"X-Revision": view.commit.sha})

    return endpoint


def _view(request: Request) -> DatasetView:
    store, dataset = state(request).store, _needed(request, "dataset")
    try:
        repo = open_repo(request, repo_type="dataset", repo_id=dataset)
        check_gate(request, repo)
    except HubRefusal as refused:
        if "authorization" in request.headers:
            raise HubRefusal(404, NO_ACCESS, "ExternalAuthenticatedError") from refused
        raise HubRefusal(401, NO_ACCESS, "ExternalUnauthenticatedError") from refused
    commit = commit_at(request, repo, "main")
    return DatasetView(store, repo, commit, layout(store, commit))


def _needed(request: Request, name: str) -> str:
    if not request.query_params.get(name):
        raise HubRefusal(422, f"Parameter '{name}' is required", "MissingRequiredParameter")
    return request.query_params[name]


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdecimal() or len(text) > 12:
        raise HubRefusal(422, f"Parameter '{name}' must be a number of at least 0", "InvalidParameter")
    return int(text)


def _chosen(request: Request, view: DatasetView) -> list[tuple[str, str]]:
    """(config, split) pairs: all, or those of the query. Refused(404) for what does not exist."""
    config, split = request.query_params.get("config"), request.query_params.get("split")
    if config is not None and config not in view.layout:
        raise HubRefusal(404, f"The config {config[:80]!r} does not exist", "ConfigNotFoundError")
    found = [
        (name, part)
        for name in view.layout
        for part in view.layout[name]
        if config in (None, name) and split in (None, part)
    ]
    if not found:
        raise HubRefusal(404, f"The split {split[:80]!r} does not exist", "SplitNotFoundError")
    return found


# --- which files are which split


def layout(store: Store, commit: Commit) -> Layout:
    """The card's `configs`, else the split words in file names; Parquet before CSV."""
    names = next(
        (found for suffix in VIEWER_SUFFIXES if (found := [name for name in commit.files if name.endswith(suffix)])), []
    )
    declared = hub_info.card(store, commit).get("configs")
    found: Layout = {}
    for config in declared if isinstance(declared, list) else []:
        if isinstance(config, dict) and (parts := _declared(config, names)):
            found[str(config.get("config_name", "default"))] = parts
    if found or not names:
        return found
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(_split_of(name), []).append(name)
    return {"default": {split: parts[split] for split in SPLIT_WORDS if split in parts}}


def _declared(config: dict[str, Any], names: list[str]) -> dict[str, list[str]]:
    data_files = config.get("data_files", "*")
    entries = data_files if isinstance(data_files, list) else [{"split": "train", "path": data_files}]
    parts: dict[str, list[str]] = {}
    for entry in entries:
        entry = entry if isinstance(entry, dict) else {"split": "train", "path": entry}
        patterns = entry.get("path") if isinstance(entry.get("path"), list) else [entry.get("path")]
        matching = [name for name in names if any(fnmatch.fnmatchcase(name, str(pattern)) for pattern in patterns)]
        if matching:
            parts.setdefault(str(entry.get("split", "train")), []).extend(matching)
    return parts


def _split_of(name: str) -> str:
    words = set(re.split(r"[^a-z]+", name.lower()))
    return next((split for split, known in SPLIT_WORDS.items() if words & set(known)), "train")


# --- rows


def _features(view: DatasetView, config: str) -> dict[str, Any]:
    return hub_tables.features(view.files(config, next(iter(view.layout[config])))[0])


def _size(view: DatasetView, config: str, split: str) -> dict[str, Any]:
    files = view.files(config, split)
    measured = [hub_tables.measure(file) for file in files]
    return {
        "num_bytes_parquet_files": sum(file.path.stat().st_size for file in files),
        "num_bytes_memory": sum(memory for _, memory in measured),
        "num_rows": sum(rows for rows, _ in measured),
        "num_columns": len(hub_tables.features(files[0])),
        "estimated_num_rows": None,
    }


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    parts = sum(row["num_bytes_parquet_files"] for row in rows)
    return {
        "num_bytes_original_files": parts,
        "num_bytes_parquet_files": parts,
        "num_bytes_memory": sum(row["num_bytes_memory"] for row in rows),
        "num_rows": sum(row["num_rows"] for row in rows),
        "estimated_num_rows": None,
    }


def _page(request: Request, view: DatasetView, offset: int, length: int) -> tuple[dict[str, Any], int]:
    """(answer, rows in the whole split)"""
    config, split = _needed(request, "config"), _needed(request, "split")
    _chosen(request, view)
    found, total = hub_tables.read_rows(view.files(config, split), offset, length)
    kinds = _features(view, config)
    shown = []
    for index, row in enumerate(found, offset):
        cells = {}
        for column, value in row.items():
            cells[column] = _cell(request, view, (config, split, index, column), kinds.get(column), value)
        shown.append({"row_idx": index, "row": cells, "truncated_cells": []})
    columns = [{"feature_idx": index, "name": name, "type": kind} for index, (name, kind) in enumerate(kinds.items())]
    return {"dataset": view.repo.id, "config": config, "split": split, "features": columns, "rows": shown}, total


def _cell(request: Request, view: DatasetView, where: tuple, kind: Any, value: Any) -> Any:
    """Images, and lists of images, as addresses; everything else as JSON."""
    inner = hub_tables.list_item(kind)
    if hub_tables.is_image(inner) and isinstance(value, list):
        return [_cell(request, view, (*where, at), inner, item) for at, item in enumerate(value)]
    content = hub_tables.image_bytes(value) if hub_tables.is_image(kind) else None
    return hub_tables.as_json(value) if content is None else _image(request, view, where, content)


def _image(request: Request, view: DatasetView, where: tuple, content: bytes) -> dict[str, Any]:
    suffix = hub_tables.image_kind(content)[0]
    width, height = hub_tables.image_size(content)
    path = f"/assets/{view.repo.id}/--/{view.commit.sha}/--/{'/'.join(str(part) for part in where)}/image.{suffix}"
    return {
        "src": f"{str(request.base_url).rstrip('/')}{quote(path)}?signature={state(request).sign(path)}",
        "height": height,
        "width": width,
    }
