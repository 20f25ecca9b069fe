"""Runs inside the probe's container, in .probe/: some rows of each split of a Hub dataset, as `datasets` streams them.

    python -I stream_dataset.py KEY [REQUIREMENT... -- [pip's own options]]

asked.json: {"id", "config", "revision", "rows" (of a split), "seconds" (for a split), "bytes" (of result.json)}.
Writes result.json: {"key", "python", "datasets", "splits": [{"name", "rows", "features", "looked", "complete"}]}, or
{"key", "python", "datasets", "error", "passing"} (passing: not the dataset's fault). A cell of an image column is {"data": base64
of the file, "width", "height", "mode"}; of a file over MAX_FILE "data" is a PNG of what it shows, sampled down to SIDE pixels, and
"shrunk" is true. What is missing of `datasets` and Pillow, pip installs. No code of the repository runs: datasets 5 refuses it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import platform
import signal
import subprocess
import sys
import time

MAX_FILE = 96 << 10  # bytes of an image file that is handed on as it is
MAX_READ = 64 << 20  # bytes of an image file that is read at all
SAMPLED_SIDE = (
    256  # pixels: larger files are sampled down to this, nearest pixel, so that the values of a mask stay what they are
)
TOTAL_S = 1200
MAX_SPLITS, MAX_PARTS = 12, 4
PASSING = ("ConnectionError", "TimeoutError", "HTTPError", "TransportError", "OfflineModeIsEnabled")
MAX_TEXT, MAX_ITEMS, MAX_DEPTH = 200_000, 10_000, 8


def main(key: str, *install: str) -> int:
    try:
        import datasets
        import PIL.Image
    except ImportError:
        if (code := fill(*install)) != 0:
            return code
        import datasets
        import PIL.Image
    PIL.Image.MAX_IMAGE_PIXELS = 50_000_000
    signal.signal(signal.SIGALRM, late)
    signal.alarm(TOTAL_S)
    found = {"key": key, "python": platform.python_version(), "datasets": datasets.__version__}
    try:
        with open("asked.json") as file:
            found["splits"] = list(splits(**json.load(file)))
    except Exception as error:  # whatever a repository can do to `datasets` is the answer
        found["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        found["passing"] = any(kind.__name__ in PASSING for kind in type(error).__mro__)
    with open("result.tmp", "w") as file:
        json.dump(found, file)
    os.replace("result.tmp", "result.json")
    return 0


def late(*_) -> None:
    raise TimeoutError(f"its first rows took more than {TOTAL_S // 60} minutes")


def fill(*install: str) -> int:
    """pip, into site/ beside this script: the image itself may keep its own packages from being changed."""
    own = {**os.environ, "PYTHONUSERBASE": os.path.abspath("site")}
    own.pop("PYTHONNOUSERSITE", None)
    wanted, at = list(install), install.index("--")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--user",
        "--quiet",
        "--no-cache-dir",
        *wanted[at + 1 :],
        *wanted[:at],
    ]
    code = subprocess.call(pip, env=own)
    site = subprocess.run([sys.executable, "-m", "site", "--user-site"], env=own, capture_output=True, text=True)
    sys.path.insert(0, site.stdout.strip())
    return code


def splits(id: str, config: str, revision: str, rows: int, seconds: float, bytes: int):
    from datasets import load_dataset

    loaded = load_dataset(id, config, revision=revision, streaming=True)
    names = list(loaded)[:MAX_SPLITS]
    for name in names:
        features = loaded[name].features
        info = (loaded[name].info.splits or {}).get(name)
        stop = time.monotonic() + seconds
        looked, complete = read(loaded[name], features, rows, bytes // len(names), stop)
        yield {
            "name": name,
            "rows": getattr(info, "num_examples", None) or None,  # 0 where the card does not say
            "features": features.to_dict() if features else None,
            "looked": looked,
            "complete": complete,
        }


def read(split, features, rows: int, room: int, stop: float) -> tuple[list[dict], bool]:
    """(rows, whether these are all). From the beginnings of up to four equal parts: sorted by class, the first rows say little."""
    split = (
        split.decode(False) if features else split
    )  # the files themselves, and no decoder's opinion of a damaged one
    number = max(1, min(MAX_PARTS, split.num_shards))
    found, complete = [], True
    for at in range(number):
        part = iter(split.shard(number, at) if number > 1 else split)
        allowed, left = rows // number, room // number
        while (row := next(part, None)) is not None:
            if allowed == 0 or left < 0 or time.monotonic() > stop:
                complete = False
                break
            found.append({name: cell(value, (features or {}).get(name)) for name, value in row.items()})
            allowed, left = allowed - 1, left - len(json.dumps(found[-1]))
    return found, complete


def cell(value, kind):
    name = type(kind).__name__
    if value is None:
        return None
    if name == "Image":
        return picture(value)
    if name in ("List", "LargeList", "Sequence") and type(kind.feature).__name__ == "Image":
        return [cell(item, kind.feature) for item in value[:20]]
    return as_json(value)


def picture(value) -> dict:
    """The file as it is, or what it shows, smaller."""
    import PIL.Image

    try:
        data = content(value)
        with PIL.Image.open(io.BytesIO(data)) as image:
            facts = {"width": image.width, "height": image.height, "mode": image.mode}
            if len(data) <= MAX_FILE:
                return {**facts, "data": base64.b64encode(data).decode()}
            image.load()
            return {**facts, "shrunk": True, "data": base64.b64encode(smaller(image, data)).decode()}
    except Exception as error:
        return {"problem": f"cannot be read ({type(error).__name__})"}


def content(value) -> bytes:
    if value.get("bytes") is not None:
        return value["bytes"]
    from datasets.utils.file_utils import xopen

    with xopen(value["path"], "rb") as file:
        return file.read(MAX_READ)


def smaller(image, data: bytes) -> bytes:
    """PNG. It carries the file's hash: two of them are the same bytes only where the files were."""
    from PIL import PngImagePlugin

    if image.mode not in ("1", "L", "P", "RGB", "I;16"):
        image = image.convert("RGB")
    share = min(1.0, SAMPLED_SIDE / max(image.size))
    note, out = PngImagePlugin.PngInfo(), io.BytesIO()
    note.add_text("sha256", hashlib.sha256(data).hexdigest())
    image.resize([max(1, round(side * share)) for side in image.size], 0).save(out, "png", pnginfo=note)
    return out.getvalue()


def as_json(value, depth: int = 0):
    """What JSON can hold of it, and no more than a sample needs."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if depth < MAX_DEPTH and hasattr(value, "tolist"):
        value = value.tolist()
    if depth < MAX_DEPTH and isinstance(value, (list, tuple)):
        return [as_json(item, depth + 1) for item in value[:MAX_ITEMS]]
    if depth < MAX_DEPTH and isinstance(value, dict):
        return {str(name)[:100]: as_json(item, depth + 1) for name, item in list(value.items())[:100]}
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)[:200]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
