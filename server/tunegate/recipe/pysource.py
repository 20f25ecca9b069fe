"""One Python source as a syntax tree that can be asked where a name comes from and what stands around a call."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from typing import Any

from tunegate.recipe.values import is_symbol, literal

MAX_SOURCE = 512 * 1024  # characters; a training script is tens of kB
OPAQUE = {"symbol": "expression"}  # stands for code that is not a plain value
EVAL_WORDS = ("val", "valid", "validation", "eval", "evaluation", "test", "inference")


def parse(text: str) -> ast.Module:
    """Raises ValueError with a reason when the text is too long or not Python."""
    if len(text) > MAX_SOURCE:
        raise ValueError(f"longer than {MAX_SOURCE // 1024} kB")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a stranger's invalid escapes are not ours to report
            return ast.parse(text)
    except SyntaxError as error:
        raise ValueError(f"does not parse as Python (line {error.lineno})") from None
    except (ValueError, RecursionError, MemoryError):
        raise ValueError("does not parse as Python") from None


class Source:
    """One tree with what is looked up again and again: imports, first assignments, functions, calls."""

    def __init__(self, tree: ast.Module):
        self.imports: dict[str, str] = {}
        self.assigned: dict[str, ast.expr] = {}
        self.functions: dict[str, ast.FunctionDef] = {}
        self.classes: list[ast.ClassDef] = []
        self.placed = list(_placed(tree, ()))  # (node, names around it, innermost last)
        self.calls = [(node, around) for node, around in self.placed if isinstance(node, ast.Call)]
        for node, _ in self.placed:
            self._note(node)

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.imports[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                self.imports[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            self.assigned.setdefault(node.targets[0].id, node.value)
        elif isinstance(node, ast.FunctionDef):
            self.functions.setdefault(node.name, node)
        elif isinstance(node, ast.ClassDef):
            self.classes.append(node)

    def origin(self, node: ast.expr) -> str:
        """`T.Compose` -> torchvision.transforms.Compose, by this file's imports; "" when it is no dotted name."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        return ".".join([self.imports.get(node.id, node.id), *reversed(parts)])

    def resolved(self, node: ast.expr) -> ast.expr:
        """A name -> what was first assigned to it; three steps at most, so that a loop ends."""
        for _ in range(3):
            if isinstance(node, ast.Name) and node.id in self.assigned:
                node = self.assigned[node.id]
        return node

    def value(self, node: ast.expr) -> Any:
        """A literal, a named constant, or {"symbol": name}. Code itself never gets through."""
        try:
            return literal(ast.literal_eval(self.resolved(node)))
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            pass
        name = self.origin(node)
        return {"symbol": name} if is_symbol(name) else dict(OPAQUE)


def _placed(node: ast.AST, around: tuple[str, ...]) -> Iterator[tuple[ast.AST, tuple[str, ...]]]:
    """Every node with the names that it stands under: functions, assignment targets, dict keys, `if is_train`."""
    yield node, around
    if isinstance(node, (ast.If, ast.IfExp)):
        role = _branch(node.test)
        other = {"train": "eval", "eval": "train"}.get(role, "")
        for part, name in ((node.test, ""), (node.body, role), (node.orelse, other)):
            for child in part if isinstance(part, list) else [part]:
                yield from _placed(child, (*around, name) if name else around)
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            name = key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""
            yield from _placed(value, (*around, name))
    else:
        name = _name_of(node)
        for child in ast.iter_child_nodes(node):
            yield from _placed(child, (*around, name) if name else around)


def _name_of(node: ast.AST) -> str:
    if isinstance(node, ast.FunctionDef):
        return node.name if "_" in node.name.strip("_") else ""  # a function `train` says nothing about what is in it
    target = node.targets[0] if isinstance(node, ast.Assign) else None
    return target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else ""


def _branch(test: ast.expr) -> str:
    """`if is_train` -> train; `if not is_train`, `if split == "val"` -> eval."""
    negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    words = [
        n.id if isinstance(n, ast.Name) else n.attr if isinstance(n, ast.Attribute) else n.value
        for n in ast.walk(test)
        if isinstance(n, (ast.Name, ast.Attribute, ast.Constant))
    ]
    role = role_of([w for w in words if isinstance(w, str)])
    return {"train": "eval", "eval": "train"}.get(role, "") if negated else role


def role_of(names: tuple[str, ...] | list[str]) -> str:
    """The innermost name that speaks of training or of evaluation (not of both) decides; "" when none does."""
    for name in reversed(names):
        words = set(name.lower().strip("_").split("_")) | {name.lower()}
        train, evaluation = bool(words & {"train", "training"}), bool(words & set(EVAL_WORDS))
        if train != evaluation:
            return "train" if train else "eval"
    return ""
