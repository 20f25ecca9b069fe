"""The transforms of a Python source, those of training and those of evaluation apart.

Read are Compose([...]) of torchvision, albumentations, kornia and monai, timm's create_transform, single transforms and
PIL calls inside functions whose names say what they are for.
"""

from __future__ import annotations

import ast
from typing import Any

from tunegate.recipe.pysource import SourceCode, split_role
from tunegate.recipe.values import is_name, is_symbol

LIBRARIES = ("torchvision", "albumentations", "kornia", "timm", "PIL", "monai")
PIL_METHODS = ("resize", "crop", "rotate", "convert", "transpose", "thumbnail")
CHANCE = ("Random", "Color", "Aug", "TrivialAug")  # how the names begin of what only training does
SPLIT_ROLES = ("train", "eval")
MAX_STEPS = 32
FoundSteps = tuple[str, list[dict], tuple[int, int]]


def transforms(source: SourceCode, problems: list[str]) -> list[FoundSteps]:
    """(role, steps, lines), at most one a role that the caller keeps: the first."""
    seen: list[FoundSteps] = []
    for call, around in source.calls:
        if steps := pipeline(source, call, problems):
            seen += [(role, steps, lines(call)) for role in _roles(source, call, around, steps)]
    for read in (_single, _pil):
        found = read(source) if len({role for role, _, _ in seen}) < 2 else []
        seen += [item for item in found if read is _single or not seen]
    return seen


def lines(*nodes: ast.AST) -> tuple[int, int]:
    return min(n.lineno for n in nodes), max(n.end_lineno or n.lineno for n in nodes)


def _roles(source: SourceCode, call: ast.Call, around: tuple[str, ...], steps: list[dict]) -> list[str]:
    """What stands around the call says it, else what stands around the uses of its name, else what it does."""
    if role := split_role(around) or _flag(call):
        return [role]
    used = {split_role(place) for place in source.read.get(around[-1], ())} if around else set()
    if roles := [role for role in SPLIT_ROLES if role in used]:
        return roles
    return ["train" if any(step["name"].startswith(CHANCE) for step in steps) else "eval"]


def _flag(call: ast.Call) -> str:
    """timm's create_transform(is_training=True)."""
    for keyword in call.keywords:
        if keyword.arg == "is_training" and isinstance(keyword.value, ast.Constant):
            return "train" if keyword.value.value else "eval"
    return ""


def pipeline(source: SourceCode, call: ast.Call, problems: list[str], depth: int = 0) -> list[dict]:
    """A Compose call -> its steps, in order; [] for any other call. Depth is bounded: names can refer in circles."""
    origin = source.origin(call.func)
    name, root = origin.rsplit(".", 1)[-1], origin.split(".")[0]
    if name == "create_transform" and root == "timm":
        return [_step(source, call, problems, depth)]
    if name != "Compose" or not call.args or not (origin == "Compose" or root in (*LIBRARIES, "transforms", "T", "A")):
        return []
    return _steps(source, call.args[0], problems, depth)


def _steps(source: SourceCode, listed: ast.expr, problems: list[str], depth: int) -> list[dict]:
    steps: list[dict] = []
    for node in source.items(listed)[:MAX_STEPS] if depth < 2 else []:
        node = source.resolved(node.body if isinstance(node, ast.IfExp) else node)
        if isinstance(node, ast.Call) and is_name(source.origin(node.func).rsplit(".", 1)[-1]):
            inner = [] if any(k.arg == "p" for k in node.keywords) else pipeline(source, node, problems, depth + 1)
            steps += inner or [_step(source, node, problems, depth)]
        elif is_symbol(source.origin(node)):
            steps.append({"name": source.origin(node)})
        else:
            problems.append(f"line {node.lineno}: a transform that is not a plain call was left out")
    return steps[:MAX_STEPS]


def _step(source: SourceCode, call: ast.Call, problems: list[str], depth: int = 0) -> dict:
    """One transform. Those that choose or group others (OneOf, RandomApply, Compose with p) hold them under `transforms`."""
    origin = source.origin(call.func)
    step: dict[str, Any] = {"name": origin.rsplit(".", 1)[-1]}
    if origin.split(".")[0] in LIBRARIES:
        step["library"] = origin.split(".")[0]
    plain = [node for node in call.args[:8] if not isinstance(node, ast.Starred)]
    if plain and any(isinstance(node, ast.Call) for node in source.items(plain[0])):
        step["transforms"] = _steps(source, plain.pop(0), problems, depth + 1)
    if plain:
        step["args"] = [source.value(node) for node in plain]
    if kwargs := {k.arg: source.value(k.value) for k in call.keywords[:16] if is_name(k.arg)}:
        step["kwargs"] = kwargs
    return step


def _single(source: SourceCode) -> list[FoundSteps]:
    """`jitter = ColorJitter(...)`, called inside `def train_transforms(batch)`."""
    steps: dict[str, list[tuple[dict, ast.Call]]] = {role: [] for role in SPLIT_ROLES}
    for call, around in source.calls:
        role, made = split_role(around), source.resolved(call.func)
        if role and isinstance(made, ast.Call) and isinstance(call.func, ast.Name):
            if source.origin(made.func).split(".")[0] in LIBRARIES[:4] and not pipeline(source, made, []):
                steps[role].append((_step(source, made, []), made))
    return _gathered(steps)


def _pil(source: SourceCode) -> list[FoundSteps]:
    """Scripts that call PIL directly, inside functions whose names say what they are for."""
    if not any(origin.split(".")[0] == "PIL" for origin in source.imports.values()):
        return []
    steps: dict[str, list[tuple[dict, ast.Call]]] = {role: [] for role in SPLIT_ROLES}
    for call, around in source.calls:
        origin, role = source.origin(call.func), split_role(around)
        method = isinstance(call.func, ast.Attribute) and call.func.attr in PIL_METHODS
        if role and (method or origin.startswith(("PIL.ImageOps.", "PIL.ImageEnhance."))):
            name = call.func.attr if method else origin.rsplit(".", 1)[-1]
            steps[role].append((_step(source, call, []) | {"name": name, "library": "PIL"}, call))
    return _gathered(steps)


def _gathered(steps: dict[str, list[tuple[dict, ast.Call]]]) -> list[FoundSteps]:
    return [
        (role, [step for step, _ in seen][:MAX_STEPS], lines(*[call for _, call in seen]))
        for role, seen in steps.items()
        if seen
    ]
