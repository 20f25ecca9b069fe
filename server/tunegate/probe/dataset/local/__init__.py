"""Local datasets as Tables. What they are and how they are read is readers/; here are the task's rules and the refusals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunegate import tasks
from tunegate.errors import ToolFailure
from tunegate.probe.dataset.local import annotated, files, images, tars
from tunegate.probe.dataset.table import Table
from tunegate.readers.detect import detect
from tunegate.readers.refusal import Refusal
from tunegate.tasks import LOCAL_FORMATS

_TABLES = {
    "imagefolder": images.imagefolder,
    "segfolder": images.segfolder,
    "captions": images.captioned,
    "coco": annotated.coco_table,
    "voc": annotated.voc_table,
    "yolo": annotated.yolo_table,
    "webdataset": tars.tar_table,
}


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Turns what a reader refuses, or cannot open, into a ToolFailure. Tables are read lazily: it belongs around their use, too."""
    try:
        yield
    except Refusal as refusal:
        raise ToolFailure(refusal.code, str(refusal)) from None
    except PermissionError as error:
        raise ToolFailure(
            "access_denied", f"{error.filename or path} may not be read by this user: change its permissions"
        ) from None
    except FileNotFoundError as error:
        raise ToolFailure(
            "not_found",
            f"{error.filename or path} disappeared while it was read, or is a broken link: fix it, and call again",
        ) from None


def read_local(path: Path, wanted: str, task: str) -> Table:
    """The dataset at `path` as a Table. Raises not_found, invalid_input, rejected, unavailable (no pyarrow)."""
    with refusals(path):
        try:
            path = path.expanduser().resolve(strict=True)
            found = detect(path, f"{tasks.TASKS[task].local_layout} for {task}") if wanted == "auto" else wanted
        except PermissionError:
            raise
        except (OSError, RuntimeError):
            raise ToolFailure(
                "not_found", f"local_dataset_path = {str(path)!r} does not exist or cannot be read: check the path"
            ) from None
        _check(path, found, wanted, task)
        return _TABLES[found](path, task) if found in _TABLES else files.table(path, found)


def _check(path: Path, found: str, wanted: str, task: str) -> None:
    if found not in LOCAL_FORMATS:
        raise ToolFailure(
            "invalid_input", f"local_dataset_format = {wanted!r} is not one of auto, {', '.join(LOCAL_FORMATS)}"
        )
    if task not in LOCAL_FORMATS[found]:
        raise ToolFailure(
            "rejected",
            f"local_dataset_path = {str(path)!r} is in {found} format, for {' or '.join(LOCAL_FORMATS[found])}, "
            f"not {task}: give {tasks.TASKS[task].local_layout}, or parquet, arrow, csv or jsonl",
        )
