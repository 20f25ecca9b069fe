"""A Hub dataset as a Table: through the dataset viewer, else the repository's files, else `datasets` in a container."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from tunegate.clients.hub import Hub, RepoInfo
from tunegate.errors import ToolFailure
from tunegate.probe.dataset import streamed
from tunegate.probe.dataset.columns import Feature, class_names_of, feature
from tunegate.probe.dataset.hub import files as hub_files
from tunegate.probe.dataset.hub.files import HubTable, choose_config
from tunegate.probe.dataset.hub.parquet_range import footer, some_rows
from tunegate.probe.dataset.local.files import spread_groups, with_pictures
from tunegate.probe.dataset.pictures import Picture, from_viewer
from tunegate.probe.dataset.table import Rows, Table
from tunegate.probe.request import ProbeContainer
from tunegate.readers.pairs import names_from_json
from tunegate.readers.tree import EXTENSIONS

SPREAD = (0.33, 0.66, 0.999)  # where else rows are read: sorted by class, the first ones say nothing about the rest
N_SPREAD = 25
N_FIRST = 100
MAX_PICTURE = 8 << 20


class NoViewer(Exception):
    """The viewer does not answer about this dataset; the reason, for a warning."""


def read_hub(hub: Hub, info: RepoInfo, asked: str | None, container: ProbeContainer | None = None) -> HubTable:
    """`container`: where a container may work; None: none may.

    Raises ToolFailure: rejected (script, empty, unreadable layout), ambiguous or invalid_input (config), unavailable.
    """
    _refuse_script(info)
    try:
        found = _through_viewer(hub, info, asked)
    except NoViewer as error:
        found = _without_viewer(hub, info, asked, str(error), container)
    if "id2label.json" in info.files:
        found.table.names = names_from_json(hub.read_text("dataset", info.id, info.sha, "id2label.json"))
    return found


def _without_viewer(
    hub: Hub, info: RepoInfo, asked: str | None, why: str, container: ProbeContainer | None
) -> HubTable:
    try:
        found = hub_files.through_files(hub, info, asked)
        come_from = "the repository's files"
    except hub_files.NoReader as unread:
        found = streamed.through_container(hub, info, unread, why, container)
        come_from = "`datasets`, which streamed them in a container"
    found.table.warnings.append(f"the dataset viewer did not answer ({why}): these facts come from {come_from}")
    return found


def _refuse_script(info: RepoInfo) -> None:
    """`datasets` 5 refuses a repository with a loader of its name, even where data lies beside it."""
    loader = f"{info.id.rsplit('/', 1)[-1]}.py"
    scripts = [name for name in info.files if "/" not in name and name.endswith(".py")]
    has_data = any(name.lower().endswith((*hub_files.ROWS, *EXTENSIONS)) for name in info.files)
    if loader in scripts or (scripts and not has_data):
        raise ToolFailure(
            "rejected",
            f"dataset_id = {info.id!r} is loaded by a Python script ({loader if loader in scripts else scripts[0]}), which "
            "datasets no longer runs: choose a copy of it in Parquet, or download it and pass local_dataset_path",
        )


def _ask(hub: Hub, endpoint: str, **params: str | int) -> dict[str, Any]:
    try:
        return hub.viewer(endpoint, **params)
    except ToolFailure as error:
        raise NoViewer(f"{endpoint}: {error.code}") from None


def _through_viewer(hub: Hub, info: RepoInfo, asked: str | None) -> HubTable:
    valid = _ask(hub, "is-valid", dataset=info.id)
    if not (valid.get("viewer") or valid.get("preview")):
        raise NoViewer("it says that it cannot show this dataset")
    listed = [
        (row["config"], row["split"])
        for row in hub_files.dicts(_ask(hub, "splits", dataset=info.id).get("splits"))
        if isinstance(row.get("config"), str) and isinstance(row.get("split"), str)
    ]
    if not listed:
        raise NoViewer("splits: it lists none")
    config, why = choose_config(info, list(dict.fromkeys(name for name, _ in listed)), asked)
    names = [split for name, split in listed if name == config]
    warnings: list[str] = []
    splits, features, partial = _info(hub, info, config, names, warnings)
    reader = _ViewerRows(hub, info, config, splits, warnings)
    features = features or reader.features(names[0])
    reader.kinds = features
    table = Table(
        "viewer",
        splits,
        features,
        reader.rows,
        exact=reader.exact,
        declared=_declared(hub, info, config, list(splits), features),
        warnings=warnings,
        facts={"partial": partial},
    )
    return HubTable(table, list(dict.fromkeys(name for name, _ in listed)), config, why, "viewer")


def _declared(
    hub: Hub, info: RepoInfo, config: str, splits: list[str], features: dict[str, Feature]
) -> Callable[[str], dict[str, Feature]] | None:
    """How each split's own files declare its columns: the viewer, as `datasets`, shows one declaration for all splits.

    Where all files agree and the card names other classes, the card has renamed them. harness/class_order.py follows the same rule.
    """
    shown = {name: class_names_of(kind) for name, kind in features.items()}
    if not any(shown.values()) or not 1 < len(splits) <= hub_files.MAX_FOOTERS:
        return None

    @cache
    def every() -> dict[str, dict[str, Feature]]:
        found = {split: hub_files.declared_by_files(hub, info, config, split) for split in splits}
        own = [{name: class_names_of(kinds.get(name)) for name in shown} for kinds in found.values() if kinds]
        agree = all(one == own[0] for one in own)
        renamed = (
            agree and any(sorted(map(sorted, own[0][name])) != sorted(map(sorted, shown[name])) for name in shown)
            if own
            else True
        )
        return {} if renamed else found

    return lambda split: every().get(split, {})


def _info(hub: Hub, info: RepoInfo, config: str, names: list[str], warnings: list[str]) -> tuple[dict, dict, bool]:
    """(split -> rows, columns, whether the rows are counted of a part only); empty columns where the viewer has no info but may have rows."""
    try:
        answer = _ask(hub, "info", dataset=info.id, config=config)
    except NoViewer:
        answer = {}
    raw = answer.get("dataset_info") if isinstance(answer.get("dataset_info"), dict) else {}
    if answer.get("partial"):
        warnings.append("the viewer holds only a part of this dataset: row counts are of that part")
    counts = raw.get("splits") if isinstance(raw.get("splits"), dict) else {}
    splits = {name: _count(counts.get(name), "num_examples") for name in names}
    if None in splits.values():
        splits = _sizes(hub, info, config, splits)
    features = raw.get("features") if isinstance(raw.get("features"), dict) else {}
    return splits, {str(name)[:100]: feature(value) for name, value in features.items()}, bool(answer.get("partial"))


def _sizes(hub: Hub, info: RepoInfo, config: str, splits: dict[str, int | None]) -> dict[str, int | None]:
    try:
        size = _ask(hub, "size", dataset=info.id, config=config).get("size")
    except NoViewer:
        return splits
    found = {
        row.get("split"): _count(row, "num_rows")
        for row in hub_files.dicts(size.get("splits") if isinstance(size, dict) else None)
    }
    return {name: found.get(name) if rows is None else rows for name, rows in splits.items()}


def _count(value: Any, key: str) -> int | None:
    found = value.get(key) if isinstance(value, dict) else None
    return found if type(found) is int and found >= 0 else None


class _ViewerRows:
    """The rows that the viewer shows: the first ones, and some from further on."""

    def __init__(self, hub: Hub, info: RepoInfo, config: str, splits: dict[str, int | None], warnings: list[str]):
        self.hub, self.info, self.config, self.splits, self.warnings = hub, info, config, splits, warnings
        self.where = {"dataset": info.id, "config": config}
        self.kinds: dict[str, Feature] = {}
        self.answers: dict[str, dict[str, Any]] = {}

    def _first(self, split: str) -> dict[str, Any]:
        if split not in self.answers:
            try:
                self.answers[split] = _ask(self.hub, "first-rows", **self.where, split=split)
            except NoViewer as error:
                self.warnings.append(f"no rows of split {split!r} could be read ({error}): its labels are not checked")
                self.answers[split] = {}
        return self.answers[split]

    def features(self, split: str) -> dict[str, Feature]:
        listed = hub_files.dicts(self._first(split).get("features"))
        return {str(row.get("name")): feature(row.get("type")) for row in listed}

    def rows(self, split: str) -> Rows:
        answer, known = self._first(split), self.splits.get(split)
        listed = hub_files.dicts(answer.get("rows"))
        found = [row["row"] for row in listed if isinstance(row.get("row"), dict)]
        if any(row.get("truncated_cells") for row in listed):
            found = self._whole(split, listed)
        complete = bool(answer) and (len(found) == known if known is not None else answer.get("truncated") is False)
        if not complete and known and answer:
            for share in SPREAD:
                start = max(len(found), min(int(known * share), known - N_SPREAD))
                found += self._at(split, start, N_SPREAD) if start < known else []
        return Rows([self._cells(row, split) for row in found], complete=complete, spread=True)

    def _whole(self, split: str, listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """first-rows cuts long cells, which then are no longer what they were; /rows does not."""
        if found := self._at(split, 0, N_FIRST):
            return found
        kept = [row["row"] for row in listed if isinstance(row.get("row"), dict) and not row.get("truncated_cells")]
        self.warnings.append(
            f"{len(listed) - len(kept)} rows of split {split!r} are cut by the viewer and were not looked at"
        )
        return kept

    def _at(self, split: str, offset: int, length: int) -> list[dict[str, Any]]:
        try:
            answer = _ask(self.hub, "rows", **self.where, split=split, offset=offset, length=length)
        except NoViewer:
            return []
        return [row["row"] for row in hub_files.dicts(answer.get("rows")) if isinstance(row.get("row"), dict)]

    def _cells(self, row: dict[str, Any], split: str) -> dict[str, Any]:
        return {name: self._cell(value, self.kinds.get(name), f"{split}, {name}") for name, value in row.items()}

    def _cell(self, value: Any, kind: Feature | None, name: str) -> Any:
        if kind is None or value is None:
            return value
        if kind.kind == "image":
            return from_viewer(value, name, lambda url: self.hub.viewer_asset(url, MAX_PICTURE))
        if kind.kind == "list" and kind.item is not None and kind.item.kind == "image" and isinstance(value, list):
            return [self._cell(item, kind.item, name) for item in value[:20]]
        return value

    def exact(self, split: str, column: str) -> list[Picture]:
        """Pictures as they are stored. The viewer's own copies are JPEG wherever JPEG can hold them, which changes every mask."""
        try:
            listed = hub_files.dicts(_ask(self.hub, "parquet", **self.where).get("parquet_files"))
        except NoViewer:
            listed = []
        urls = [row["url"] for row in listed if row.get("split") == split and isinstance(row.get("url"), str)]
        for url in urls[:1]:
            fetch = hub_files.fetcher_of_url(self.hub, self.info, url)
            try:
                metadata = footer(fetch, url.rsplit("/", 1)[-1]) if fetch else None
            except ToolFailure:
                metadata = None
            if metadata is not None and metadata.num_row_groups:
                groups = spread_groups(list(range(metadata.num_row_groups)), 3)
                rows = with_pictures(some_rows(fetch, metadata, groups, [column]), self.kinds, split)
                return [row[column] for row in rows if isinstance(row.get(column), Picture)]
        return []
