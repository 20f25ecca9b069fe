"""What of the published weights a training moved: the two models' safetensors compared, in little memory.

Of each tensor some pieces are compared first; one that looks the same in them is compared as a whole, up to FULLY bytes of a model.
Nothing of the model is loaded, and nothing of the run's code is asked.
"""

from __future__ import annotations

import array
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from tunegate import evidence
from tunegate.config import RunConfig
from tunegate.jobs import hub_cache, snapshot
from tunegate.probe.model.safetensors import DTYPE_BITS, LENGTH_BYTES, Tensor, header_length, parse_header
from tunegate.rundir import Run

PIECES, PIECE = 16, 256  # of a tensor: pieces, and elements of one
FULLY = 4 << 30  # bytes of a model that are compared as a whole
STRIDE = 1 << 20
BUFFER = re.compile(
    r"(^|\.)(running_mean|running_var|num_batches_tracked|position_ids|inv_freq)$"
)  # change without training
NARROW = {"BF16": 2**-7, "F16": 2**-9}  # relative: what saving a wider number in this type may change


@dataclass(frozen=True)
class Stored:
    """A tensor in a file."""

    path: Path
    begins: int  # where the data of all tensors begin
    tensor: Tensor


@dataclass
class Moved:
    """Parameters of the published model: how many there are, and how many lie in tensors that moved; new: of no counterpart."""

    parameters: int = 0
    moved: int = 0
    new: int = 0
    tensors: int = 0
    still: list[str] = field(default_factory=list)
    left: int = FULLY


def of_training(run: Run, config: RunConfig) -> tuple[dict[str, Any], list[str]]:
    """(facts, problems) of checkpoints/final beside what it was trained from; `moved` is None where nothing can be compared."""
    final = run.at("checkpoints/final")
    if (final / "adapter_model.safetensors").is_file():
        return _of_adapter(final)
    return of_folder(run, config, "checkpoints/final")


def of_folder(run: Run, config: RunConfig, folder: str) -> tuple[dict[str, Any], list[str]]:
    """The same of whole weights in a folder of the run."""
    published = _published(run, config)
    found = (
        compare(_tensors(published), _tensors(sorted(run.at(folder).glob("*.safetensors")))) if published else Moved()
    )
    if not found.parameters:
        return {"moved": None}, []
    facts = {"parameters": found.parameters, "moved": found.moved, "new": found.new, "still": found.still[:5]}
    if found.moved or found.new:
        return {"moved": facts}, []
    return {"moved": facts}, [
        f"{folder} holds the published weights: of {found.parameters:,} parameters none moved; nothing was trained. Check what "
        "model.py freezes and learning_rate, and train again"
    ]


def sentence(facts: dict[str, Any]) -> str:
    """How much of the published model moved; "" where it is not known. facts: of train."""
    found = facts.get("moved") or {}
    if "parameters" not in found:
        return ""
    share, new = found["moved"] / found["parameters"], f", {found['new']:,} are new" if found["new"] else ""
    return f"{found['moved']:,} of {found['parameters']:,} published parameters lie in tensors that moved ({share:.1%}){new}"


def _of_adapter(final: Path) -> tuple[dict[str, Any], list[str]]:
    """An adapter's second matrices begin at zero: those that still are were never trained."""
    second = {name: one for name, one in _tensors([final / "adapter_model.safetensors"]).items() if ".lora_B" in name}
    idle = [name for name, one in second.items() if not _any(one)]
    facts = {"moved": {"tensors": len(second), "still": len(idle)}}
    if second and len(idle) == len(second):
        return facts, [
            "checkpoints/final holds an adapter without effect (lora_B is zero everywhere): nothing was trained"
        ]
    return facts, []


def _published(run: Run, config: RunConfig) -> list[Path]:
    """The model's safetensors in the cache of downloads, where they are what the Hub published."""
    model = evidence.read(run, "model")
    hashes = model.facts.get("hashes") if model else None
    if not hashes or not config.model_revision or not run.work:
        return []
    files = hub_cache.published(snapshot.hub(run), config.model_id, config.model_revision, hashes, ".safetensors")
    return [path for name, path in files.items() if "/" not in name]


def compare(before: dict[str, Stored], after: dict[str, Stored]) -> Moved:
    """Counts over the tensors of `after`; one without a counterpart of its size in `before` is new."""
    found, short = Moved(), _by_short_name(before)
    for name, one in after.items():
        if BUFFER.search(name):
            continue
        base = next((short[key] for key in _short_names(name) if key in short), None)
        if base is None or base.tensor.elements != one.tensor.elements:
            found.new += one.tensor.elements
            continue
        found.parameters += one.tensor.elements
        found.tensors += 1
        if _differs(base, one, found):
            found.moved += one.tensor.elements
        else:
            found.still.append(name)
    return found


def _short_names(name: str) -> list[str]:
    """A head is put on a model under a prefix: `vit.encoder.x` is `encoder.x` of the model without one."""
    parts = name.split(".")
    return [".".join(parts[at:]) for at in range(min(3, len(parts)))]


def _by_short_name(tensors: dict[str, Stored]) -> dict[str, Stored]:
    found: dict[str, Stored] = {}
    for name, one in tensors.items():
        for key in _short_names(name)[1:]:
            found.setdefault(key, one)
    return found | tensors


def _tensors(paths: list[Path]) -> dict[str, Stored]:
    """Raises ValueError for what is no safetensors file."""
    found = {}
    for path in paths:
        with path.open("rb") as file:
            length = header_length(file.read(LENGTH_BYTES))
            described = parse_header(file.read(length))
        for tensor in described.tensors:
            found[tensor.name] = Stored(path, LENGTH_BYTES + length, tensor)
    return found


def _differs(base: Stored, tuned: Stored, found: Moved) -> bool:
    with base.path.open("rb") as before, tuned.path.open("rb") as after:
        for at, count in _pieces(base.tensor.elements):
            one, other = _values(before, base, at, count), _values(after, tuned, at, count)
            if one is None or other is None:
                return True  # of a type that is not read here: nothing says that it stayed
            slack = _slack(base.tensor.dtype, tuned.tensor.dtype)
            if any(abs(b - a) > slack * abs(a) or (b != b) for a, b in zip(one, other, strict=True)):
                return True
        return base.tensor.dtype == tuned.tensor.dtype and _bytes_differ(before, base, after, tuned, found)


def _slack(before: str, after: str) -> float:
    """0 where what did not move is written the same."""
    return NARROW.get(after, 0.0) if before != after else 0.0


def _bytes_differ(before: BinaryIO, base: Stored, after: BinaryIO, tuned: Stored, found: Moved) -> bool:
    """The whole tensors, as long as the budget lasts."""
    size = base.tensor.stop - base.tensor.start
    if size > found.left:
        return False
    found.left -= size
    before.seek(base.begins + base.tensor.start)
    after.seek(tuned.begins + tuned.tensor.start)
    return any(
        before.read(part) != after.read(part) for part in (min(STRIDE, size - at) for at in range(0, size, STRIDE))
    )


def _pieces(elements: int) -> Iterator[tuple[int, int]]:
    """(start, number) of up to PIECES pieces, spread evenly."""
    if elements <= PIECES * PIECE:
        yield 0, elements
        return
    for at in range(PIECES):
        yield at * (elements - PIECE) // (PIECES - 1), PIECE


def _values(file: BinaryIO, stored: Stored, at: int, count: int) -> Any:
    """Elements as numbers; None for a type that is none of the usual ones."""
    width = DTYPE_BITS.get(stored.tensor.dtype, 0) // 8
    file.seek(stored.begins + stored.tensor.start + at * width)
    data = file.read(count * width)
    dtype = stored.tensor.dtype
    if dtype == "BF16":
        wide = bytearray(2 * len(data))
        wide[2::4], wide[3::4] = data[0::2], data[1::2]
        return array.array("f", bytes(wide))
    if dtype == "F16":
        return struct.unpack(f"<{count}e", data)
    code = {"F32": "f", "F64": "d", "I64": "q", "I32": "i", "U8": "B", "I8": "b", "BOOL": "B"}.get(dtype)
    return array.array(code, data) if code else None


def _any(stored: Stored) -> bool:
    """Whether an element is not zero; a minus sign does not make it so."""
    with stored.path.open("rb") as file:
        for at in range(0, stored.tensor.elements, STRIDE):
            values = _values(file, stored, at, min(STRIDE, stored.tensor.elements - at))
            if values is None or any(values):
                return True
    return False
