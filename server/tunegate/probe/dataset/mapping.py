"""Which columns serve a task: a rename, or one of the closed set of reshapes. Everything else stops and asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tunegate import tasks
from tunegate.errors import ToolFailure
from tunegate.probe.dataset.columns import AS_TEXT, Feature, at_path, describe, paths
from tunegate.tasks.columns import BBOX, DEPTH_NAMES, MASK_NAMES, PANOPTIC_NAMES, Form, Role

# The role that takes whichever image column is left, so image columns with one of these names are not it.
_NOT_THE_IMAGE = frozenset((*MASK_NAMES, *DEPTH_NAMES, *PANOPTIC_NAMES))
_PARTS = frozenset(("prompt", "completion", "chosen", "rejected"))  # turns, but no whole conversation
_ROLE_KEYS = ({"role", "content"}, {"from", "value"})


@dataclass(frozen=True)
class Mapping:
    """`columns`: role -> column or column.field. `reshape`: how they become what the task reads; None: by their names."""

    form: str
    columns: dict[str, str]
    reshape: str | None = None
    unused: list[str] = field(default_factory=list)


def map_columns(
    features: dict[str, Feature], task: str, asked: dict[str, str] | None = None, method: str | None = None
) -> Mapping:
    """The first form of the task that the columns fit. Several candidates are `ambiguous`, none is `rejected`.

    Raises ToolFailure: invalid_input for an `asked` that names no role, no column, or one of another type.
    """
    key, asked = tasks.variant(task, method), asked or {}
    forms = _forms_with(asked, tasks.VARIANTS[key].forms, key)
    unclear: ToolFailure | None = None
    missing: dict[str, list[str]] = {}
    for form in forms:
        try:
            found, lacking = _fit(form, features, asked)
        except ToolFailure as failure:
            if failure.code != "ambiguous":
                raise
            unclear = unclear or failure
            continue
        if not lacking:
            return _mapping(form, found, features)
        missing[form.name] = lacking
    if unclear:
        raise unclear
    raise _no_form(key, forms, missing, features)


def _mapping(form: Form, columns: dict[str, str], features: dict[str, Feature]) -> Mapping:
    used = {path.partition(".")[0] if path not in features else path for path in columns.values()}
    unused = [name for name in features if name not in used]
    return Mapping(form.name, columns, _reshape(form, columns, features), unused)


def _reshape(form: Form, columns: dict[str, str], features: dict[str, Feature]) -> str | None:
    """`nest_objects` is only one of three layouts of objects: which one, the columns tell."""
    if form.reshape != "nest_objects":
        return form.reshape
    parents = {path.partition(".")[0] for role, path in columns.items() if role != "image" and path not in features}
    if len(parents) != 1 or any(path in features for role, path in columns.items() if role != "image"):
        return "nest_objects"
    return "transpose_objects" if features[parents.pop()].kind == "list" else None


def _forms_with(asked: dict[str, str], forms: tuple[Form, ...], key: str) -> tuple[Form, ...]:
    known = list(dict.fromkeys(role for form in forms for role in form.roles))
    for role in asked:
        if role not in known:
            raise ToolFailure(
                "invalid_input",
                f"column_map has {role!r}, which is no column of {key}: its keys are {', '.join(known)}",
            )
    fitting = tuple(form for form in forms if asked.keys() <= form.roles.keys())
    if not fitting:
        listed = "; ".join(", ".join(form.roles) for form in forms)
        raise ToolFailure(
            "invalid_input", f"column_map = {asked!r}: no layout of {key} has all of these together, only {listed}"
        )
    return fitting


def _fit(form: Form, features: dict[str, Feature], asked: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """(role -> column, the roles without one). Raises `ambiguous`, and invalid_input for a bad `asked`."""
    found: dict[str, str] = {}
    lacking = []
    for role, wanted in form.roles.items():
        if role in asked:
            found[role] = _chosen(role, wanted, asked[role], features)
            continue
        if path := _find(role, wanted, features, found):
            found[role] = path
        elif not wanted.optional:
            lacking.append(role)
    return found, lacking


def _chosen(role: str, wanted: Role, path: object, features: dict[str, Feature]) -> str:
    found = at_path(features, path) if isinstance(path, str) else None
    if found is None or not _reachable(wanted, path, features):
        raise ToolFailure(
            "invalid_input", f"column_map[{role!r}] = {path!r} is no column: the dataset has {describe(features)}"
        )
    if not fits(wanted.shape, found):
        raise ToolFailure(
            "invalid_input",
            f"column_map[{role!r}] = {path!r} is {found.shown}, and {role} needs "
            f"{wanted.needs}: the dataset has {describe(features)}",
        )
    return path


def _find(role: str, wanted: Role, features: dict[str, Feature], taken: dict[str, str]) -> str | None:
    """The column for one role: by its own name, else by a type that says what it is for, else by a usual name."""
    fitting = [path for path in _fitting(wanted, features) if path not in taken.values()]
    if role in fitting:
        return role
    named = sorted((p for p in fitting if _leaf(p) in wanted.aliases), key=lambda p: wanted.aliases.index(_leaf(p)))
    if wanted.shape not in ("image", "images", "label"):  # these may be found by their type; a name decides the others
        return _by_name(role, wanted, fitting, named, taken)
    if wanted.shape == "image" and not wanted.by_type:
        return named[0] if named else None  # a mask: the alias that says so most plainly
    declared = [path for path in fitting if features.get(path) and _declares(wanted, features[path])]
    if wanted.shape in ("image", "images"):
        declared = [p for p in declared if _leaf(p) not in _NOT_THE_IMAGE or len(declared) == 1] or declared
        usual = [p for p in declared if p in named]
        declared = usual if len(usual) == 1 else declared
    candidates = declared or named
    if len(candidates) > 1:
        raise _ambiguous(role, wanted, candidates)
    return candidates[0] if candidates else None


def _fitting(wanted: Role, features: dict[str, Feature]) -> list[str]:
    return [path for path, found in paths(features) if fits(wanted.shape, found) and _reachable(wanted, path, features)]


def _reachable(wanted: Role, path: str, features: dict[str, Feature]) -> bool:
    """Fields of structs serve only what belongs to objects: taking any other one out would be a restructuring."""
    return path in features or wanted.shape in ("boxes", "labels", "outlines")


def _by_name(role: str, wanted: Role, fitting: list[str], named: list[str], taken: dict[str, str]) -> str | None:
    """Where types say little: the usual names; beside a column already taken first; the only one of its type last."""
    near = {path.partition(".")[0] for name, path in taken.items() if name != "image" and "." in path}
    beside = [path for path in named if path.partition(".")[0] in near and "." in path]
    if wanted.shape == "labels" and near and not beside:
        return None
    if beside or named:
        return (beside or named)[0]
    alone = wanted.by_type and len(fitting) == 1 and _leaf(fitting[0]) not in _PARTS
    return fitting[0] if alone else None


def _declares(wanted: Role, found: Feature) -> bool:
    """A declared type (Image, ClassLabel) says what a column is for, whatever its name; numbers and text do not."""
    return wanted.by_type and (
        found.kind in ("image", "class") or (found.item is not None and found.item.kind == "image")
    )


def _leaf(path: str) -> str:
    return path.rpartition(".")[2].lower()


def fits(shape: str, found: Feature) -> bool:
    """Whether a column's type can hold what the role needs."""
    kind, item = found.kind, found.item
    inner = item.kind if item else None
    number = ("int", "float")
    if shape == "image":
        return kind == "image"
    if shape == "images":
        return "image" in (kind, inner)
    if shape == "label":
        return kind in ("class", "int", "float", "string", "bool")
    if shape == "labels":
        return inner in ("class", "int", "float", "string", "bool")
    if shape == "boxes":
        return inner == "list" and item.item is not None and item.item.kind in number
    if shape == "text":  # an answer may be a number in every row
        return kind in ("string", *number)
    if shape == "answer":
        return kind in ("string", "int", "float", "bool") or inner in ("string", "int", "float")
    if shape in ("messages", "sharegpt"):
        return _is_turns(found, 0 if shape == "messages" else 1)
    if shape == "chat":
        return kind in ("string", *number) or _is_turns(found, 0) or _is_turns(found, 1)
    if shape == "pairs":
        return inner == "list" and item.item is not None and item.item.kind == "string"
    if shape == "tools":
        return kind == "string" or inner == "struct"
    if shape == "segments":
        return _field_names(found) >= {"id", "category_id"}
    if shape == "depth":
        return kind in ("image", "array") or (
            inner == "list" and item.item is not None and item.item.kind in (*number, "list")
        )
    return inner in ("list", "struct", "image", "string")  # outlines


def _is_turns(found: Feature, which: int) -> bool:
    return _field_names(found) >= _ROLE_KEYS[which]


def _field_names(found: Feature) -> set[str]:
    """Of a list of structs, or of a struct of lists."""
    inner = found.item if found.item is not None and found.item.kind == "struct" else found
    return set(inner.fields) if found.kind in ("list", "struct") else set()


def _ambiguous(role: str, wanted: Role, candidates: list[str]) -> ToolFailure:
    several = f"; {{'image': {candidates[0]!r}, 'image_2': {candidates[1]!r}}} if a row shows several images"
    return ToolFailure(
        "ambiguous",
        f"{role} could be any of {', '.join(candidates[:10])}: ask the user, then pass e.g. "
        f"column_map={{{role!r}: {candidates[0]!r}}}{several if wanted.shape == 'images' else ''}",
    )


def _no_form(
    key: str, forms: tuple[Form, ...], missing: dict[str, list[str]], features: dict[str, Feature]
) -> ToolFailure:
    """Says about the form that lacks least: which role has no column, and which columns could be it."""
    form = min(forms, key=lambda form: len(missing[form.name]) / len(form.roles))
    role = missing[form.name][0]
    wanted = form.roles[role]
    fitting = _fitting(wanted, features)
    return ToolFailure(
        "rejected",
        f"{key} needs {tasks.VARIANTS[key].schema}, and no column serves as {role} ({wanted.needs}): the dataset has "
        f"{describe(features)}. If one of them does ({', '.join(fitting[:8]) or 'none fits by type'}), "
        f"pass column_map={{{role!r}: ...}}, or choose another dataset; "
        f"{_hint(key, features)}",
    )


def _hint(key: str, features: dict[str, Feature]) -> str:
    """What the columns are instead, where that is plain; changing it is for the user to decide."""
    names = {name.lower() for name in features}
    if text := [name for name, found in features.items() if found.shown == AS_TEXT]:
        return f"what {', '.join(map(repr, text[:5]))} hold are lists written as text: save the table as .jsonl or parquet, with lists in it"
    if "/" not in key and {"chosen", "rejected"} <= names and "dpo" not in tasks.TASKS[key].methods:
        return (
            f"it is preference data, and {key} is trained on answers alone, not on pairs: with the user's approval pass "
            "column_map with 'chosen' as the answer (beside the question or prompt), so that the better answers are learned "
            "and the rejected ones left out, or choose text-generation with training_method = 'dpo' where the images do not matter"
        )
    if "/" not in key and {"chosen", "rejected"} <= names:
        return "it is preference data, which training_method = 'dpo' reads: another method is for the user to decide"
    flat = [found for name, found in features.items() if name.lower() in BBOX.aliases and found.item is not None]
    if {"xmin", "ymin", "xmax", "ymax"} <= names or any(found.item.kind in ("int", "float") for found in flat):
        return "it has one row for each box: group the rows by image, or convert it to COCO; that is for the user to decide"
    if key.startswith("text-generation/") and names & {"messages", "completion", "text"}:
        return "it is data for supervised training: another method is for the user to decide"
    return "a restructuring beyond renames is for the user to decide"


def bounded_row(row: dict[str, Any], features: dict[str, Feature]) -> dict[str, Any]:
    """A row for people to look at: images as their size, long text cut."""
    return {name[:60]: _bounded_cell(value, features.get(name)) for name, value in list(row.items())[:20]}


def _bounded_cell(value: Any, found: Feature | None) -> Any:
    if found and found.kind == "image":
        width, height = getattr(value, "size", (None, None))
        return f"<image {width}x{height}>" if width and height else "<image>"
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
