"""One Python source as a syntax tree that can be asked where a name comes from and what stands around a call."""

from __future__ import annotations

import ast
import operator
import sys
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

from tunegate.recipe.values import MAX_ITEMS, is_symbol, literal

MAX_SOURCE = 512 * 1024  # characters; a training script is tens of kB
MAX_FUNCTIONS = 500  # whose names are kept apart
MAX_BOUND = 100  # assignments to one name, the last ones
MAX_VALUE_NODES = 100_000  # names can refer to lists of names: a few lines could stand for billions of values
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


class _Bound(NamedTuple):
    """One assignment to a name, or what was added to the list that it holds."""

    line: int
    scope: tuple[int, int]
    value: ast.expr
    adds: bool


def _grown(node: ast.expr) -> tuple[str, ast.expr] | None:
    """`steps.append(x)` -> (steps, [x]); `steps.extend(more)` -> (steps, more)."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) == 1):
        return None
    if not isinstance(node.func.value, ast.Name):
        return None
    if node.func.attr == "append":
        return node.func.value.id, ast.copy_location(ast.List(elts=node.args, ctx=ast.Load()), node)
    return (node.func.value.id, node.args[0]) if node.func.attr == "extend" else None


class SourceCode:
    """One tree with what is looked up again and again: imports, assignments, functions, calls."""

    def __init__(self, tree: ast.Module):
        self.imports: dict[str, str] = {}
        self.assigned: dict[str, ast.expr] = {}  # name -> what it was last set to anywhere
        self._bound: dict[str, list[_Bound]] = {}
        self._scope_of: dict[int, tuple[int, int]] = {}
        self.functions: dict[str, ast.FunctionDef] = {}
        self.defaults: dict[str, ast.expr] = {}  # of the script's own arguments
        self.classes: list[ast.ClassDef] = []
        self.read: dict[str, list[tuple[str, ...]]] = {}  # name -> what stands around each place where it is read
        self._left = MAX_VALUE_NODES
        self.placed = list(_placed(tree, ()))  # (node, names around it, innermost last)
        functions = [node for node, _ in self.placed if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        self._scopes = [(node.lineno, node.end_lineno or node.lineno) for node in functions[:MAX_FUNCTIONS]]
        self.calls = [(node, around) for node, around in self.placed if isinstance(node, ast.Call)]
        for node, around in self.placed:
            self._note(node)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                self.read.setdefault(node.id, []).append(around)
        for name, default, _ in [*own_arguments(self), *own_fields(self)]:
            self.defaults.setdefault(name, default)

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.imports[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                self.imports[alias.asname or alias.name] = f"{'.' * node.level}{node.module or ''}.{alias.name}"
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            self.assigned[node.targets[0].id] = node.value
            self._bind(node.targets[0].id, node.value, node, False)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and isinstance(node.op, ast.Add):
            self._bind(node.target.id, node.value, node, True)
        elif isinstance(node, ast.Expr) and (grown := _grown(node.value)):
            self._bind(*grown, node, True)
        elif isinstance(node, ast.FunctionDef):
            self.functions.setdefault(node.name, node)
        elif isinstance(node, ast.ClassDef):
            self.classes.append(node)

    def _bind(self, name: str, value: ast.expr, node: ast.stmt, adds: bool) -> None:
        bound = self._bound.setdefault(name, [])
        bound.append(_Bound(node.lineno, self._scope(node.lineno), value, adds))
        del bound[:-MAX_BOUND]

    def _scope(self, line: int) -> tuple[int, int]:
        """The lines of the innermost function around a line; of the whole file outside of all."""
        if line not in self._scope_of:
            around = (scope for scope in self._scopes if scope[0] <= line <= scope[1])
            self._scope_of[line] = max(around, default=(0, sys.maxsize))
        return self._scope_of[line]

    def _bindings(self, node: ast.Name) -> list[_Bound]:
        """What a name holds where it is read: the last assignment above it in its function, else the file's, and what was added
        since. A function reads what the file assigned last."""
        line, all_of = node.lineno, self._bound.get(node.id, [])
        for scope in (self._scope(line), (0, sys.maxsize)):
            here = [bound for bound in all_of if bound.scope == scope]
            above = [bound for bound in here if bound.line < line] if scope == self._scope(line) else here
            starts = [index for index, bound in enumerate(above) if not bound.adds]
            if starts:
                return above[starts[-1] :]
        return []

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
        """A name -> what was assigned to it, `args.lr` -> its default; three steps at most, so that a loop ends."""
        for _ in range(3):
            if isinstance(node, ast.Name) and (bound := self._bindings(node)):
                node = bound[0].value
            elif isinstance(node, ast.Attribute) and node.attr in self.defaults and _holds_arguments(node.value):
                node = self.defaults[node.attr]
        return node

    def items(self, node: ast.expr, depth: int = 0) -> list[ast.expr]:
        """A list, a tuple, a name for one, or a sum of a few of them."""
        more = self._bindings(node)[1:] if isinstance(node, ast.Name) and depth < 6 else []
        if more:
            return self.items(self.resolved(node), depth + 1) + [
                item for bound in more[:MAX_ITEMS] for item in self.items(bound.value, depth + 1)
            ]
        node = self.resolved(node)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self.items(node.left, depth + 1) + self.items(node.right, depth + 1) if depth < 6 else []
        return list(node.elts) if isinstance(node, (ast.List, ast.Tuple)) else []

    def value(self, node: ast.expr) -> Any:
        """A literal, a named constant, or {"symbol": name}. Code itself never gets through."""
        try:
            return literal(self._plain(node))
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, ArithmeticError):
            pass
        name = self.origin(node)
        return {"symbol": name} if is_symbol(name) else dict(OPAQUE)

    def _plain(self, node: ast.expr, depth: int = 0) -> Any:
        """Like ast.literal_eval, through names, `args.x` and the four operations on numbers. Raises ValueError for anything else."""
        node, self._left = self.resolved(node), self._left - 1
        if depth > 4 or self._left < 0 or len(getattr(node, "elts", ())) > MAX_ITEMS:
            raise ValueError("nested too deeply, or too much")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
            return {keyword.arg: self._plain(keyword.value, depth + 1) for keyword in node.keywords}
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            return {ast.literal_eval(key): self._plain(item, depth + 1) for key, item in pairs if key is not None}
        if isinstance(node, (ast.List, ast.Tuple)):
            return [self._plain(item, depth + 1) for item in node.elts]
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
            left, right = self._plain(node.left, depth + 1), self._plain(node.right, depth + 1)
            if all(isinstance(n, (int, float)) and abs(n) < 1e12 for n in (left, right)):
                return _OPERATIONS[type(node.op)](left, right)
        return ast.literal_eval(node)


_OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def _holds_arguments(node: ast.expr) -> bool:
    """`args`, `data_args`, `self.config`: what a script's own arguments are read from."""
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return any(word in name.lower() for word in ("arg", "config", "cfg", "opt", "flags", "hparams"))


def own_arguments(source: SourceCode) -> Iterator[tuple[str, ast.expr, ast.AST]]:
    """(name, default, node) of each `add_argument("--name", default=...)`."""
    for call, _ in source.calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument":
            words = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            name = next((word for word in words if word.startswith("--")), "")
            default = next((k.value for k in call.keywords if k.arg == "default"), None)
            if name and default is not None:
                yield name.lstrip("-").replace("-", "_"), default, call


def own_fields(source: SourceCode) -> Iterator[tuple[str, ast.expr, ast.AST]]:
    """(name, default, node) of each dataclass field."""
    for node in source.classes:
        if not any("dataclass" in source.origin(d.func if isinstance(d, ast.Call) else d) for d in node.decorator_list):
            continue
        for part in node.body:
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.value is not None:
                default: ast.expr | None = part.value
                if isinstance(default, ast.Call):  # field(default=...)
                    default = next((k.value for k in default.keywords if k.arg == "default"), None)
                if default is not None:
                    yield part.target.id, default, part


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
    role = split_role([w for w in words if isinstance(w, str)])
    return {"train": "eval", "eval": "train"}.get(role, "") if negated else role


def split_role(names: tuple[str, ...] | list[str]) -> str:
    """The innermost name that speaks of training or of evaluation (not of both) decides; "" when none does."""
    for name in reversed(names):
        words = set(name.lower().strip("_").split("_")) | {name.lower()}
        train, evaluation = bool(words & {"train", "training"}), bool(words & set(EVAL_WORDS))
        if train != evaluation:
            return "train" if train else "eval"
    return ""
