"""Questions about pictures: for models that read text and images."""

from __future__ import annotations

from typing import Any

from tests.property import tables
from tests.property.folders import PICTURES
from tests.property.pictures import COLORS, UNREADABLE, scene, size_of, store, style_of
from tests.property.texts import answer_of
from tests.property.world import Example, Row, layout, split_of_rows

ODDITIES = (
    *(name for name in PICTURES if name != "broken"), "broken", "splits", "unused columns", "odd answers", "null cells",
    "several images", "no image", "marks", "several answers", "system",
)  # fmt: skip
MARK = "<image>"


def asked(example: Example, kind: str, form: str) -> None:
    """form: question (and answer) or messages."""
    rng, found = example.rng, []
    raw = example.data if kind == "jsonl" else example.folder / "raw"
    number = 0
    for key, split in enumerate(split_of_rows(example, 10)):
        row, cells, numbers = Row(key, split), [], []
        for _ in range(rng.choice((1, 2, 3)) if example.odd("several images") else 1):
            size, style = size_of(example), style_of(example)
            image = scene(number, size, [((4, 12, size[0] - 4, size[1] - 4), COLORS[number % 4])])
            path = store(example, image, number, raw / "pictures" / f"{number}", style)
            if style in UNREADABLE:
                row.problem = "no image that can be read"
            cells.append(
                str(path.relative_to(raw)) if kind == "jsonl" else {"bytes": path.read_bytes(), "path": path.name}
            )
            numbers.append(number)
            number += 1
        if example.odd("no image") and key % 5 == 2:
            cells, row.problem = [], row.problem or "no image that can be read"
        line, question, answer = _line(example, form, key, len(numbers))
        row.value = {"images": numbers, "question": question, "answer": answer.strip()}
        if example.odd("null cells") and key % 5 == 3:
            if form == "question":
                line["answer"] = [] if example.odd("several answers") else None
            else:
                line["messages"] = line["messages"][:-1]
            row.problem = row.problem or "no answer"
        several = example.odd("several images")
        found.append(
            (split, {"images" if several else "image": cells if several else cells[0] if cells else None, **line})
        )
        example.rows.append(row)
    if example.odd("unused columns"):
        found = [(split, {**row, "source": "web"}) for split, row in found]
    cell = {"_type": "List", "feature": tables.IMAGE} if example.odd("several images") else tables.IMAGE
    features = {"images" if example.odd("several images") else "image": cell} if kind != "jsonl" else None
    example.path = tables.write(example, kind, found, features)


def _line(example: Example, form: str, key: int, images: int) -> tuple[dict[str, Any], str, str]:
    question, answer = f"What color is picture {key}?", answer_of(example, key)
    if form == "question":
        return (
            {"question": question, "answer": [answer, "other"] if example.odd("several answers") else answer},
            question,
            answer,
        )
    text = f"{MARK * images}{question}" if example.odd("marks") else question
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    if example.odd("system"):
        turns.insert(0, {"role": "system", "content": "Answer briefly."})
    return {"messages": turns}, question, answer


def _register() -> None:
    for kind in ("jsonl", "parquet", "arrow"):
        for form in ("question", "messages"):
            odd = tuple(
                n for n in ODDITIES if n not in (("marks", "system") if form == "question" else ("several answers",))
            )
            layout(f"{kind}/vlm {form}", "image-text-to-text", *odd, method="lora")(
                lambda example, kind=kind, form=form: asked(example, kind, form)
            )


_register()
