"""What probing a model costs, in seconds and bytes, and how many of transformers' architectures it tells right.

    python benchmarks/probe.py          # repositories of 135M, 7B, 70B and 405B shape on the embedded Hub: sparse files
    TUNEGATE_STAGE_PYTHON=... python benchmarks/probe.py     # and the default config of every architecture for our tasks
    TUNEGATE_STAGE_PYTHON=... python benchmarks/probe.py --container     # and the deep probe beside it, on a Docker engine

`--only 135M --rounds 1 --defaults 3` tries it out: one repository, once, and the first three architectures.
Nothing here asserts a time. The bytes are what arrived: the repository's info, the configs, the weights' headers; their share
is of the weights' own bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import statistics
import struct
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from tunegate.clients.hub import Hub
from tunegate.embedded.hub import EmbeddedHub
from tunegate.embedded.hub_store import Entry, Repo
from tunegate.errors import ToolFailure
from tunegate.probe.model import deep, probe_model
from tunegate.tasks import architectures

HOW = ("right", "asked", "both", "wrong")
SCRIPT = Path(architectures.__file__).with_name("make_architectures.py")
# name: layers, hidden, intermediate, kv width, vocabulary, tied head, shards
SHAPES = {
    "135M": (30, 576, 1536, 192, 49152, True, 1),
    "7B": (32, 4096, 11008, 4096, 32000, False, 3),
    "70B": (80, 8192, 28672, 1024, 128256, False, 30),
    "405B": (126, 16384, 53248, 1024, 128256, False, 191),
}


def tensors(layers: int, hidden: int, inner: int, kv: int, vocabulary: int, tied: bool) -> dict[str, list[int]]:
    """name -> shape of a Llama's tensors."""
    found = {"model.embed_tokens.weight": [vocabulary, hidden]}
    for i in range(layers):
        at = f"model.layers.{i}."
        found |= {f"{at}self_attn.{name}_proj.weight": [hidden, hidden] for name in "qo"}
        found |= {f"{at}self_attn.{name}_proj.weight": [kv, hidden] for name in "kv"}
        found |= {f"{at}mlp.{name}_proj.weight": [inner, hidden] for name in ("gate", "up")}
        found |= {f"{at}mlp.down_proj.weight": [hidden, inner]}
        found |= {f"{at}{name}_layernorm.weight": [hidden] for name in ("input", "post_attention")}
    return found | {"model.norm.weight": [hidden]} | ({} if tied else {"lm_head.weight": [vocabulary, hidden]})


def add(hub: EmbeddedHub, name: str, shape: tuple) -> int:
    """One repository; the weights are sparse files behind real headers. Returns the number of parameters."""
    *sizes, tied, shards = shape
    all_tensors = list(tensors(*sizes, tied).items())
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": sizes[1]}
    card = b"---\nlicense: apache-2.0\npipeline_tag: text-generation\n---\n"
    small = {"config.json": json.dumps(config).encode(), "README.md": card, "tokenizer_config.json": b"{}"}
    per_shard, total, where, entries = -(-len(all_tensors) // shards), 0, {}, {}
    for number in range(shards):
        file = "model.safetensors" if shards == 1 else f"model-{number + 1:05}-of-{shards:05}.safetensors"
        header, at = {"__metadata__": {"format": "pt"}}, 0
        for tensor, dims in all_tensors[number * per_shard : (number + 1) * per_shard]:
            count = dims[0] * (dims[1] if dims[1:] else 1)
            header[tensor] = {"dtype": "BF16", "shape": dims, "data_offsets": [at, at + 2 * count]}
            at, total, where[tensor] = at + 2 * count, total + count, file
        text = json.dumps(header, separators=(",", ":")).encode()
        entries[file] = sparse(hub, struct.pack("<Q", len(text)) + text, at)
    if shards > 1:
        index = {"metadata": {"total_size": 2 * total}, "weight_map": where}
        small["model.safetensors.index.json"] = json.dumps(index, indent=2).encode()
    hub.store.create(Repo("model", name, "bench"))
    entries |= {file: hub.store.add(file, content) for file, content in small.items()}
    hub.store.commit(hub.store.get("model", name), "main", list(entries.items()), author="bench", title="weights")
    return total


def sparse(hub: EmbeddedHub, header: bytes, size: int) -> Entry:
    """A blob of header and `size` zeros that takes no room on the disk; it is named by its header's hash, not its own."""
    digest = hashlib.sha256(header).hexdigest()
    with hub.store.blob(digest).open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)
    return Entry(len(header) + size, digest, digest[:40], True)


def sizes(server: EmbeddedHub, hub: Hub, shapes: dict[str, tuple], rounds: int) -> None:
    heads = ("weights", 12), ("shards", 8), ("requests", 10), ("bytes read", 13), ("share", 9), ("seconds", 9)
    print(f"{'repository':12}" + "".join(f"{head:>{width}}" for head, width in heads) + "   parameters")
    for name, shape in shapes.items():
        expected, seconds = add(server, f"bench/{name}", shape), []
        for _ in range(rounds):
            began, asked = time.perf_counter(), len(server.log)
            facts = probe_model(hub, f"bench/{name}", task="text-generation")
            seconds.append(time.perf_counter() - began)
        assert facts.parameters == expected and facts.weights_bytes == 2 * expected, facts
        print(
            f"{name:12}{facts.weights_bytes / 1e9:>10.1f}GB{shape[-1]:>8}{len(server.log) - asked:>10}"
            f"{facts.bytes_fetched:>13,}{facts.bytes_fetched / facts.weights_bytes:>9.0e}"
            f"{statistics.median(seconds):>9.3f}   {facts.parameters:,} {facts.parameters_by_part}"
        )


def defaults(stage_python: str, first: int | None = None) -> list[dict]:
    """The default config of each architecture that transformers has for our tasks; of the first so many."""
    argv = [stage_python, SCRIPT, "--defaults"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        lines = [json.loads(line) for line in itertools.islice(process.stdout, first)]
        if first is not None:
            process.kill()
        elif process.wait():
            raise SystemExit(f"{stage_python} {SCRIPT} --defaults ended with {process.returncode}")
    return lines


def share(server: EmbeddedHub, hub: Hub, lines: list[dict]) -> None:
    """Probe these default configs."""
    counts, wrong = Counter(), []
    for number, line in enumerate(lines):
        if "error" in line:
            print(f"  (transformers has no default config for {line['architecture']}: {line['error'][:90]})")
            continue
        wanted = {task for task, autos in architectures.AUTO_CLASSES.items() if line["auto_class"] in autos}
        server.add_repo("model", f"bench/a{number}", {"config.json": json.dumps(line["config"]).encode()})
        try:
            facts = probe_model(hub, f"bench/a{number}")
            same = line["architecture"] in architectures.classes(facts.auto_class, facts.model_type)
            how = "right" if facts.task in wanted else "both" if same else "wrong"
        except ToolFailure as failure:
            asks = failure.code == "ambiguous" and any(task in failure.failure.message for task in wanted)
            how = "asked" if asks else "wrong"
        counts[line["auto_class"], how] += 1
        if how == "wrong":
            wrong.append(line["architecture"])
    print(f"\n{'auto class':36}" + "".join(f"{how:>7}" for how in HOW))
    for auto in sorted({auto for auto, _ in counts}):
        print(f"{auto:36}" + "".join(f"{counts[auto, how]:>7}" for how in HOW))
    total, good = sum(counts.values()), sum(counts.values()) - len(wrong)
    print(
        f"{good} of {total} told right ({100 * good / total:.1f} %), those asked included; wrong: {', '.join(wrong) or 'none'}"
    )
    print(
        "asked: one head serves several segmentations. both: the class is one for text too, and is told as image-text-to-text"
    )


ODD = {
    "an unknown model_type": {"model_type": "nope", "architectures": ["NopeForImageClassification"]},
    "a head of another type": {"model_type": "vits", "architectures": ["ViTForImageClassification"]},
    "no model_type": {"architectures": ["ViTForImageClassification"]},
    "its own code": {"model_type": "mine", "auto_map": {"AutoConfig": "configuration.MineConfig"}},
    "speech": {"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]},
}


def beside(server: EmbeddedHub, hub: Hub, lines: list[dict]) -> None:
    """The first architecture of each auto class and some odd configs, told from headers and by AutoConfig in a container."""
    cases = {}
    for line in lines:
        cases.setdefault(line["auto_class"], line.get("config"))
    print(f"\n{'config':36}{'from headers':46}{'s':>6}   {'AutoConfig in a container':46}{'s':>6}")
    agree = 0
    for number, (name, config) in enumerate({**cases, **ODD}.items()):
        server.add_repo("model", f"bench/c{number}", {"config.json": json.dumps(config).encode()})
        began = time.perf_counter()
        try:
            facts = probe_model(hub, f"bench/c{number}")
            known = not any(reason.startswith("transformers ") for reason in facts.reasons)
            told = (facts.auto_class, facts.architectures[0]) if known else ("no class for this type", "")
        except ToolFailure as failure:
            told = (failure.code, "")
        middle = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            seen = deep.inspect(Path(folder), json.dumps(config).encode(), 300)
        ended = time.perf_counter()
        loads = {(auto, name) for auto, names in seen.auto.items() for name in names}
        # what is asked of the user or out of scope is loadable: the container says only that
        same = told in loads if told[1] else seen.error or not any(c in str(loads) for c in config["architectures"])
        same = same or (told[0] in ("ambiguous", "out_of_scope") and not seen.error)
        said = seen.error.split(":")[0] if seen.error else f"{seen.config_class}, {len(seen.auto)} auto classes"
        agree += bool(same)
        print(
            f"{name:36}{' '.join(told)[:45]:46}{middle - began:>6.2f}   {said[:45]:46}{ended - middle:>6.1f}"
            + ("" if same else "   DIFFER")
        )
    print(f"{agree} of {len(cases) + len(ODD)} agree")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=SHAPES, help="of the repositories")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--defaults", type=int, metavar="N", help="only the first N architectures")
    parser.add_argument("--container", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedHub(folder) as server:
        hub = Hub(server.url)
        sizes(server, hub, {name: SHAPES[name] for name in options.only or SHAPES}, options.rounds)
        if stage_python := os.environ.get("TUNEGATE_STAGE_PYTHON"):
            lines = defaults(stage_python, options.defaults)
            share(server, hub, lines)
            if options.container:
                beside(server, hub, lines)


if __name__ == "__main__":
    main()
