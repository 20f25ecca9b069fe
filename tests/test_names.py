"""One name, one meaning: what a module offers to others is not called as something else in another module.

Classes, type names and public constants: unique across the package. Two families are exempt, because the module completes their
meaning: limits (`MAX_…`) and times (`…_S`); so are the names in SAME_SENSE, which mean the same wherever they stand.
Functions are called through their module (`evidence.read`, `nofollow.lock`), which completes their name as well. A module whose
function is imported by its bare name may not share that name with a function that is imported so from elsewhere.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import tunegate

PACKAGE = Path(tunegate.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
        path.read_text()
    )
    for path in PACKAGE.rglob("*.py")
}
SAME_SENSE = {
    "SPEC": "a task's TaskSpec",
    "PAGE": "the reference page that the module reads",
    "SCRIPT": "the script that runs in a container",
    "N_ROWS": "how many rows are looked at",
}


def defined(tree: ast.Module) -> set[str]:
    """Classes, type names and public constants of a module."""
    found = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        found |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return {name for name in found if name[0].isupper()}


def test_a_class_or_constant_has_a_name_of_its_own():
    where = defaultdict(set)
    for module, tree in MODULES.items():
        for name in defined(tree):
            where[name].add(module)
    twice = {
        name: sorted(modules)
        for name, modules in where.items()
        if len(modules) > 1 and name not in SAME_SENSE and not name.startswith("MAX_") and not name.endswith("_S")
    }
    assert twice == {}
    assert [name for name in SAME_SENSE if len(where[name]) < 2] == []  # an exemption that nothing needs any more


def test_no_name_is_given_twice_in_one_module():
    for module, tree in MODULES.items():
        given = [
            node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        ]
        given += [t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)]
        given += [n.target.id for n in tree.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
        assert [name for name in set(given) if given.count(name) > 1] == [], module


def test_a_bare_function_name_comes_from_one_module():
    offered = {
        (module, node.name)
        for module, tree in MODULES.items()
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    bare = defaultdict(set)
    for tree in MODULES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (node.module, alias.name) in offered and alias.asname is None:
                        bare[alias.name].add(node.module)
    assert {name: sorted(modules) for name, modules in bare.items() if len(modules) > 1} == {}
