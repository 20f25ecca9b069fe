"""Conversations, prompts and answers, preferences and plain text, in tables."""

from __future__ import annotations

import json
from typing import Any

from tests.property import tables
from tests.property.world import Example, Row, layout, split_of_rows

END = "<|im_end|>"  # of the tokenizer that worker.py makes, as its template is
TEXT = (
    "splits", "splits and test", "unused columns", "null cells", "long rows", "odd answers", "line breaks", "the file itself", "duplicates", "system",
)  # fmt: skip
ANSWERS = ("None", "NA", "null", "0101", "-1", "no", "Käse", "a,b;c", '"quoted"', "{}", "[]")
KINDS = {
    "csv": ("byte order mark", "separator", "utf-16", "quoted"),
    "jsonl": ("byte order mark", "blank lines"),
    "parquet": (),
    "arrow": (),
}
CALL = {"type": "function", "function": {"name": "look_up", "arguments": {"item": 3}}}
CALL_AS_TEXT = {"type": "function", "function": {"name": "look_up", "arguments": json.dumps({"item": 3})}}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "description": "d",
            "parameters": {"type": "object", "properties": {"item": {"type": "integer"}}},
        },
    }
]


def answer_of(example: Example, key: int) -> str:
    if example.odd("odd answers") and example.rng.random() < 0.4:
        return example.rng.choice(ANSWERS)
    return f"It is {key * 7}." + (f"\nLine {key}\n\n  indented" if example.odd("line breaks") else "")


def question_of(example: Example, key: int) -> str:
    more = " word" * 900 if example.odd("long rows") and key % 6 == 5 else ""
    return f"What is item {key}?{more}" + (' Say "it".\nTwo lines' if example.odd("line breaks") else "")


def turns_of(example: Example, row: Row) -> list[dict[str, Any]]:
    """A conversation as it is stored, in {role, content}."""
    rng, key = example.rng, row.key
    turns = [{"role": "system", "content": "Answer briefly."}] if example.odd("system") and rng.random() < 0.6 else []
    for round_ in range(rng.randint(1, 3) if example.odd("rounds") else 1):
        turns += [{"role": "user", "content": question_of(example, key) if not round_ else f"And {round_}?"}]
        if example.odd("tool calls") and rng.random() < 0.5:
            turns += [{"role": "assistant", "content": rng.choice(("", None, "Let me see.")), "tool_calls": [CALL]}]
            turns += [{"role": "tool", "name": "look_up", "content": f"value {key}"}]
        turns += [{"role": "assistant", "content": answer_of(example, key)}]
    return turns


def shown(turns: list[dict[str, Any]], tools: Any = None) -> str:
    """As the template of worker.py writes them."""
    text = f"<tools>{json.dumps(tools)}</tools>\n" if tools else ""
    for turn in turns:
        calls = "".join(
            f"<call>{c['function']['name']} {json.dumps(c['function']['arguments'])}</call>"
            for c in turn.get("tool_calls") or []
        )
        text += f"<|im_start|>{turn['role']}\n{turn['content'] or ''}{calls}{END}\n"
    return text


def finish(row: Row, turns: list[dict[str, Any]], tools: Any = None) -> None:
    """The truth about a conversation: all that is read, all that is learned, from its first answer to its last."""
    last = max((i for i, turn in enumerate(turns) if turn["role"] == "assistant"), default=-1)
    kept = turns[: last + 1]
    answers = [shown([turn])[len("<|im_start|>assistant\n") : -1] for turn in kept if turn["role"] == "assistant"]
    row.value = {"whole": shown(kept, tools).rstrip("\n"), "learned": "".join(answers)}


def too_long(example: Example, row: Row) -> None:
    if example.odd("long rows") and row.key % 6 == 5:
        row.problem = row.problem or "longer than"


def save(example: Example, kind: str, found: list[tuple[str, dict[str, Any]]]) -> None:
    if example.odd("unused columns"):
        found = [(split, {**row, "source": example.rng.choice(("web", "book")), "score": 0.5}) for split, row in found]
    if example.odd("duplicates"):
        first = next(row for row in example.rows if row.split == "train")
        example.rows.append(Row(first.key, first.split, first.value, first.problem, either=first.either))
        found.append(next(item for item in found if item[0] == "train"))
    example.path = tables.write(example, kind, found, {} if kind in ("csv", "jsonl") else None)


def rows_of(example: Example, count: int = 14) -> list[Row]:
    example.rows = [Row(key, split) for key, split in enumerate(split_of_rows(example, count))]
    return list(example.rows)


# --- conversations in one column


def conversations(example: Example, kind: str, theirs: bool) -> None:
    rng, found = example.rng, []
    for row in rows_of(example):
        turns = turns_of(example, row)
        if example.odd("ends with a question") and rng.random() < 0.4:
            turns.append({"role": "user", "content": "Thanks, and now?"})
        tools = TOOLS if example.odd("tool calls") else None
        finish(row, turns, tools)
        if example.odd("empty answer") and row.key % 5 == 2:
            at = max(i for i, turn in enumerate(turns) if turn["role"] == "assistant")
            turns[at] = {**turns[at], "content": rng.choice(("", "  "))}
            row.problem = "no answer"
        if example.odd("null cells") and row.key % 5 == 3:
            turns, row.problem = None, "no answer"
        too_long(example, row)
        found.append(
            (
                row.split,
                {
                    "conversations" if theirs else "messages": _stored(example, turns, theirs),
                    **({"tools": tools} if tools else {}),
                },
            )
        )
    save(example, kind, found)


def _stored(example: Example, turns: list[dict[str, Any]] | None, theirs: bool) -> Any:
    if turns is None:
        return None
    if theirs:
        names = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}
        return [{"from": names[turn["role"]], "value": turn["content"]} for turn in turns]
    if example.odd("parts"):
        return [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
    if example.odd("calls as text"):
        return [{**turn, "tool_calls": [CALL_AS_TEXT]} if "tool_calls" in turn else turn for turn in turns]
    return turns


# --- a question and an answer in columns of their own

COLUMNS = {
    "question": ("question", "answer"),
    "prompt": ("prompt", "completion"),
    "instruction": ("instruction", "output"),
}


def in_columns(example: Example, kind: str, form: str) -> None:
    rng, found = example.rng, []
    asked, answered = COLUMNS[form]
    for row in rows_of(example):
        question, answer = question_of(example, row.key), answer_of(example, row.key)
        cells: dict[str, Any] = {asked: question, answered: answer}
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        if form == "instruction" and example.odd("input"):
            cells["input"] = rng.choice(("", f"input {row.key}"))
            turns[0]["content"] += f"\n\n{cells['input']}" if cells["input"] else ""
        if example.odd("system"):
            cells["system"] = "Answer briefly."
            turns.insert(0, {"role": "system", "content": "Answer briefly."})
        finish(row, turns)
        if example.odd("null cells") and row.key % 5 == 3:
            cells[answered], row.problem = ("" if kind == "csv" else None), "no answer"
        too_long(example, row)
        found.append((row.split, cells))
    save(example, kind, found)


def plain(example: Example, kind: str) -> None:
    found = []
    for row in rows_of(example):
        text = f"{question_of(example, row.key)} {answer_of(example, row.key)}"
        row.value = {"whole": text + END, "learned": text + END}
        if example.odd("null cells") and row.key % 5 == 3:
            text, row.problem = ("" if kind == "csv" else None), "no answer"
        if example.odd("long rows") and row.key % 6 == 5:
            row.either = True  # a long text may be cut into blocks
        found.append((row.split, {"text": text}))
    save(example, kind, found)


def preferences(example: Example, kind: str) -> None:
    rng, found = example.rng, []
    as_turns = kind != "csv" and example.odd("as conversations")
    for row in rows_of(example):
        question, good, bad = question_of(example, row.key), answer_of(example, row.key), f"No idea {row.key}."
        prompt = [{"role": "user", "content": question}]
        if as_turns and example.odd("rounds") and rng.random() < 0.5:
            prompt = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, *prompt]
        row.value = {
            "prompt": f"{shown(prompt)}<|im_start|>assistant\n",
            "chosen": f"{good}{END}",
            "rejected": f"{bad}{END}",
        }
        if example.odd("same answers") and row.key % 5 == 1:
            bad, row.problem = good, "no two answers"
        if example.odd("null cells") and row.key % 5 == 3:
            good, row.problem = "", "no two answers"
        too_long(example, row)
        cells: dict[str, Any] = {"prompt": question, "chosen": good, "rejected": bad}
        if as_turns:
            both = [[*prompt, {"role": "assistant", "content": text}] for text in (good, bad)]
            cells = {"chosen": both[0], "rejected": both[1]}
            if row.problem and not good:
                row.problem = "no two answers|a turn without text"
            if example.odd("prompt too"):
                cells["prompt"] = question
        found.append((row.split, cells))
    save(example, kind, found)


ODD = {
    "messages": ("rounds", "tool calls", "calls as text", "parts", "empty answer", "ends with a question"),
    "sharegpt": ("rounds", "empty answer", "ends with a question"),
    "instruction": ("input",),
}


def _register() -> None:
    for kind, more in KINDS.items():
        fixed = tuple(name for name in TEXT if kind != "arrow" or name != "the file itself")
        for form in ("messages", "sharegpt") if kind != "csv" else ():
            odd = tuple(name for name in (*fixed, *more, *ODD[form]))
            layout(f"{kind}/{form}", "text-generation", *odd, method="lora")(
                lambda example, kind=kind, form=form: conversations(example, kind, form == "sharegpt")
            )
        for form in COLUMNS:
            layout(f"{kind}/{form}", "text-generation", *fixed, *more, *ODD.get(form, ()), method="lora")(
                lambda example, kind=kind, form=form: in_columns(example, kind, form)
            )
        layout(f"{kind}/text", "text-generation", *(n for n in (*fixed, *more) if n != "system"), method="lora")(
            lambda example, kind=kind: plain(example, kind)
        )
        odd = (
            *(n for n in (*fixed, *more) if n != "system"),
            "same answers",
            "as conversations",
            "rounds",
            "prompt too",
        )
        layout(f"{kind}/dpo", "text-generation", *odd, method="dpo")(
            lambda example, kind=kind: preferences(example, kind)
        )


_register()
