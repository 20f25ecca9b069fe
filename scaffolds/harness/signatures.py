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
"""What a call may be given, by the packages that are installed here, and what names a scope binds: for check_api.py.
A check: leave this file as it is."""

import ast
import dataclasses
import importlib
import inspect
import json
import re
import textwrap
import typing
from functools import cache
from pathlib import Path

UNKNOWN = object()  # what only running the project would tell

# (the name that a call ends with, old keyword) -> (new one, since when, in which way). "" as new: it is gone and
# nothing replaces it. MOVED: names that packages no longer have -> what takes their place.
TABLES = json.loads(Path(__file__).with_name("renames.json").read_text(encoding="utf-8"))
RENAMES = {(of, old): (new, since, how) for of, old, new, since, how in TABLES["keywords"]}
MOVED = TABLES["moved"]

# Receivers that a name alone does not tell: a method's keyword that no class with such a method takes, but nearly, is
# a slip.
OFTEN = (
    "argparse.ArgumentParser",
    "pathlib.Path",
    "datasets.Dataset",
    "PIL.Image.Image",
    "transformers.Trainer",
    "transformers.PreTrainedModel",
    "transformers.PreTrainedTokenizerBase",
    "transformers.ProcessorMixin",
    "transformers.BaseImageProcessor",
    "torch.utils.data.DataLoader",
)
# Keyword -> the enumeration of its values, checked where transformers or a library on top of it is called.
VALUES = {
    "lr_scheduler_type": "transformers.trainer_utils.SchedulerType",
    "optim": "transformers.training_args.OptimizerNames",
    "save_strategy": "transformers.trainer_utils.SaveStrategy",
    "eval_strategy": "transformers.trainer_utils.IntervalStrategy",
    "logging_strategy": "transformers.trainer_utils.IntervalStrategy",
    "return_tensors": "transformers.utils.TensorType",
    "task_type": "peft.TaskType",
}


class Instance:
    """What calling a known class returns: the class, or the Local of one."""

    def __init__(self, cls):
        self.cls = cls


class Bound:
    """A method of an instance: its first parameter is given already."""

    def __init__(self, function):
        self.function = function


class Local:
    """A function or class of this project, known from its source alone; of a class, what it inherits from."""

    def __init__(self, node, bases=()):
        self.node, self.bases = node, bases


class Shape(typing.NamedTuple):
    """What a call accepts."""

    names: set  # keywords in the signature
    further: set | None  # keywords known to be read from its **kwargs; None where it takes no others
    positional: list | None = None  # parameters that may be given by position; None: any number, or not known
    required: frozenset = frozenset()


def shape(target):
    if isinstance(target, Bound):
        found = shape(target.function)
        first = set(found.positional[:1]) if found.positional else set()
        return found._replace(
            names=found.names - first,
            positional=found.positional and found.positional[1:],
            required=found.required - first,
        )
    if isinstance(target, Local):
        return local_shape(target)
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return Shape(set(), set())
    every = list(signature.parameters.values())
    names = {p.name for p in every if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    positional = [p.name for p in every if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p for p in every if p.kind == p.VAR_KEYWORD), None)
    required = frozenset(
        p.name for p in every if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    )
    declared = typed_keywords(rest.annotation) if rest else set()
    further = None if rest is None or declared else read_by_name(target)
    # transformers' Auto classes show (**kwargs) alone, whatever they take
    open_ended = any(p.kind == p.VAR_POSITIONAL for p in every) or rest and not positional
    return Shape(names | declared, further, None if open_ended else positional, required)


def local_shape(target):
    """As `shape`. What a class passes on, or does not define, its base classes take."""
    node, bases = target.node, target.bases
    of_class = isinstance(node, ast.ClassDef)
    if of_class:
        node = next(
            (item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None
        )
    names, positional, required = set(), None, frozenset()
    if node:
        arguments = node.args
        ordered = [*arguments.posonlyargs, *arguments.args]
        only = arguments.kwonlyargs
        defaults = [default is not None for default in arguments.kw_defaults]
        required = [argument.arg for argument in ordered[: len(ordered) - len(arguments.defaults)]]
        required += [argument.arg for argument, given in zip(only, defaults, strict=False) if not given]
        names = {argument.arg for argument in [*arguments.args, *only]}
        positional = None if arguments.vararg else [argument.arg for argument in ordered]
        if of_class:  # of self
            own = ordered[0].arg
            names, positional, required = (
                names - {own},
                positional and positional[1:],
                [name for name in required if name != own],
            )
        required = frozenset(required)
        if arguments.kwarg is None:
            return Shape(names, None, positional, required)
    further = None if bases else set()
    for base in bases:
        found = Shape(set(), set()) if base is UNKNOWN else shape(base)
        names |= found.names
        further = further if found.further is None else (further or set()) | found.further
    return Shape(names, further, positional, required)


def method(cls, name):
    """The function that an instance of cls, a class or the Local of one, calls by this name;
    UNKNOWN where that is not plain."""
    if not isinstance(cls, Local):
        found = inspect.getattr_static(cls, name, UNKNOWN) if inspect.isclass(cls) else UNKNOWN
        return found if inspect.isfunction(found) else UNKNOWN
    for item in cls.node.body:
        if isinstance(item, ast.FunctionDef) and item.name == name:
            return UNKNOWN if item.decorator_list else Local(item)
    return next((found for base in cls.bases if (found := method(base, name)) is not UNKNOWN), UNKNOWN)


def attributes(cls):
    """Every attribute that an instance of cls, a class or the Local of one, can have;
    None where that cannot be decided."""
    if isinstance(cls, Local):
        names = {
            node.name
            for node in cls.node.body
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        } | set(dir(object))
        names |= {
            node.id
            for item in cls.node.body
            for node in ast.walk(item)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        below = [attributes(base) for base in cls.bases]
        return None if None in below or cls.node.decorator_list or "__getattr__" in names else names.union(*below)
    if not inspect.isclass(cls) or any(
        "__getattr__" in vars(base) or "__getattribute__" in vars(base) for base in cls.__mro__[:-1]
    ):
        return None
    return set(dir(cls)).union(*(set_by(base) for base in cls.__mro__[:-1]))


@cache
def set_by(cls):
    """The attributes that a class's source sets or declares; with `dir`, all that its instances have."""
    try:
        source = inspect.getsource(cls)
    except (OSError, TypeError):
        source = ""
    return {
        *re.findall(r"\bself\.(\w+)", source),
        *getattr(cls, "__annotations__", {}),
        *getattr(cls, "__slots__", ()),
    }


def often(name):
    """The functions of this name in the classes of OFTEN."""
    return [found for cls in often_classes() if (found := method(cls, name)) is not UNKNOWN]


@cache
def often_classes():
    found = []
    for path in OFTEN:
        try:
            found.append(named(path))
        except (ImportError, AttributeError):
            pass
    return found


def named(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def allowed_values(target, keyword):
    """The words that this keyword may be, or None where that is not known."""
    module = getattr(target, "__module__", None) or ""
    if not module.startswith(("transformers", "trl", "peft")):
        return None
    if dataclasses.is_dataclass(target):
        choices = next(
            (field.metadata.get("choices") for field in dataclasses.fields(target) if field.name == keyword), None
        )
        if choices:
            return [str(getattr(choice, "value", choice)) for choice in choices]
    try:
        if keyword == "report_to":
            return ["none", "all", *named("transformers.integrations.integration_utils.INTEGRATION_TO_CALLBACK")]
        if keyword == "backend" and getattr(target, "__name__", "") == "from_pretrained":
            return ["torchvision", "pil"]
        return [member.value for member in named(VALUES[keyword])] if keyword in VALUES else None
    except (ImportError, AttributeError):
        return None


def typed_keywords(annotation):
    """**kwargs: Unpack[SomeTypedDict] -> its keys."""
    if typing.get_origin(annotation) is typing.Unpack:
        (table,) = typing.get_args(annotation)
        return {key for base in table.__mro__ for key in getattr(base, "__annotations__", {})}
    return set()


def read_by_name(target):
    """The keywords that the installed source takes out of its **kwargs, and what a transformers config has anyway."""
    names = keywords_in_source(target)
    owner = getattr(target, "__self__", None)
    if (
        inspect.isclass(owner)
        and getattr(target, "__name__", "") == "from_pretrained"
        and owner.__module__.startswith("transformers.")
    ):
        import transformers

        names |= keywords_in_source(transformers.PreTrainedModel.from_pretrained)
        names |= set(inspect.signature(transformers.PreTrainedModel.from_pretrained).parameters)
        names |= set(vars(transformers.PreTrainedConfig())) | {"num_labels"}
    return names


@cache
def keywords_in_source(function):
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return set()
    return {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("pop", "get")
        and node.args
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "kwargs"
        and isinstance(node.args[0], ast.Constant)
    }


def renamed(call, target, keyword):
    """The row of RENAMES for this call: by the name it is called by,
    or by the classes that its target derives from."""
    names = (
        [call, *(f"{cls.__name__}" for cls in inspect.getmro(target))]
        if inspect.isclass(target)
        else [call, getattr(target, "__name__", "")]
    )
    return next(
        (
            row
            for (end, old), row in RENAMES.items()
            if old == keyword
            and any(name == end.lstrip(".") or name.endswith("." + end.lstrip(".")) for name in names)
        ),
        None,
    )


def within_scope(node):
    """The node and all below it, but not into the bodies of functions and classes, which are scopes of their own."""
    yield node
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
        own = [*getattr(node, "decorator_list", []), *getattr(node, "bases", []), *getattr(node, "keywords", [])]
        if not isinstance(node, ast.ClassDef):
            own += [default for default in [*node.args.defaults, *node.args.kw_defaults] if default]
        children = own
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from within_scope(child)


def bindings(node):
    """(name, what it is bound to): an import, a definition of this project, the call that made it, or UNKNOWN."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            yield alias.asname or (alias.name.split(".")[0] if isinstance(node, ast.Import) else alias.name), node
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name, Local(node)
    elif (
        isinstance(node, ast.Assign)
        and len(node.targets) == 1
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Call)
    ):
        yield node.targets[0].id, node.value
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            yield from (
                (name.id, UNKNOWN)
                for name in ast.walk(target)
                if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
            )
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign, ast.NamedExpr, ast.For, ast.comprehension)):
        yield from ((name.id, UNKNOWN) for name in ast.walk(node.target) if isinstance(name, ast.Name))
    elif isinstance(node, ast.withitem) and node.optional_vars:
        yield from ((name.id, UNKNOWN) for name in ast.walk(node.optional_vars) if isinstance(name, ast.Name))
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name, UNKNOWN


def parameters(arguments):
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return [argument.arg for argument in every if argument]
