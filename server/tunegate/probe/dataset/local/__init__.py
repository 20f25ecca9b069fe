"""Local datasets: which format a path holds, and what is in it. Read-only, bounded, and never out of the directory."""

from __future__ import annotations

from pathlib import Path

from tunegate import tasks
from tunegate.errors import ToolFailure
from tunegate.probe.dataset.images import EXTENSIONS
from tunegate.probe.dataset.local import coco, images, voc
from tunegate.probe.dataset.local import files as local_files
from tunegate.probe.dataset.local.images import DEPTH_FOLDERS, IMAGE_FOLDERS, MASK_FOLDERS, METADATA
from tunegate.probe.dataset.local.tree import entries, folders, has_image, survey
from tunegate.probe.dataset.table import Table
from tunegate.tasks import LOCAL_FORMATS

_TARGETS = {*MASK_FOLDERS, *DEPTH_FOLDERS}


def read_local(path: Path, wanted: str, task: str) -> Table:
    """The dataset at `path` as a Table. Raises not_found, invalid_input, rejected, unavailable (no pyarrow)."""
    try:
        path = path.expanduser().resolve(strict=True)
        found = detect(path, task) if wanted == "auto" else wanted
    except PermissionError as error:
        raise _forbidden(error, path) from None
    except (OSError, RuntimeError):
        raise ToolFailure(
            "not_found", f"local_dataset_path = {str(path)!r} does not exist or cannot be read: check the path"
        ) from None
    if found not in LOCAL_FORMATS:
        raise ToolFailure(
            "invalid_input", f"local_dataset_format = {wanted!r} is none of auto, {', '.join(LOCAL_FORMATS)}"
        )
    if task not in LOCAL_FORMATS[found]:
        raise ToolFailure(
            "rejected",
            f"local_dataset_path = {str(path)!r} is in {found} format, for {' or '.join(LOCAL_FORMATS[found])}, "
            f"not {task}: give {tasks.TASKS[task].local_layout}, or parquet, arrow, csv or jsonl",
        )
    try:
        return _READERS[found](path, found, task)
    except PermissionError as error:
        raise _forbidden(error, path) from None
    except FileNotFoundError as error:
        raise ToolFailure(
            "not_found",
            f"{error.filename or path} disappeared while it was read, or is a broken link: mend it, and call again",
        ) from None


def _forbidden(error: PermissionError, path: Path) -> ToolFailure:
    return ToolFailure(
        "access_denied", f"{error.filename or path} may not be read by this user: change its permissions"
    )


_READERS = {
    "imagefolder": lambda path, kind, task: images.imagefolder(path),
    "segfolder": images.segfolder,
    "coco": coco.coco,
    "voc": voc.voc,
    **dict.fromkeys(("csv", "jsonl", "parquet", "arrow"), lambda path, kind, task: local_files.read(path, kind)),
}


def detect(path: Path, task: str = "image-classification") -> str:
    """The format, from names (and the ends of JSON files) alone. Raises rejected with what a dataset looks like."""
    if path.is_file():
        return _detect_file(path)
    listed = list(entries(path, path))
    names = {entry.name.lower() for entry in listed}
    children = [Path(entry.path) for entry in listed if entry.is_dir()]
    here = {folder: survey(folder) for folder in (path, *children)}
    if "dataset_dict.json" in names or ("state.json" in names and "dataset_info.json" in names):
        return "arrow"
    if voc.looks_like(here):
        return "voc"
    if any(coco.is_coco(file) for seen in here.values() for file in seen.files(".json")):
        return "coco"
    _refuse_yolo(path, children)
    if any((folder / name).is_file() for folder in here for name in METADATA) and has_image(path, depth=3):
        return "imagefolder"
    if any(seen.folders & set(IMAGE_FOLDERS) and seen.folders & _TARGETS for seen in here.values()):
        return "segfolder"
    for suffix, found in local_files.SUFFIXES.items():
        if any(seen.files(suffix) for seen in here.values()):
            return found
    if has_image(path, depth=3):
        return "imagefolder"
    raise ToolFailure(
        "rejected",
        f"local_dataset_path = {str(path)!r} holds no dataset that is known"
        + (" (it is empty)" if not listed else "")
        + f": for {task} give {tasks.TASKS[task].local_layout}, or parquet, arrow, csv or jsonl",
    )


def _detect_file(path: Path) -> str:
    if found := local_files.SUFFIXES.get(path.suffix.lower()):
        return found
    if path.suffix.lower() == ".json":
        if coco.is_coco(path):
            return "coco"
        raise ToolFailure(
            "rejected",
            f"local_dataset_path = {str(path)!r} is a .json file and not COCO: write it as JSON Lines (one object a line, .jsonl)",
        )
    raise ToolFailure(
        "rejected",
        f"local_dataset_path = {str(path)!r} is a {path.suffix or 'plain'} file: give a folder, or a "
        ".parquet, .csv or .jsonl file; unpack archives first",
    )


def _refuse_yolo(path: Path, children: list[Path]) -> None:
    """images/ beside labels/ with a .txt for each image: boxes without a format that says so, and names kept elsewhere."""
    labels = [folder for folder in (path / "labels", *(child / "labels" for child in children)) if folder.is_dir()]
    for folder in labels:
        for inner in folders(folder, path, 1):
            seen = survey(inner)
            if seen.files(".txt") and not seen.files(*EXTENSIONS):
                raise ToolFailure(
                    "rejected",
                    f"local_dataset_path = {str(path)!r} looks like YOLO ({inner.relative_to(path)}/*.txt), which is not read: "
                    "convert it to COCO JSON, or to VOC XML",
                )
