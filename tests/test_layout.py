"""Imports point one way: a room imports what stands before it in ROOMS, and no two modules import each other in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import tunegate

PACKAGE = Path(tunegate.__file__).parent
ROOMS = (
    "errors plain_yaml readers paths nofollow tasks hyperparameters config stage_table quoting rundir evidence jobs clients knowledge recipe probe project "
    "hardware platforms stages gates publish skill tools mcp_server embedded demo cli __main__"
).split()
COPIED = "readers"  # also a package of every rendered project: its imports are relative, and of nothing outside


def imports() -> dict[str, set[str]]:
    """Module -> the modules of the package that it imports, those inside functions and under TYPE_CHECKING too."""
    files = {
        ".".join(p.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): p
        for p in PACKAGE.rglob("*.py")
    }
    found: dict[str, set[str]] = {name: set() for name in files if name != "__init__"}
    for name in found:
        for node in ast.walk(ast.parse(files[name].read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tunegate":
                base = (node.module or "").removeprefix("tunegate").lstrip(".")
                for alias in node.names:
                    full = f"{base}.{alias.name}".lstrip(".")
                    found[name] |= {full if full in found else base} & set(found)
            relative = isinstance(node, ast.ImportFrom) and node.level
            assert not relative or name.split(".")[0] == COPIED, f"{name}: a relative import"
            if relative:
                assert node.level == 1, f"{name}: an import from outside {COPIED}, which is copied into projects"
                full = f"{COPIED}.{node.module}" if node.module else None
                found[name] |= {full} if full else {f"{COPIED}.{alias.name}" for alias in node.names}
    return found


def test_a_room_imports_only_what_stands_before_it():
    rank = {room: number for number, room in enumerate(ROOMS)}
    found = imports()
    assert {name.split(".")[0] for name in found} - {"_data"} == set(ROOMS)
    upward = [(a, b) for a, targets in found.items() for b in targets if rank[a.split(".")[0]] < rank[b.split(".")[0]]]
    assert upward == []


def test_no_circle():
    found, done = imports(), set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for target in found[name]:
                visit(target, (*path, name))
            done.add(name)

    for name in found:
        visit(name, ())
