"""A repository's weights, from headers and file names alone: format, exact parameter counts by dtype and by part, bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tunegate.clients.hub import Hub, RepoInfo
from tunegate.probe.model import formats, parts, quantized
from tunegate.probe.model.quantized import Quantization
from tunegate.probe.model.repo_files import json_file, whole
from tunegate.probe.model.safetensors import LENGTH_BYTES, Weights, header_length, parse_header

WEIGHTS_INDEX, WEIGHTS_FILE = "model.safetensors.index.json", "model.safetensors"
MAX_INDEX = 24_000_000  # DeepSeek-V3 has 9 MB
MAX_SHARDS = 256  # more than this are not read one by one: the index says what they hold
MAX_HEADERS = 32_000_000  # bytes of all headers together
FIRST_READ = 16_384  # one request covers the header of most small models
PER_TENSOR = 110  # bytes of a header's entry besides the name
AT_ONCE = 8  # requests
PICKLES = ("pytorch_model.bin", "pytorch_model-")
OTHERS = (".safetensors", ".h5", ".msgpack", ".onnx", ".bin", ".pt", ".pth")


def is_pickle(name: str) -> bool:
    return name.startswith(PICKLES) and name.endswith(".bin")


def has_model(info: RepoInfo) -> bool:
    """Whether there are weights of a whole model that transformers would find."""
    return WEIGHTS_FILE in info.files or WEIGHTS_INDEX in info.files or any(map(is_pickle, info.files))


def read(
    hub: Hub,
    info: RepoInfo,
    part_of: Callable[[str], str],
    quantization: Quantization | None,
    warnings: list[str],
    reasons: list[str],
) -> dict[str, Any]:
    """weights_format, parameters, parameters_by_dtype, parameters_by_part, weights_bytes, bytes_by_dtype.

    part_of: a tensor's name -> its part. What is wrong is added to `reasons`, what is odd to `warnings`.
    """
    if WEIGHTS_FILE in info.files or WEIGHTS_INDEX in info.files:
        try:
            return {"weights_format": "safetensors", **_safetensors(hub, info, part_of, quantization, warnings)}
        except ValueError as error:
            reasons.append(f"its safetensors weights are damaged: {error}; choose another model or revision")
            return {"weights_format": "safetensors"}
    pickles = [name for name in info.files if is_pickle(name)]
    if pickles:
        sizes = [info.files[name] for name in pickles]
        warnings.append(
            "its weights are .bin (pickle) files only: loading them needs weights_only=True, and their parameters cannot "
            "be counted from a header. A revision with safetensors is safer, where its page offers one"
        )
        return {"weights_format": "bin-only", "weights_bytes": sum(sizes) if None not in sizes else None}
    if any(name.endswith(".gguf") for name in info.files):
        base = formats.choose_base(formats.base_model(info))
        reasons.append(f"its weights are GGUF only, made for inference: {base}")
        return {"weights_format": "gguf"}
    others = [repr(name[:80]) for name in info.files if name.endswith(OTHERS)][:3]
    reasons.append(
        f"it has neither {WEIGHTS_FILE} nor pytorch_model.bin at its top"
        + (f" (only {', '.join(others)})" if others else "")
        + ": choose a model with weights for transformers on PyTorch"
    )
    return {"weights_format": "none"}


def _safetensors(
    hub: Hub,
    info: RepoInfo,
    part_of: Callable[[str], str],
    quantization: Quantization | None,
    warnings: list[str],
) -> dict[str, Any]:
    """The counts over all shards. Raises ValueError with the reason if an index or a header is damaged."""
    if WEIGHTS_FILE in info.files:
        shards, meta = {WEIGHTS_FILE: []}, {}
    else:
        shards, meta = _index(hub, info)
    found = _headers(hub, info, shards) if len(shards) <= MAX_SHARDS else None
    if found is None:
        warnings.append(
            f"{len(shards)} shards: sizes are those that {WEIGHTS_INDEX} states, not counted from each header"
        )
        return {"parameters": whole(meta.get("total_parameters")), "weights_bytes": whole(meta.get("total_size"))}
    held = {tensor.name for weights in found.values() for tensor in weights.tensors}
    if lost := [name for tensors in shards.values() for name in tensors if name not in held]:
        warnings.append(f"{WEIGHTS_INDEX} names {len(lost)} tensors that no shard holds, e.g. {lost[0][:80]!r}")
    return _counts(found.values(), part_of, quantization, warnings)


def _counts(
    files: Iterable[Weights], part_of: Callable[[str], str], quantization: Quantization | None, warnings: list[str]
) -> dict[str, Any]:
    by_dtype, in_bytes, by_part = {}, {}, {}
    for weights in files:
        for dtype, size in weights.bytes.items():
            in_bytes[dtype] = in_bytes.get(dtype, 0) + size
        for tensor in weights.tensors:
            held = quantized.elements(tensor, quantization)
            part = part_of(tensor.name)
            by_dtype[tensor.dtype] = by_dtype.get(tensor.dtype, 0) + held
            by_part[part] = by_part.get(part, 0) + held
    if not sum(by_dtype.values()):
        raise ValueError("they hold no tensor")
    if quantization:
        warnings.append(f"its weights are quantized ({quantization.label}): parameters are counted after unpacking")
    return {
        "parameters": sum(by_dtype.values()),
        "parameters_by_dtype": {dtype: count for dtype, count in by_dtype.items() if count},
        "parameters_by_part": {part: by_part[part] for part in parts.PARTS if by_part.get(part)},
        "weights_bytes": sum(in_bytes.values()),
        "bytes_by_dtype": in_bytes,
    }


def _index(hub: Hub, info: RepoInfo) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """({shard: its tensors}, metadata). Raises ValueError when it names no file, or files that are not there."""
    index = json_file(hub, info, WEIGHTS_INDEX, MAX_INDEX)
    named = index.get("weight_map")
    shards: dict[str, list[str]] = {}
    for tensor, name in named.items() if isinstance(named, dict) else ():
        if isinstance(name, str):
            shards.setdefault(name, []).append(tensor)
    if not shards:
        raise ValueError(f"{WEIGHTS_INDEX} names no file")
    missing = sorted(name for name in shards if name not in info.files)
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise ValueError(f"{WEIGHTS_INDEX} names {missing[0][:80]!r}{more}, which the repository lacks")
    meta = index.get("metadata")
    return dict(sorted(shards.items())), meta if isinstance(meta, dict) else {}


def _headers(hub: Hub, info: RepoInfo, shards: dict[str, list[str]]) -> dict[str, Weights] | None:
    """Each file's header; None when all headers together are more than MAX_HEADERS. Raises ValueError: a damaged header.

    Two rounds of requests: how long the headers say they are is known, and bounded, before the rest of any is read.
    """
    hubs = {name: hub.recording() for name in shards}
    guess = {name: _guess(tensors) for name, tensors in shards.items()}
    if sum(guess.values()) > MAX_HEADERS:
        return None
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        starts = dict(zip(shards, pool.map(lambda n: _read(hubs[n], info, n, 0, guess[n]), shards), strict=True))
        lengths = {name: _checked(header_length, name, start) for name, start in starts.items()}
        if sum(lengths.values()) > MAX_HEADERS:
            return None
        rest = {n: LENGTH_BYTES + lengths[n] - len(starts[n]) for n in shards}
        short = [name for name in shards if rest[name] > 0 and len(starts[name]) == guess[name]]
        more = pool.map(lambda n: _read(hubs[n], info, n, guess[n], rest[n]), short)
        starts |= {name: starts[name] + tail for name, tail in zip(short, more, strict=True)}
    finally:
        pool.shutdown(cancel_futures=True)  # after a failure the other shards are of no use
        for one in hubs.values():
            hub.trail.sources += one.trail.sources
            hub.trail.bytes_fetched += one.trail.bytes_fetched
    return {name: _parsed(info, name, start[LENGTH_BYTES:], lengths[name]) for name, start in starts.items()}


def _guess(tensors: list[str]) -> int:
    """How many bytes to ask for first: of a shard, what its tensors' entries will take."""
    return sum(len(name) + PER_TENSOR for name in tensors) + 256 if tensors else FIRST_READ


def _read(hub: Hub, info: RepoInfo, name: str, start: int, length: int) -> bytes:
    return hub.read_bytes("model", info.id, info.sha, name, max_bytes=length, start=start, length=length)


def _checked(check: Callable[[bytes], Any], name: str, content: bytes) -> Any:
    try:
        return check(content)
    except ValueError as error:
        raise ValueError(f"{name[:80]!r}: {error}") from None


def _parsed(info: RepoInfo, name: str, header: bytes, length: int) -> Weights:
    if len(header) < length:
        raise ValueError(f"{name[:80]!r}: it announces a header of {length:,} bytes and ends after {len(header):,}")
    found, size = _checked(parse_header, name, header[:length]), info.files[name]
    if size is not None and size != found.end:
        raise ValueError(f"{name[:80]!r}: its header describes {found.end:,} bytes, the file has {size:,}")
    return found
