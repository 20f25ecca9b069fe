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
"""Does this project fit the packages that are installed here? reports/check_api.json. A check: leave this file as it
is.

    python -m harness.check_api    imports, attributes and keywords of every .py, and its copyright header

Every import must resolve, and every keyword of every call whose target can be resolved without running the project
must be in the installed signature, with no argument too many and none missing. A target that takes **kwargs hides
what it accepts: such a keyword counts as unverified, unless the installed source reads it by name, a typed
dictionary declares it, or the table of renames knows better. Words such as an optimizer's name must be among those
that the library knows, in config.yaml too; every name must be bound somewhere, and every attribute of `self` exist.
"""

import ast
import builtins
import functools
import hashlib
import importlib
import inspect
import json
import platform
import symtable
import sys

from harness.config_words import config_problems
from harness.headers import HEADER, ROOT, code_files
from harness.signatures import (
    MOVED,
    UNKNOWN,
    Bound,
    Instance,
    Local,
    allowed_values,
    attributes,
    bindings,
    method,
    often,
    parameters,
    renamed,
    shape,
    within_scope,
)
from harness.source import (
    Module,
    attributes_set,
    close,
    installed,
    made,
    member,
    project_modules,
    reason,
    slip,
    versions,
)


class File:
    """One .py: walks its tree with the names that each scope binds, and counts and collects as it goes."""

    def __init__(self, path, modules, stored=()):
        self.path, self.modules, self.stored, self.problems = path, modules, stored, []
        self.name = path.relative_to(ROOT).as_posix()
        self.source = path.read_text(encoding="utf-8", errors="replace")
        self.counts = {"imports": 0, "calls": 0, "keywords": 0, "unverified": 0}
        self.scopes, self.classes = [], []

    def problem(self, line, message, call="", keyword="", suggestion=""):
        self.problems.append(
            {
                "file": self.name,
                "line": line,
                "call": call,
                "keyword": keyword,
                "message": message,
                "suggestion": suggestion,
            }
        )

    def check(self):
        if not self.source.startswith(HEADER):
            self.problem(
                1,
                "does not begin with the copyright header",
                suggestion="put the header of harness/check_api.py at the top",
            )
        try:
            tree = ast.parse(self.source)
        except SyntaxError as error:
            self.problem(error.lineno or 1, f"is not valid Python: {error.msg}")
            return
        self.scope(tree.body, {})
        self.check_names(tree)

    def scope(self, body, arguments):
        """Bind what this body binds, then visit it; functions inside come after, with these names around them."""
        bound = dict(arguments)
        nodes = [node for statement in body for node in within_scope(statement)]
        for node in nodes:
            for name, value in bindings(node):
                bound[name] = UNKNOWN if name in bound else value
        self.scopes.append(bound)
        for name, value in bound.items():  # imports first: an instance's class may be imported
            if isinstance(value, (ast.Import, ast.ImportFrom)):
                bound[name] = self.imported(value, name)
        for node in nodes:
            if isinstance(node, ast.Import):
                self.check_import(node)
            elif isinstance(node, ast.ImportFrom):
                self.check_import_from(node)
        for name, value in bound.items():
            if isinstance(value, ast.Call):
                bound[name] = self.resolve(value)
            elif (
                isinstance(value, Local) and isinstance(value.node, ast.ClassDef) and value.node in nodes
            ):  # not one that is imported
                value.bases = [self.resolve(base) for base in value.node.bases]
        for node in nodes:
            if isinstance(node, ast.Call):
                self.check_call(node)
            elif isinstance(node, ast.Attribute):
                self.check_attribute(node)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                inner = node.body if isinstance(node.body, list) else [node.body]
                self.scope(inner, dict.fromkeys(parameters(node.args), UNKNOWN) | self.of_method(node, body))
            elif isinstance(node, ast.ClassDef):
                self.classes.append(bound[node.name])
                self.scope(node.body, {})
                self.classes.pop()
        self.scopes.pop()

    def of_method(self, node, body):
        """{"self": an instance of the class} for a method, whatever its first parameter is called."""
        if not self.classes or not isinstance(self.classes[-1], Local) or body is not self.classes[-1].node.body:
            return {}
        if isinstance(node, ast.Lambda) or node.decorator_list or not node.args.args:
            return {}
        return {node.args.args[0].arg: Instance(self.classes[-1])}

    # names -> objects

    def imported(self, node, name):
        try:
            if isinstance(node, ast.Import):
                alias = next(a for a in node.names if (a.asname or a.name.split(".")[0]) == name)
                return self.module(alias.name if alias.asname else alias.name.split(".")[0])
            alias = next(a for a in node.names if (a.asname or a.name) == name)
            return member(self.module(self.full_name(node)), alias.name)
        except Exception:  # reported where the import itself is checked
            return UNKNOWN

    def full_name(self, node):
        """The module that `from ... import` names: `.b` of the file a/c.py is a.b."""
        package = self.name.split("/")[: -node.level] if node.level else []
        return ".".join([*package, *([node.module] if node.module else [])])

    def module(self, name):
        return self.modules[name] if name in self.modules else importlib.import_module(name)

    def resolve(self, node):
        if isinstance(node, ast.Name):
            return next(
                (scope[node.id] for scope in reversed(self.scopes) if node.id in scope),
                getattr(builtins, node.id, UNKNOWN),
            )
        if isinstance(node, ast.Attribute):
            owner = self.resolve(node.value)
            if isinstance(owner, Module):
                return owner.get(node.attr, UNKNOWN)
            if isinstance(owner, Instance):
                if node.attr == "__init__":
                    return owner.cls
                found = method(owner.cls, node.attr)
                return UNKNOWN if found is UNKNOWN else Bound(found)
            if inspect.ismodule(owner) or inspect.isclass(owner):
                try:
                    return getattr(owner, node.attr)
                except Exception:
                    return UNKNOWN
        if isinstance(node, ast.Call):
            target = self.resolve(node.func)
            if (
                target is super
                and self.classes
                and isinstance(self.classes[-1], Local)
                and len(self.classes[-1].bases) == 1
            ):
                return Instance(self.classes[-1].bases[0])
            if isinstance(target, type) or isinstance(target, Local) and isinstance(target.node, ast.ClassDef):
                return Instance(target)
        return UNKNOWN

    # checks

    def check_import(self, node):
        for alias in node.names:
            self.counts["imports"] += 1
            try:
                self.module(alias.name)
            except Exception as error:
                self.problem(
                    node.lineno,
                    f"import {alias.name}: {reason(error)}",
                    suggestion=close(alias.name.split(".")[0], installed()),
                )

    def check_import_from(self, node):
        if node.level >= len(self.name.split("/")):
            return self.problem(
                node.lineno,
                "relative import: this script is not in a package",
                suggestion=f"from {node.module} import ...",
            )
        name = self.full_name(node)
        for alias in node.names:
            self.counts["imports"] += 1
            full = f"{name}.{alias.name}"
            try:
                module = self.module(name)
                if alias.name != "*":
                    member(module, alias.name)
            except AttributeError:
                names = list(module) if isinstance(module, Module) else dir(module)
                self.problem(
                    node.lineno,
                    f"{name} has no {alias.name!r} here",
                    call=full,
                    suggestion=MOVED.get(full) or close(alias.name, names),
                )
            except Exception as error:
                self.problem(
                    node.lineno,
                    f"from {name} import {alias.name}: {reason(error)}",
                    suggestion=close(name.split(".")[0], installed()),
                )

    def check_names(self, tree):
        """Names that nothing binds, as the compiler sees the scopes."""
        top = symtable.symtable(self.source, self.name, "exec")
        if any(
            isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
            for node in ast.walk(tree)
        ):
            return
        tables, missing = [top], set()
        known = {*dir(builtins), "__file__", "__name__", "__doc__", "__spec__", "__builtins__"}
        while tables:
            table = tables.pop()
            tables += table.get_children()
            known |= {
                one.get_name()
                for one in table.get_symbols()
                if (table is top or one.is_declared_global()) and made(one)
            }
            missing |= {
                one.get_name()
                for one in table.get_symbols()
                if one.is_referenced() and (one.is_global() or table is top and not made(one))
            }
        for name in sorted(missing - known):
            line = next((node.lineno for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name), 1)
            self.problem(line, f"the name {name!r} is bound nowhere", suggestion=close(name, known))

    def check_attribute(self, node):
        owner = self.resolve(node.value)
        if not isinstance(node.ctx, ast.Load):
            return
        if isinstance(owner, Instance):
            names = attributes(owner.cls)
            if names is not None and node.attr not in names and node.attr not in self.stored:
                self.problem(
                    node.lineno,
                    f"{ast.unparse(node.value)} has no {node.attr!r}",
                    call=ast.unparse(node),
                    suggestion=close(node.attr, names),
                )
        elif isinstance(owner, Module):
            if node.attr not in owner and not node.attr.startswith("__"):
                self.problem(
                    node.lineno,
                    f"{ast.unparse(node.value)}.py has no {node.attr!r}",
                    call=ast.unparse(node),
                    suggestion=close(node.attr, owner),
                )
        elif inspect.ismodule(owner) or inspect.isclass(owner):
            try:
                getattr(owner, node.attr)
            except AttributeError:
                self.problem(
                    node.lineno,
                    f"{ast.unparse(node.value)} has no {node.attr!r} here",
                    call=ast.unparse(node),
                    suggestion=close(node.attr, dir(owner)),
                )
            except Exception as error:
                self.problem(node.lineno, f"{ast.unparse(node)}: {reason(error)}", call=ast.unparse(node))

    def check_call(self, node):
        target = self.resolve(node.func)
        self.counts["calls"] += 1
        self.counts["keywords"] += len(node.keywords)
        if target is UNKNOWN:
            self.counts["unverified"] += len(node.keywords)
            if isinstance(node.func, ast.Attribute):
                self.check_often(node)
            return
        self.check_keywords(node, target, shape(target))
        self.check_arguments(node, shape(target))
        if target is functools.partial and node.args and (inner := self.resolve(node.args[0])) is not UNKNOWN:
            self.check_keywords(node, inner, shape(inner))

    def check_keywords(self, node, target, found):
        call = ast.unparse(node.func)
        for name, value in given(node):
            rename = renamed(call, target, name)
            hint = close(name, found.names | (found.further or set())) if name else ""
            message = f"[unknown-keyword] {call} takes no keyword {name!r}"
            if name is None or name in found.names:
                self.counts["unverified"] += name is None  # **mapping: only running it tells
                self.check_value(call, target, name, value)
            elif rename:
                new, since, how = rename
                message += (
                    f" (since {since}): "
                    + (f"it is {new!r} now" if new else "leave it out")
                    + (f"; {how}" if how else "")
                )
                self.problem(value.lineno, message, call, name, new)
            elif found.further is None or name not in found.further and slip(name, found.names | found.further):
                self.problem(value.lineno, message + (f": did you mean {hint}?" if hint else ""), call, name, hint)
            else:
                self.counts["unverified"] += name not in found.further
                self.check_value(call, target, name, value)

    def check_value(self, call, target, name, value):
        allowed = (
            allowed_values(target, name) if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
        )
        if allowed and value.value not in allowed:
            self.problem(
                value.lineno,
                f"{call}: {name} = {value.value!r} is not one of {', '.join(map(str, allowed))}"[:300],
                call,
                name,
                close(value.value, allowed),
            )

    def check_arguments(self, node, found):
        """Are there too many, or too few? Not decided where a call unpacks something."""
        if any(isinstance(argument, ast.Starred) for argument in node.args) or found.positional is None:
            return
        call, most = ast.unparse(node.func), len(found.positional)
        if len(node.args) > most:
            self.problem(node.lineno, f"{call} takes {most} arguments by position, not {len(node.args)}", call)
        missing = found.required - set(found.positional[: len(node.args)]) - {keyword.arg for keyword in node.keywords}
        if missing and not any(keyword.arg is None for keyword in node.keywords):
            self.problem(node.lineno, f"{call} needs {', '.join(sorted(missing))}", call)

    def check_often(self, node):
        """A method of something unknown: is a keyword a slip, for every class that has such a method?"""
        shapes = [shape(Bound(function)) for function in often(node.func.attr)]
        names = set().union(*(one.names | (one.further or set()) for one in shapes))
        for keyword in node.keywords:
            if keyword.arg and keyword.arg not in names and slip(keyword.arg, names):
                hint = close(keyword.arg, names)
                call = ast.unparse(node.func)
                self.problem(
                    keyword.value.lineno,
                    f"[unknown-keyword] {call} takes no keyword {keyword.arg!r}: did you mean {hint}?",
                    call,
                    keyword.arg,
                    hint,
                )


def given(node):
    """(keyword, its value) of a call; what **{...} spells out included, and (None,
    mapping) for any other **mapping."""
    for keyword in node.keywords:
        literal = keyword.arg is None and isinstance(keyword.value, ast.Dict)
        if literal and all(isinstance(key, ast.Constant) for key in keyword.value.keys):
            yield from (
                (key.value, value) for key, value in zip(keyword.value.keys, keyword.value.values, strict=False)
            )
        else:
            yield keyword.arg, keyword.value


def main():
    paths = code_files()
    sys.path.insert(0, str(ROOT))
    modules = project_modules(paths)
    files = [File(path, modules, attributes_set(paths)) for path in paths]
    for file in files:
        file.check()
    problems = [problem for file in files for problem in file.problems] + config_problems()
    report = {
        "passed": not problems,
        "python": platform.python_version(),
        "versions": versions(paths),
        "files": {
            file.name: {"sha256": hashlib.sha256(file.path.read_bytes()).hexdigest(), **file.counts} for file in files
        },
        "problems": problems,
    }
    (ROOT / "reports").mkdir(exist_ok=True)
    (ROOT / "reports/check_api.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for problem in problems:
        print(
            f"{problem['file']}:{problem['line']}: {problem['message']}"
            + (f" [{problem['suggestion']}]" if problem["suggestion"] else "")
        )
    total = {key: sum(file.counts[key] for file in files) for key in ("imports", "calls", "keywords", "unverified")}
    print(
        f"check_api {'passed' if not problems else 'FAILED'}: {len(files)} files, "
        + ", ".join(f"{n} {key}" for key, n in total.items())
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
