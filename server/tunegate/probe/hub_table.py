"""A Hub dataset as a Table: through the dataset viewer, else through the names and footers of the repository's files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from tunegate.errors import ToolFailure
from tunegate.hub import Hub, RepoInfo
from tunegate.probe.columns import Feature, Labels, count_labels, feature
from tunegate.probe.images import EXTENSIONS
from tunegate.probe.local_files import pyarrow_or_fail, schema_features
from tunegate.probe.table import KEYWORDS, N_SAMPLE, Table, by_split

SPREAD = (0.25, 0.5, 0.75, 0.999)  # where else rows are read when the first ones all have one label
N_SPREAD = 25
MAX_FOOTERS = 8
FOOTER = 131_072  # a parquet footer is some kB; statistics and the types of `datasets` make it larger
ROWS = (".parquet", ".csv", ".json", ".jsonl", ".arrow", ".zip", ".tar", ".gz", ".tgz", ".txt")


@dataclass
class HubTable:
    table: Table
    configs: list[str]
    config: str | None
    config_reason: str
    read_through: str


class NoViewer(Exception):
    """The viewer does not answer about this dataset; the reason, for a warning."""


def read_hub(hub: Hub, info: RepoInfo, asked: str | None) -> HubTable:
    """Raises ToolFailure: rejected (script, empty, unreadable layout), ambiguous or invalid_input (config), unavailable."""
    _refuse_script(info)
    try:
        return _through_viewer(hub, info, asked)
    except NoViewer as error:
        found = _through_files(hub, info, asked, str(error))
        found.table.warnings.append(
            f"the dataset viewer did not answer ({error}): these facts come from the repository's files"
        )
        return found


def _refuse_script(info: RepoInfo) -> None:
    """`datasets` 5 refuses a repository with a loader of its name, even where data lies beside it."""
    loader = f"{info.id.rsplit('/', 1)[-1]}.py"
    scripts = [name for name in info.files if "/" not in name and name.endswith(".py")]
    has_data = any(name.lower().endswith((*ROWS, *EXTENSIONS)) for name in info.files)
    if loader in scripts or (scripts and not has_data):
        raise ToolFailure(
            "rejected",
            f"dataset_id = {info.id!r} is loaded by a Python script ({loader if loader in scripts else scripts[0]}), which "
            "datasets no longer runs: choose a copy of it in Parquet, or download it and pass local_dataset_path",
        )


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


# --- the viewer


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
        for row in _rows(_ask(hub, "splits", dataset=info.id).get("splits"))
        if isinstance(row.get("config"), str) and isinstance(row.get("split"), str)
    ]
    if not listed:
        raise NoViewer("splits: it lists none")
    config, why = choose_config(info, list(dict.fromkeys(name for name, _ in listed)), asked)
    names = [split for name, split in listed if name == config]
    warnings: list[str] = []
    splits, features = _info(hub, info, config, names, warnings)
    reader = _ViewerRows(hub, info.id, config, splits, warnings)
    table = Table(
        "viewer",
        splits,
        features or reader.features(names[0]),
        labels=lambda split, column: reader.labels(split, column, table),
        sample=lambda split: reader.first(split)[:N_SAMPLE],
        warnings=warnings,
    )
    return HubTable(table, list(dict.fromkeys(name for name, _ in listed)), config, why, "viewer")


def _info(hub: Hub, info: RepoInfo, config: str, names: list[str], warnings: list[str]) -> tuple[dict, dict]:
    """(split -> rows, columns); empty columns where the viewer has no info but may have rows."""
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
    return splits, {str(name)[:100]: feature(value) for name, value in features.items()}


def _sizes(hub: Hub, info: RepoInfo, config: str, splits: dict[str, int | None]) -> dict[str, int | None]:
    try:
        size = _ask(hub, "size", dataset=info.id, config=config).get("size")
    except NoViewer:
        return splits
    found = {
        row.get("split"): _count(row, "num_rows")
        for row in _rows(size.get("splits") if isinstance(size, dict) else None)
    }
    return {name: found.get(name) if rows is None else rows for name, rows in splits.items()}


class _ViewerRows:
    """The rows that the viewer shows, each split asked for once."""

    def __init__(self, hub: Hub, dataset: str, config: str, splits: dict[str, int | None], warnings: list[str]):
        self.hub, self.where, self.splits, self.warnings = hub, {"dataset": dataset, "config": config}, splits, warnings
        self.answers: dict[str, dict[str, Any]] = {}

    def _first(self, split: str) -> dict[str, Any]:
        if split not in self.answers:
            try:
                self.answers[split] = _ask(self.hub, "first-rows", **self.where, split=split)
            except NoViewer as error:
                self.warnings.append(f"no rows of split {split!r} could be read ({error}): its labels are not checked")
                self.answers[split] = {}
        return self.answers[split]

    def first(self, split: str) -> list[dict[str, Any]]:
        return [row["row"] for row in _rows(self._first(split).get("rows")) if isinstance(row.get("row"), dict)]

    def features(self, split: str) -> dict[str, Feature]:
        return {str(row.get("name")): feature(row.get("type")) for row in _rows(self._first(split).get("features"))}

    def labels(self, split: str, column: str, table: Table) -> Labels:
        rows, known = self.first(split), self.splits.get(split)
        complete = bool(self._first(split)) and (
            len(rows) == known if known is not None else self._first(split).get("truncated") is False
        )
        found = count_labels([row.get(column) for row in rows], table.features[column], complete=complete)
        if complete or len(found.counts) > 1 or not known:
            return found
        # Sorted by class, the first rows say nothing about the rest.
        rows = rows + [row for at in SPREAD for row in self._at(split, max(0, min(int(known * at), known - N_SPREAD)))]
        return count_labels([row.get(column) for row in rows], table.features[column], complete=False)

    def _at(self, split: str, offset: int) -> list[dict[str, Any]]:
        try:
            answer = _ask(self.hub, "rows", **self.where, split=split, offset=offset, length=N_SPREAD)
        except NoViewer:
            return []
        return [row["row"] for row in _rows(answer.get("rows")) if isinstance(row.get("row"), dict)]


def _rows(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _count(value: Any, key: str) -> int | None:
    found = value.get(key) if isinstance(value, dict) else None
    return found if type(found) is int and found >= 0 else None


# --- the repository's files


def _through_files(hub: Hub, info: RepoInfo, asked: str | None, why: str) -> HubTable:
    data = sorted(
        name for name in info.files if name.lower().endswith((*ROWS, *EXTENSIONS)) and not name.startswith(".")
    )
    if not data:
        raise ToolFailure(
            "rejected",
            f"dataset_id = {info.id!r} is empty (no data files among its {len(info.files)} files): choose another dataset",
        )
    declared = [
        row["config_name"] for row in _rows(info.card.get("configs")) if isinstance(row.get("config_name"), str)
    ]
    config, reason = choose_config(info, declared or ["default"], asked)
    parquet = [name for name in data if name.lower().endswith(".parquet")]
    images = [name for name in data if name.lower().endswith(EXTENSIONS)]
    if len(declared) > 1 or not (parquet or len(images) == len(data)):
        raise ToolFailure(
            "unavailable",
            f"dataset_id = {info.id!r} can only be read through the dataset viewer ({why}), its files "
            "being neither one set of parquet files nor folders of images: try again later, or download it and pass "
            "local_dataset_path",
        )
    table = _parquet(hub, info, parquet) if parquet else _images(images)
    return HubTable(table, declared or ["default"], config, reason, "files")


def _images(paths: list[str]) -> Table:
    """[.../]class/image. A folder that names a split is no class."""
    groups = by_split(paths)
    counts = {
        split: Counter(folder for path in group if (folder := _folder(path)) is not None)
        for split, group in groups.items()
    }
    names = tuple(sorted({name for found in counts.values() for name in found}))
    features = {"image": Feature("image", "Image")}
    if names:
        features["label"] = Feature("class", f"ClassLabel({len(names)})", names)
    splits = {split: len(group) for split, group in groups.items()}
    return Table(
        "imagefolder",
        splits,
        features,
        labels=lambda split, column: Labels(
            counts[split], splits[split] - counts[split].total(), splits[split], complete=True
        ),
        sample=lambda split: [{"image": None, "label": _folder(path)} for path in groups[split][:N_SAMPLE]],
    )


def _folder(path: str) -> str | None:
    parts = path.split("/")
    return parts[-2] if len(parts) > 1 and parts[-2].lower() not in (*KEYWORDS, "data", "images") else None


def _parquet(hub: Hub, info: RepoInfo, paths: list[str]) -> Table:
    """Types and row counts from the files' footers. Labels are not read: they lie in the data."""
    groups = by_split(paths)
    every = sum(map(len, groups.values())) <= MAX_FOOTERS
    splits: dict[str, int | None] = {}
    features: dict[str, Feature] = {}
    for split, group in groups.items():
        footers = [_footer(hub, info, path) for path in (group if every else group[:1] if not features else [])]
        splits[split] = sum(footer.num_rows for footer in footers) if every else None
        if footers and not features:
            features = schema_features(footers[0].schema.to_arrow_schema())
    return Table(
        "parquet",
        splits,
        features,
        labels=lambda split, column: Labels(),
        sample=lambda split: [],
        warnings=["labels and rows were not looked at: only the footers of the parquet files were read"],
    )


def _footer(hub: Hub, info: RepoInfo, path: str) -> Any:
    pa = pyarrow_or_fail()
    end = hub.read_bytes("dataset", info.id, info.sha, path, max_bytes=FOOTER, start=-FOOTER)
    try:
        return pa.parquet.read_metadata(pa.BufferReader(b"PAR1" + end))
    except (pa.ArrowException, OSError):
        raise ToolFailure(
            "rejected", f"{path} of {info.id!r} is not readable as parquet: choose another dataset or revision"
        ) from None
