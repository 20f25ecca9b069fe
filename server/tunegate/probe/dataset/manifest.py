"""What the probe found, as the data that prepare obeys (readers/manifest.py): of files here, exactly; of the Hub's, as far as it is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunegate.probe.dataset.columns import Feature
from tunegate.probe.dataset.table import Table
from tunegate.readers import manifest


def manifest_of(table: Table, about: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """about: where it comes from; facts: DatasetFacts' own. Raises Refusal: a file that leads out of the dataset."""
    listing = table.listing() if table.listing else None
    if about["source"] == "local":
        read = manifest.of_listing(listing, Path(about["local_path"]))
        if table.evaluation:
            part = manifest.of_listing(table.evaluation.listing(), Path(about["local_eval_path"]))
            read |= {"taken": table.taken, "evaluation": part}
    else:
        read = {"version": manifest.VERSION, "layout": listing.layout if listing else None}
    return {
        "version": read.pop("version"),
        "source": about["source"],
        "format": table.format,
        **{key: about.get(key) for key in ("dataset_id", "revision", "config")},
        "rows": facts["splits"],
        "rows_partial": facts["rows_partial"],
        "classes": {split: found.model_dump() for split, found in facts["class_counts"].items()},
        "class_names": facts["class_names"],
        "columns": {name: _types(found) for name, found in table.features.items()},
        "left_out": table.warnings,
        **read,
    }


def _types(found: Feature) -> Any:
    """A column's type in words, with its items or fields."""
    if found.item is not None:
        return {"list": _types(found.item)}
    return {"struct": {name: _types(one) for name, one in found.fields.items()}} if found.fields else found.shown
