"""What the Hub derives from a repository's files: the card's metadata, tags, parameter counts, lists of files."""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from pathlib import Path
from typing import Any

import yaml

from tunegate.embedded.hub_store import Commit, Entry, Repo, Store, tree_id
from tunegate.plain_yaml import PlainLoader

MAX_TEXT = 2 * 1024 * 1024  # of a card or a config.json
MAX_HEADER = 32 * 1024 * 1024  # of a safetensors file
CONFIG_KEYS = ("architectures", "model_type")
KEYED_TAGS = {  # in the card -> in front of the tag
    "model": {"datasets": "dataset", "base_model": "base_model", "license": "license"},
    "dataset": {"task_categories": "task_categories", "license": "license"},
}
ALWAYS = ("_id", "id", "modelId")  # what an answer holds whatever `expand` asks for


def repo_info(
    store: Store, repo: Repo, commit: Commit, *, blobs: bool = False, expand: list[str] = ()
) -> dict[str, Any]:
    """The JSON of /api/models/ID and /api/datasets/ID."""
    meta = card(store, commit)
    info = {
        "_id": hashlib.sha256(repo.id.encode()).hexdigest()[:24],
        "id": repo.id,
        "author": repo.id.split("/")[0],
        "sha": commit.sha,
        "lastModified": commit.date,
        "createdAt": repo.created,
        "private": repo.private,
        "gated": repo.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "usedStorage": sum(entry.size for entry in commit.files.values()),
        "cardData": meta or None,
        "siblings": [_sibling(name, entry, blobs) for name, entry in commit.files.items()],
    }
    if repo.type == "model":
        config = _json_object(_text(store, commit, "config.json"))
        info |= {
            "modelId": repo.id,
            "pipeline_tag": _string(meta, "pipeline_tag"),
            "model-index": meta.get("model-index"),
            "library_name": _string(meta, "library_name") or ("transformers" if "model_type" in config else None),
            "config": {key: config[key] for key in CONFIG_KEYS if key in config} or None,
            "safetensors": parameters(store, commit),
        }
    info["tags"] = tags(repo, meta, info)
    return {
        key: value
        for key, value in info.items()
        if value is not None and (not expand or key in expand or key in ALWAYS)
    }


def card(store: Store, commit: Commit) -> dict[str, Any]:
    """The YAML at the top of README.md; empty when there is none that can be read."""
    found = re.match(r"\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", _text(store, commit, "README.md"), re.DOTALL)
    try:
        # YAML knows dates and NaN, JSON does not
        text = json.dumps(yaml.load(found[1], Loader=PlainLoader), default=str) if found else "{}"
        meta = json.loads(text, parse_constant=lambda _: None)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        meta = {}
    return meta if isinstance(meta, dict) else {}


def tags(repo: Repo, meta: dict[str, Any], info: dict[str, Any]) -> list[str]:
    plain = [
        info.get("library_name"),
        info.get("pipeline_tag"),
        (info.get("config") or {}).get("model_type"),
        *_strings(meta.get("tags")),
    ]
    if info.get("safetensors"):
        plain.append("safetensors")
    keyed = [f"{tag}:{value}" for key, tag in KEYED_TAGS[repo.type].items() for value in _strings(meta.get(key))]
    found = [*plain, *keyed]
    return list(dict.fromkeys(tag for tag in found if isinstance(tag, str)))


def parameters(store: Store, commit: Commit) -> dict[str, Any] | None:
    """Parameter counts by dtype over the safetensors files at the top of the repository."""
    counts: dict[str, int] = {}
    for name, entry in commit.files.items():
        if "/" in name or not name.endswith(".safetensors"):
            continue
        for tensor in _safetensors_header(store.blob(entry.sha256)).values():
            shape, dtype = (tensor.get("shape"), tensor.get("dtype")) if isinstance(tensor, dict) else (None, None)
            if isinstance(dtype, str) and isinstance(shape, list) and all(isinstance(size, int) for size in shape):
                counts[dtype] = counts.get(dtype, 0) + math.prod(shape)
    return {"parameters": counts, "total": sum(counts.values())} if counts else None


def tree(commit: Commit, folder: str, recursive: bool) -> list[dict[str, Any]]:
    """What lies in a folder ("" is the top), as the tree API lists it; empty where there is no such folder."""
    prefix = f"{folder}/" if folder else ""
    rows: dict[str, dict[str, Any]] = {}
    for name, entry in commit.files.items():
        if not name.startswith(prefix):
            continue
        parts = name[len(prefix) :].split("/")
        for depth in range(1, len(parts) if recursive else min(2, len(parts))):
            below = prefix + "/".join(parts[:depth])
            rows.setdefault(below, folder_row(commit, below))
        if recursive or len(parts) == 1:
            rows[name] = file_row(name, entry)
    return [rows[name] for name in sorted(rows)]


def folder_row(commit: Commit, folder: str) -> dict[str, Any]:
    files = {
        name[len(folder) + 1 :]: entry.blob_id for name, entry in commit.files.items() if name.startswith(f"{folder}/")
    }
    return {"type": "directory", "oid": tree_id(files), "size": 0, "path": folder}


def file_row(name: str, entry: Entry) -> dict[str, Any]:
    lfs = {"lfs": {"oid": entry.sha256, "size": entry.size, "pointerSize": len(entry.pointer)}} if entry.lfs else {}
    return {"type": "file", "oid": entry.blob_id, "size": entry.size, "path": name, **lfs}


def _sibling(name: str, entry: Entry, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": name}
    lfs = {"lfs": {"sha256": entry.sha256, "size": entry.size, "pointerSize": len(entry.pointer)}} if entry.lfs else {}
    return {"rfilename": name, "size": entry.size, "blobId": entry.blob_id, **lfs}


def _safetensors_header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else MAX_HEADER + 1
        return _json_object(file.read(length).decode("utf-8", "replace")) if length <= MAX_HEADER else {}


def _text(store: Store, commit: Commit, name: str) -> str:
    entry = commit.files.get(name)
    if entry is None or entry.size > MAX_TEXT:
        return ""
    return store.blob(entry.sha256).read_bytes().decode("utf-8", "replace")


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}


def _string(meta: dict[str, Any], key: str) -> str | None:
    return meta[key] if isinstance(meta.get(key), str) else None


def _strings(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
