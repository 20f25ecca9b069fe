"""Local datasets: which format a path holds, and what is in it. Read-only, bounded, and never out of the directory."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tunegate.errors import ToolFailure
from tunegate.probe import local_files
from tunegate.probe.columns import Feature, Labels
from tunegate.probe.images import EXTENSIONS, inspect
from tunegate.probe.table import KEYWORDS, N_SAMPLE, Table
from tunegate.probe.tasks import LOCAL_FORMATS

MAX_ENTRIES = 2_000_000
MAX_INSPECTED = 200  # images whose first and last bytes are looked at
MASK_FOLDERS = ("masks", "mask", "labels", "annotations", "segmentationclass")


def read_local(path: Path, wanted: str, task: str) -> Table:
    """The dataset at `path` as a Table. Raises not_found, invalid_input, rejected, unavailable (no pyarrow)."""
    try:
        path = path.expanduser().resolve(strict=True)
        found = detect(path) if wanted == "auto" else wanted
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
            f"not {task}: give a folder with one subfolder of images for each class, or parquet, arrow, csv or jsonl",
        )
    try:
        return _imagefolder(path) if found == "imagefolder" else local_files.read(path, found)
    except PermissionError as error:
        raise ToolFailure(
            "access_denied", f"{error.filename or path} may not be read by this user: change its permissions"
        ) from None


def detect(path: Path) -> str:
    """The format, from names (and the head of a JSON file) alone. Raises rejected with what a dataset looks like."""
    if path.is_file():
        if found := local_files.SUFFIXES.get(path.suffix.lower()):
            return found
        raise ToolFailure(
            "rejected",
            f"local_dataset_path = {str(path)!r} is a {path.suffix or 'plain'} file: give a folder, or a "
            ".parquet, .csv or .jsonl file; unpack archives first",
        )
    entries = list(_entries(path, path))
    names = {entry.name.lower() for entry in entries}
    folders = [Path(entry.path) for entry in entries if entry.is_dir()]
    if "dataset_dict.json" in names or ("state.json" in names and "dataset_info.json" in names):
        return "arrow"
    if "annotations" in names and ("jpegimages" in names or _any_file(path, "annotations", ".xml")):
        return "voc"
    if any(_is_coco(file) for folder in (path, *folders) for file in sorted(folder.glob("*.json"))[:10]):
        return "coco"
    if "images" in names and names & set(MASK_FOLDERS):
        return "segfolder"
    for suffix, found in local_files.SUFFIXES.items():
        if any(_has_file(folder, suffix) for folder in (path, *folders)):
            return found
    if _has_image(path, depth=3):
        return "imagefolder"
    raise ToolFailure(
        "rejected",
        f"local_dataset_path = {str(path)!r} holds no dataset that is known"
        + (" (it is empty)" if not entries else "")
        + ": for image-classification give a folder with one "
        "subfolder of images for each class (optionally under train/ and validation/), or parquet, arrow, csv or jsonl",
    )


def _imagefolder(root: Path) -> Table:
    """[split/]class/image. Class ids follow the sorted names, as in `datasets`."""
    if root.is_file():
        raise ToolFailure(
            "invalid_input",
            f"local_dataset_path = {str(root)!r} is a file, and imagefolder needs a folder of class folders",
        )
    folders = [entry for entry in _entries(root, root) if entry.is_dir()]
    splits = [entry for entry in folders if entry.name.lower() in KEYWORDS]
    warnings: list[str] = []
    if any(KEYWORDS[entry.name.lower()] == "train" for entry in splits):
        ignored = sorted(entry.name for entry in folders if entry not in splits)
        parts = [(KEYWORDS[entry.name.lower()], Path(entry.path)) for entry in splits]
        if ignored:
            warnings.append(f"folders beside the splits are not used: {', '.join(ignored[:5])}")
    else:
        parts = [("train", root)]
    files: dict[str, dict[str, list[Path]]] = {}
    for split, folder in parts:
        for name, images in _classes(folder, root, warnings).items():
            files.setdefault(split, {}).setdefault(name, []).extend(images)
        files.setdefault(split, {})
    names = tuple(sorted({name for classes in files.values() for name in classes}))
    new = sorted({name for split in files for name in files[split] if split != "train"} - set(files["train"]))
    if new:
        warnings.append(f"{len(new)} classes are never trained on, being in no train folder: {', '.join(new[:5])}")
    _check_images(
        [image for classes in files.values() for images in classes.values() for image in images], root, warnings
    )

    def labels(split: str, column: str) -> Labels:
        counts = Counter({name: len(images) for name, images in files[split].items()})
        return Labels(counts=counts, seen=counts.total(), complete=True)

    def sample(split: str) -> list[dict]:
        first = [(name, images[0]) for name, images in sorted(files[split].items())][:N_SAMPLE]
        return [{"image": _size(image), "label": name} for name, image in first]

    counts = {split: sum(map(len, classes.values())) for split, classes in files.items()}
    features = {"image": Feature("image", "Image"), "label": Feature("class", f"ClassLabel({len(names)})", names)}
    return Table("imagefolder", counts, features, labels, sample, warnings)


def _classes(folder: Path, root: Path, warnings: list[str]) -> dict[str, list[Path]]:
    """Class name -> images in folder/class. Classes without images are left out, and said so."""
    classes, loose, total = {}, 0, 0
    for entry in _entries(folder, root):
        if not entry.is_dir():
            loose += entry.name.lower().endswith(EXTENSIONS)
            continue
        images = []
        for child in _entries(Path(entry.path), root):
            if child.is_dir() and _has_image(Path(child.path), depth=2):
                raise ToolFailure(
                    "rejected",
                    f"{child.path} holds images one folder too deep: the layout is [split/]class/image, so move "
                    "them up, or give the folder that holds the classes as local_dataset_path",
                )
            if child.name.lower().endswith(EXTENSIONS):
                images.append(Path(child.path))
            total += 1
        if total > MAX_ENTRIES:
            raise ToolFailure("rejected", f"{folder} has more than {MAX_ENTRIES:,} files: turn it into parquet first")
        if images:
            classes[entry.name] = sorted(images)
        else:
            warnings.append(f"folder {entry.name!r} holds no images and is no class")
    if loose and not classes:
        raise ToolFailure(
            "rejected",
            f"{folder} holds {loose} images and no class folders: put the images of each class into a folder of its own",
        )
    if loose:
        warnings.append(f"{loose} images beside the class folders of {folder.name!r} have no label and are not used")
    return classes


def _check_images(images: list[Path], root: Path, warnings: list[str]) -> None:
    """Look at a sample spread over all. A few damaged files are named; all damaged is `rejected`."""
    step = max(1, len(images) // MAX_INSPECTED)
    looked, bad = images[::step][:MAX_INSPECTED], []
    for image in looked:
        try:
            inspect(image)
        except (ValueError, OSError) as error:
            bad.append(f"{image.relative_to(root)} {error if isinstance(error, ValueError) else 'cannot be read'}")
    if looked and len(bad) == len(looked):
        raise ToolFailure("rejected", f"none of the {len(looked)} images looked at is a readable image: {bad[0]}")
    if bad:
        warnings.append(f"{len(bad)} of {len(looked)} images looked at are damaged: {'; '.join(bad[:3])}")


def _size(image: Path) -> dict[str, int | None]:
    try:
        _, width, height = inspect(image)
    except (ValueError, OSError):
        width = height = None
    return {"width": width, "height": height}


def _entries(folder: Path, root: Path) -> Iterator[os.DirEntry]:
    """What is in the folder, hidden names apart. A link that leaves the dataset, or leads to a folder, is `rejected`."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.name.startswith("."):
                continue
            if entry.is_symlink():
                check_link(Path(entry.path), root)
            yield entry


def check_link(path: Path, root: Path) -> None:
    target = path.resolve()
    if not target.is_relative_to(root):
        raise ToolFailure(
            "rejected", f"{path} is a link that leaves the dataset's folder {root}: replace it by the file itself"
        )
    if target.is_dir():
        raise ToolFailure("rejected", f"{path} is a link to a folder: replace it by the folder itself")


def _has_file(folder: Path, suffix: str) -> bool:
    return any(entry.name.lower().endswith(suffix) and entry.is_file() for entry in os.scandir(folder))


def _any_file(path: Path, name: str, suffix: str) -> bool:
    return any(_has_file(child, suffix) for child in path.iterdir() if child.is_dir() and child.name.lower() == name)


def _has_image(folder: Path, depth: int) -> bool:
    children = (
        list(_entries(folder, folder.resolve()))
        if depth == 3
        else [e for e in os.scandir(folder) if not e.is_symlink()]
    )
    if any(entry.name.lower().endswith(EXTENSIONS) for entry in children):
        return True
    return depth > 1 and any(_has_image(Path(entry.path), depth - 1) for entry in children if entry.is_dir())


def _is_coco(path: Path) -> bool:
    """A JSON file with the keys of COCO near one end; its size does not matter."""
    try:
        with path.open("rb") as file:
            head = file.read(65_536)
            file.seek(max(0, path.stat().st_size - 65_536))
            both = head + file.read(65_536)
    except OSError:
        return False
    return all(json.dumps(key).encode() in both for key in ("images", "annotations", "categories"))
