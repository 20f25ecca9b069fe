"""Writes architectures.json, what the installed transformers knows, so that the server needs neither it nor torch.

STAGE_PYTHON server/tunegate/tasks/make_architectures.py            # rewrites the file beside this one
STAGE_PYTHON server/tunegate/tasks/make_architectures.py --defaults # prints the default config of each architecture

config   model_type -> config class
auto     auto class -> model_type -> the classes it may load
no_loss  classes of our tasks whose forward takes no labels, or refuses them: a scaffold must compute the loss
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import warnings
from pathlib import Path

import transformers
from transformers.models.auto import configuration_auto, modeling_auto
from transformers.models.auto.auto_factory import _BaseAutoModelClass

SUPPORTED_AUTO_CLASSES = (
    "AutoModelForImageClassification",
    "AutoModelForObjectDetection",
    "AutoModelForSemanticSegmentation",
    "AutoModelForInstanceSegmentation",
    "AutoModelForUniversalSegmentation",
    "AutoModelForDepthEstimation",
    "AutoModelForImageTextToText",
    "AutoModelForCausalLM",
)


def auto_classes() -> dict[str, dict[str, list[str]]]:
    found = {}
    for name, auto in sorted(vars(modeling_auto).items()):
        if not (isinstance(auto, type) and issubclass(auto, _BaseAutoModelClass)) or auto._model_mapping is None:
            continue
        names = auto._model_mapping._model_mapping
        found[name] = {key: list(v) if isinstance(v, (tuple, list)) else [v] for key, v in sorted(names.items())}
    return found


def without_loss(auto: dict[str, dict[str, list[str]]]) -> list[str]:
    classes = {name for auto_class in SUPPORTED_AUTO_CLASSES for names in auto[auto_class].values() for name in names}
    return sorted(name for name in classes if not _computes_loss(name))


def _computes_loss(name: str) -> bool:
    try:
        forward = getattr(transformers, name).forward
        takes = any(key.endswith("labels") for key in inspect.signature(forward).parameters)
        return takes and not re.search(r"labels is not None:\s+raise NotImplementedError", inspect.getsource(forward))
    except Exception as error:  # a class that needs a package which is not installed here
        sys.exit(f"{name}: {error}")


def defaults(auto: dict[str, dict[str, list[str]]]):
    """One JSON line for each architecture of our tasks: its config.json as save_pretrained writes it."""
    for auto_class in SUPPORTED_AUTO_CLASSES:
        for model_type, names in auto[auto_class].items():
            for name in names:
                line = {"auto_class": auto_class, "model_type": model_type, "architecture": name}
                try:
                    config = configuration_auto.CONFIG_MAPPING[model_type]()
                    config.architectures = [name]
                    line["config"] = json.loads(config.to_json_string())
                except Exception as error:  # some configs have no default
                    line["error"] = f"{type(error).__name__}: {str(error)[:200]}"
                yield json.dumps(line)


def main() -> None:
    warnings.simplefilter("ignore")
    auto = auto_classes()
    if "--defaults" in sys.argv:
        for line in defaults(auto):
            print(line)
        return
    known = {
        "transformers": transformers.__version__,
        "config": dict(sorted(configuration_auto.CONFIG_MAPPING_NAMES.items())),
        "auto": auto,
        "no_loss": without_loss(auto),
    }
    # one mapping a line: a diff then shows which one a new version of transformers changes
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in known.items() if key != "auto"]
    mappings = ",\n".join(f"  {json.dumps(name)}: {json.dumps(mapping)}" for name, mapping in auto.items())
    text = "{\n" + ",\n".join([*lines, '"auto": {\n' + mappings + "\n}"]) + "\n}\n"
    Path(__file__).with_name("architectures.json").write_text(text)


if __name__ == "__main__":
    main()
