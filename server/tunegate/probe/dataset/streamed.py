"""A Hub dataset that neither the viewer nor a range request can read (tars, zips, Arrow shards): some rows of each split, as
`datasets` streams them in a container that sees its own folder in the run's .probe/ and the network, and nothing else.

No code of the repository runs (datasets 5 has no loader scripts). The token goes in by name, and only for a gated or
private dataset. What the container wrote is somebody else's: bounded, checked, and believed no further than a viewer's answer.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tunegate import nofollow
from tunegate.clients.docker import containers
from tunegate.clients.docker import engine as engines
from tunegate.clients.docker.containers import ContainerPlan
from tunegate.clients.docker.engine import Engine
from tunegate.clients.hub import Hub, RepoInfo
from tunegate.clients.network import LOOPBACK, PROXIES, network_for
from tunegate.errors import ToolFailure
from tunegate.evidence.seal import redacted
from tunegate.probe.dataset.columns import Feature, feature, value_feature
from tunegate.probe.dataset.hub.files import HubTable, NoReader, dicts
from tunegate.probe.dataset.pictures import Picture, from_bytes
from tunegate.probe.dataset.table import Rows, Table
from tunegate.probe.model import deep
from tunegate.probe.request import ProbeContainer

SCRIPT = Path(__file__).parents[1] / "scripts" / "stream_dataset.py"
PROBE_REQUIREMENTS = ("datasets==5.2.0", "pillow")  # as the scaffolds pin it: what prepare will load it with
N_ROWS = 100  # of each split
SPLIT_S = 60.0
WAIT_S = 60.0
MAX_RESULT = 32 << 20  # bytes of result.json; the script is asked for 3/4 of it
MAX_SPLITS, MAX_COLUMNS, MAX_SIDE = 12, 200, 1_000_000
MAX_NESTED = 32
INSTEAD = "choose another dataset, or download it and pass local_dataset_path"


def through_container(
    hub: Hub, info: RepoInfo, unread: NoReader, why: str, container: ProbeContainer | None
) -> HubTable:
    """Raises ToolFailure: unavailable (no engine, image or network; still at work, with `next`), rejected (`datasets` cannot
    load it), stage_failed (the container did not run)."""
    tried = (
        f"dataset_id = {info.id!r} was tried through the dataset viewer ({why}) and its files (none is Parquet, CSV or JSON "
        "Lines, nor are all of them images)"
    )
    if container is None:
        raise ToolFailure("unavailable", f"{tried}: {INSTEAD}")
    if (info.gated or info.private) and not os.environ.get("HF_TOKEN"):
        message = f"{tried}; a container could stream it, but only with HF_TOKEN in the server's environment: set it"
        raise ToolFailure("access_denied", message)
    try:
        found = _look(hub, info, unread, container.run_dir)
    except ToolFailure as failure:
        message = f"{tried}, and in a container: {failure}; or try again later, {INSTEAD}"
        raise ToolFailure(failure.code, message) from None
    if found is None:
        message = (
            f"{tried}; a container is still streaming its first rows: call probe_dataset again with the same arguments"
        )
        raise ToolFailure("unavailable", message, next=container.again)
    if error := found.get("error"):
        said = f"`datasets` {_text(found.get('datasets'))} in a container ({_text(redacted(error), 400)})"
        code = "unavailable" if found.get("passing") is True else "rejected"
        raise ToolFailure(code, f"{tried}, and could not be loaded by {said}: {INSTEAD}")
    table = _table(found)
    if not table.splits or not table.features:
        raise ToolFailure("rejected", f"{tried}, and a container found no rows in it: {INSTEAD}")
    return HubTable(table, unread.configs, unread.config, unread.config_reason, "streamed in a container")


# --- the container


def _look(hub: Hub, info: RepoInfo, unread: NoReader, run_dir: Path) -> dict[str, Any] | None:
    """What the container wrote; None while it is at work."""
    asked = {
        "id": info.id,
        "config": unread.config,
        "revision": info.sha,
        "rows": N_ROWS,
        "seconds": SPLIT_S,
        "bytes": MAX_RESULT * 3 // 4,
    }
    question = json.dumps([asked, hub.endpoint], sort_keys=True).encode()
    key = hashlib.sha256(b"\0".join([SCRIPT.read_bytes(), question, " ".join(PROBE_REQUIREMENTS).encode()])).hexdigest()
    folder = run_dir / ".probe" / key[:16]
    if found := _result(folder, key):
        return found
    image = os.environ.get("TUNEGATE_PROBE_IMAGE") or deep.PROBE_IMAGE
    engine = engines.connect()
    labels = {"tunegate.probe": f"{key[:32]}-stream", "tunegate.probe.dir": str(folder)}
    running = containers.find(engine, labels)
    if running is None:
        deep.have_image(engine, image)
        _prepare(folder, asked)
        container = containers.start(engine, _plan(engine, hub, info, folder, image, key, labels))
    else:
        container = running.id
    return _follow(engine, folder, container, key, image)


def _prepare(folder: Path, asked: dict[str, Any]) -> None:
    """A new folder: one that a container wrote into may hold links, which are not to be written through."""
    nofollow.rmtree(folder)
    nofollow.mkdir(folder / "home")
    nofollow.write(folder / "asked.json", json.dumps(asked))
    nofollow.write(folder / SCRIPT.name, SCRIPT.read_bytes())


def _plan(
    engine: Engine, hub: Hub, info: RepoInfo, folder: Path, image: str, key: str, labels: dict[str, str]
) -> ContainerPlan:
    wheels = deep.wheelhouse()
    offline = ["--no-index", "--find-links", wheels] if wheels else []
    network = network_for(*PROXIES)
    if urlsplit(hub.endpoint).hostname in LOOPBACK:
        network = "host"
    found = engines.image(engine, image)
    return ContainerPlan(
        image=image,
        argv=("python", "-I", SCRIPT.name, key, *PROBE_REQUIREMENTS, "--", *offline),
        name=f"tunegate-probe-stream-{key[:12]}-{time.time_ns()}",
        labels=labels,
        output_dir=folder,  # all that it sees of this machine
        user=containers.user_for(engines.describe(engine)),
        network=network,
        env={
            "HOME": "/workspace/home",
            "HF_HOME": "/workspace/home/huggingface",
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_DISABLE_TELEMETRY": "1",
        },
        secrets=(*(("HF_TOKEN",) if info.gated or info.private else ()), *PROXIES),
        read_only=(Path(wheels),) if wheels else (),
        roots=(Path(wheels),) if wheels else (),
        path=found.env.get("PATH", "") if found else "",
    )


def _follow(engine: Engine, folder: Path, container: str, key: str, image: str) -> dict[str, Any] | None:
    state = deep.wait(engine, container, time.monotonic() + WAIT_S)
    if state.status == "running":
        return None
    said = deep.last_line(engine, state)
    containers.remove(engine, container)
    found = _result(folder, key) if state.exit_code == 0 else None
    for name in ("site", "home"):  # what pip and the Hub's client left there
        nofollow.rmtree(folder / name)
    if found is None:
        raise ToolFailure(
            "stage_failed",
            f"{SCRIPT.name} did not run in {image}: {said}. Set TUNEGATE_PROBE_IMAGE to an image that has datasets and Pillow, "
            "or TUNEGATE_WHEELHOUSE to a directory with their wheels",
        )
    if found.get("passing"):
        nofollow.unlink(folder / "result.json")  # the next call asks again
    return found


# --- what it wrote


def _result(folder: Path, key: str) -> dict[str, Any] | None:
    """result.json, if it is a plain file, within bounds, and the answer to this very question."""
    try:
        opened = os.open(
            folder / "result.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        )  # no link, no waiting pipe
        with os.fdopen(opened, "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode) or about.st_size > MAX_RESULT:
                return None
            found = json.loads(file.read(MAX_RESULT))
    except (OSError, ValueError, RecursionError):
        return None
    return _plain(found) if isinstance(found, dict) and found.get("key") == key else None


def _plain(value: Any, depth: int = 0) -> Any:
    """Without what JSON can say and no answer or evidence can: half characters, endless numbers, nests without a floor."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else None
    if isinstance(value, (list, dict)) and depth == MAX_NESTED:
        return None
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_plain(name): _plain(item, depth + 1) for name, item in value.items()}
    return value


def _table(found: dict[str, Any]) -> Table:
    splits = {}
    for one in dicts(found.get("splits"))[:MAX_SPLITS]:
        if isinstance(one.get("name"), str):
            splits[one["name"][:100]] = one
    features = next((kinds for one in splits.values() if (kinds := _features(one))), {})
    counts = {name: _count(one) for name, one in splits.items()}

    def read(split: str) -> Rows:
        looked = dicts(splits[split].get("looked"))[:N_ROWS]
        rows = [
            {name: _cell(row.get(name), kind, f"{split} row {number}, {name}") for name, kind in features.items()}
            for number, row in enumerate(looked)
        ]
        return Rows(rows, complete=splits[split].get("complete") is True and len(rows) == counts[split])

    return Table("streamed", counts, features, read)


def _features(one: dict[str, Any]) -> dict[str, Feature]:
    """As declared, else from the rows: CSV and JSON in archives declare none."""
    declared = one.get("features")
    if isinstance(declared, dict):
        return {str(name)[:100]: feature(kind) for name, kind in list(declared.items())[:MAX_COLUMNS]}
    rows = dicts(one.get("looked"))[:N_ROWS]
    names = list(dict.fromkeys(str(name)[:100] for row in rows for name in row))[:MAX_COLUMNS]
    return {name: value_feature([row.get(name) for row in rows]) for name in names}


def _count(one: dict[str, Any]) -> int | None:
    """Rows of the split: all were looked at, or the card says how many there are, or it is not known."""
    if one.get("complete") is True:
        return len(dicts(one.get("looked"))[:N_ROWS])
    rows = one.get("rows")
    return rows if type(rows) is int and 0 < rows < 1 << 48 else None


def _cell(value: Any, kind: Feature, name: str) -> Any:
    if value is None:
        return None
    if kind.kind == "image":
        return _picture(value if isinstance(value, dict) else {}, name)
    if kind.kind == "list" and kind.item is not None and kind.item.kind == "image" and isinstance(value, list):
        return [_cell(item, kind.item, name) for item in value[:20]]
    return value


def _picture(value: dict[str, Any], name: str) -> Picture:
    """A whole file is measured here again; of a smaller copy, the container's word for the original's size is all there is."""
    try:
        data = base64.b64decode(value["data"], validate=True)
    except (KeyError, TypeError, ValueError):
        return Picture(name, problem=_text(value.get("problem") or "was not handed on by the container"))
    found = from_bytes(data, name)
    sides = (value.get("width"), value.get("height"))
    if value.get("shrunk") is True:
        found.shrunk = True
        found.size = sides if all(type(side) is int and 0 < side < MAX_SIDE for side in sides) else (None, None)
    return found


def _text(value: Any, most: int = 100) -> str:
    return " ".join(str(value).split())[:most]
