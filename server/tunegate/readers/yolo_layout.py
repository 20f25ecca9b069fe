# Copyright (c) 2026, NVIDIA CORPORATION.  All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What a YOLO dataset says of itself: its classes and the images of each split.

Said by a data.yaml (ultralytics), by obj.data, obj.names and lists of images (Darknet), or by the folders alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .refusal import Refusal
from .splits import of_images, split_of
from .tree import EXTENSIONS, Survey, folders, inside, relative, survey, walk

SPLITS = {"train": "train", "val": "validation", "validation": "validation", "valid": "validation", "test": "test"}
CLASS_FILES = ("classes.txt", "obj.names")
MAX_SETTINGS = 1 << 20  # bytes of data.yaml, of a file of names
MAX_LIST = 512 << 20  # bytes of a list of images


@dataclass
class YoloLayout:
    """names: class id -> name, by id. keypoints: how many numbers of keypoints follow a box. said_in: the file that
    names the splits, "" for none."""

    splits: dict[str, list[Path]]
    names: dict[int, str]
    keypoints: int = 0
    said_in: str = ""
    warnings: list[str] = field(default_factory=list)


def read(root: Path) -> YoloLayout:
    """Raises Refusal."""
    warnings: list[str] = []
    base, said = settings(root)
    sources = _sources(root, base, said)
    names = _class_names(root, base, said, warnings)
    if not sources:
        return YoloLayout(_by_folder(root), names, _keypoints(said), "", warnings)
    file = str(said.get("", "its lists"))
    splits = {}
    for split, named in sources.items():
        found = [image for name in named for image in _images_at(name, [*base, root], root, warnings)]
        if found:
            splits[split] = list(dict.fromkeys(found))
        elif split == "train":
            raise Refusal(
                "rejected",
                f"{file} of {root} says train = {', '.join(named)[:200]!r}, and no image was found there: write the "
                "path of the images' folder, relative to that file",
            )
        else:
            warnings.append(f"{file} says {split} = {', '.join(named)[:100]!r}: there is no image, it is not used")
    if "train" not in splits:
        raise Refusal("rejected", f"{file} of {root} names no images to train on: add `train`, the images' folder")
    return YoloLayout(splits, names, _keypoints(said), file, warnings)


# --- data.yaml, obj.data and lists


def settings(root: Path, here: dict[Path, Survey] | None = None) -> tuple[list[Path], dict[str, Any]]:
    """(the folders that its paths may be relative to, what data.yaml or obj.data says; its own name under ""). The
    values are as written: `no` and 0 are names of classes. ([], {}) where there is neither.

    here: root and the folders in it, where they were looked at already.
    """
    found = []
    for seen in (here or {folder: survey(folder) for folder in folders(root, root, 1)}).values():
        for file in sorted(seen.files(".yaml", ".yml", ".data")):
            said = _of_darknet(file, root) if file.suffix == ".data" else _of_yaml(file, root)
            if said and SPLITS.keys() & said.keys() and {"names", "nc"} & said.keys():
                found.append((file, said))
    usual = [one for one in found if one[0].name in ("data.yaml", "data.yml", "obj.data")] or found
    if len(usual) > 1:
        shown = ", ".join(relative(file, root) for file, _ in usual[:4])
        raise Refusal(
            "ambiguous", f"{root} has {len(usual)} files that describe a YOLO dataset ({shown}): keep one of them"
        )
    if not usual:
        return [], {}
    file, said = usual[0]
    written = said.get("path")
    bases = [file.parent / written] if isinstance(written, str) and written else []
    return [*bases, file.parent], {**said, "": relative(file, root)}


def _of_yaml(file: Path, root: Path) -> dict[str, Any] | None:
    if file.stat().st_size > MAX_SETTINGS:
        return None
    try:
        found = yaml.load(inside(file, root).read_text("utf-8-sig", "replace"), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        if file.name not in ("data.yaml", "data.yml"):
            return None
        why = " ".join(str(error).split())[:150]
        raise Refusal("rejected", f"{file} is not readable as YAML ({why}): fix it") from None
    return found if isinstance(found, dict) else None


def _of_darknet(file: Path, root: Path) -> dict[str, Any] | None:
    if file.stat().st_size > MAX_SETTINGS:
        return None
    lines = inside(file, root).read_text("utf-8-sig", "replace").splitlines()
    pairs = [line.partition("=") for line in lines if "=" in line]
    return {"nc" if name.strip() == "classes" else name.strip(): value.strip() for name, _, value in pairs}


def _sources(root: Path, base: list[Path], said: dict[str, Any]) -> dict[str, list[str]]:
    """Split -> folders, or lists of images. Without any that are named: lists called train.txt and so on."""
    sources: dict[str, list[str]] = {}
    for key, split in SPLITS.items():
        value = said.get(key)
        named = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        if named := [one for one in named if isinstance(one, str) and one not in ("", "null", "~")]:
            sources[split] = named
    if sources or said:
        return sources
    lists = {split: root / f"{key}.txt" for key, split in SPLITS.items() if _is_list(root / f"{key}.txt")}
    return {split: [file.name] for split, file in lists.items()} if "train" in lists else {}


def _is_list(file: Path) -> bool:
    """Whether its first line is the path of an image."""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.readline(4096).decode("utf-8", "replace").strip().lower().endswith(EXTENSIONS)


def _images_at(name: str, bases: list[Path], root: Path, warnings: list[str]) -> list[Path]:
    """The images in a folder, or of a list of images."""
    place = _place(name, bases, root)
    if place is None:
        return []
    if place.is_dir():
        return pictures(place, root)
    if place.suffix.lower() in EXTENSIONS:
        return [place]
    if place.stat().st_size > MAX_LIST:
        raise Refusal("rejected", f"{place} is larger than {MAX_LIST >> 20} MB: name the folders instead")
    lines = [line.strip() for line in place.read_text("utf-8-sig", "replace").splitlines() if line.strip()]
    found = [_place(line, [*bases, place.parent], root) for line in lines]
    if lost := [line for line, image in zip(lines, found, strict=True) if image is None]:
        warnings.append(f"{len(lost)} of {len(lines)} images of {name} are not there: {', '.join(lost[:3])[:200]}")
    return [image for image in found if image is not None]


def _place(name: str, bases: list[Path], root: Path) -> Path | None:
    """What a path means here, if that lies below root: relative to a base; else without `..` before it, as Roboflow
    writes it; else, for a path of another machine, the end of it, unless that loses the split's name."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    down = parts[next((i for i, part in enumerate(parts) if part != ".."), len(parts)) :]
    tries = [*(base / name.replace("\\", "/") for base in bases), *(base.joinpath(*down) for base in bases)]
    word = _last_split(down)
    tries += [root.joinpath(*down[i:]) for i in range(1, len(down)) if _last_split(down[i:]) == word]
    for path in tries:
        path = Path(os.path.normpath(path))
        if "\0" not in name and path.is_relative_to(root) and path.exists():
            return inside(path, root)
    return None


def _last_split(parts: list[str]) -> str | None:
    return next((split for part in reversed(parts) if (split := split_of(part))), None)


# --- folders


def pictures(folder: Path, root: Path) -> list[Path]:
    """The images below the folder: of folders called images, where there are any."""
    every = list(walk(folder, root, EXTENSIONS))
    called = [path for path in every if "images" in relative(path.parent, root).lower().split("/")]
    return called or every


def _by_folder(root: Path) -> dict[str, list[Path]]:
    splits: dict[str, list[Path]] = {}
    found = pictures(root, root)
    by_path = of_images([relative(image, root) for image in found])
    for image in found:
        splits.setdefault(by_path[relative(image, root)], []).append(image)
    return splits


# --- classes


def _class_names(root: Path, base: list[Path], said: dict[str, Any], warnings: list[str]) -> dict[int, str]:
    """Class id -> name. Raises Refusal where nothing names the classes, or two have one name."""
    names = _names(said.get("names"))
    if not names:
        names = _from_file(root, base, said.get("names"))
    count = int(said["nc"]) if str(said.get("nc", "")).isdecimal() and len(said["nc"]) < 6 else None
    if not names and count:
        names = {number: f"class_{number}" for number in range(count)}
        warnings.append(f"the {count} classes have no names and are called class_0 and so on: ask the user for them")
    if not names:
        raise Refusal(
            "rejected",
            f"{root} holds YOLO labels and nothing says what the class ids mean: write a classes.txt into it, one "
            "name a line, in the order of the ids from 0",
        )
    if count is not None and count != len(names):
        raise Refusal(
            "rejected",
            f"{said['']} says that there are {count} classes and names {len(names)}: make them agree",
        )
    if twice := [name for number, name in names.items() if name in list(names.values())[: list(names).index(number)]]:
        raise Refusal("rejected", f"two classes of {root} are called {twice[0]!r}: rename or merge them")
    return names


def _names(value: Any) -> dict[int, str]:
    """Of a list, or of a mapping from ids."""
    pairs = list(enumerate(value)) if isinstance(value, list) else value.items() if isinstance(value, dict) else []
    found = {int(key): str(name)[:100] for key, name in pairs if str(key).isdecimal() and len(str(key)) < 6}
    return dict(sorted(found.items())) if len(found) == len(pairs) else {}


def _from_file(root: Path, base: list[Path], named: Any) -> dict[int, str]:
    """One name a line: of the file that is named, and of the usual ones, which must agree."""
    files = [_place(named, [*base, root], root)] if isinstance(named, str) and named else []
    files += [folder / name for folder in folders(root, root, 2) for name in CLASS_FILES]
    found: dict[tuple[str, ...], Path] = {}
    for file in files:
        if file is not None and file.is_file() and file.stat().st_size <= MAX_SETTINGS:
            lines = inside(file, root).read_text("utf-8-sig", "replace").splitlines()
            while lines and not lines[-1].strip():
                lines.pop()
            found.setdefault(tuple(line.strip() for line in lines), file)
    found.pop((), None)
    if len(found) > 1:
        shown = " and ".join(relative(file, root) for file in list(found.values())[:2])
        raise Refusal("ambiguous", f"{shown} list different classes: keep the one that the labels were written with")
    return dict(enumerate(next(iter(found), ())))


def _keypoints(said: dict[str, Any]) -> int:
    """How many numbers of keypoints a line of a pose dataset has: kpt_shape is [points, numbers of each]."""
    shape = said.get("kpt_shape")
    sizes = (
        [int(one) for one in shape if str(one).isdecimal() and len(str(one)) < 5] if isinstance(shape, list) else []
    )
    return sizes[0] * sizes[1] if len(sizes) == 2 else 0
