from __future__ import annotations

import pytest

from tunegate.readers.conversations import messages, preference, split, stored_turns, text_of, tools_of

ASK, SAY = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    "cell",
    [
        [ASK, SAY],
        {"role": ["user", "assistant"], "content": ["q", "a"]},
        [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
        [{"role": None, "from": "human", "content": None, "value": "q"}, {"from": "bot", "value": "a"}],
        [{"role": "human", "content": [{"type": "text", "text": "q"}]}, SAY],
    ],
)
def test_every_layout_of_turns_is_the_same_conversation(cell):
    assert messages({"messages": cell}, None) == messages({"messages": cell}, "sharegpt_to_messages") == [ASK, SAY]


@pytest.mark.parametrize("cell", [None, 3, "text", [1, "a"], [[{}]], {"role": 3}, [{"role": None}], [{"content": [1]}]])
def test_odd_cells_are_no_crash(cell):
    assert (
        all({"role", "content"} <= set(turn) for turn in stored_turns(cell))
        and messages({"messages": cell}, None) is not None
    )


def test_what_stands_in_other_columns_comes_first():
    row = {"prompt": "q", "completion": "a", "system": "be kind", "history": [["x", "y"]]}
    found = messages(row, "prompt_completion_to_messages")
    assert [turn["content"] for turn in found] == ["be kind", "x", "y", "q", "a"]
    assert split(found) == (found[:-1], found[-1:])
    row = {"instruction": "add", "input": "1 2", "output": "3"}
    assert messages(row, "instruction_to_messages")[0]["content"] == "add\n\n1 2"


def test_the_last_answer_is_what_is_learned():
    assert split([ASK, SAY, ASK]) == ([ASK], [SAY]) and split([ASK]) == ([], []) and split([]) == ([], [])


def test_tool_calls_stay_with_their_turn():
    call = {"type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}, "id": None}
    turn = messages({"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}, None)[0]
    assert turn["content"] == "" and turn["tool_calls"][0]["function"]["arguments"] == {"a": 1}
    assert "id" not in turn["tool_calls"][0]
    assert tools_of('[{"name": "add"}]') == [{"name": "add"}] and tools_of("") is None and tools_of([]) is None


def test_images_keep_their_places():
    parts = [{"type": "image", "text": None}, {"type": "text", "text": "what?"}]
    assert text_of(parts, "<image>") == "<image> what?" and text_of(parts) == "what?" and text_of("x", "<image>") == "x"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"chosen": [ASK, SAY], "rejected": [ASK, {"role": "assistant", "content": "b"}]},
        {"prompt": "q", "chosen": [ASK, SAY], "rejected": [ASK, {"role": "assistant", "content": "b"}]},
    ],
)
def test_preferences(row):
    assert preference(row) == {"prompt": [ASK], "chosen": [SAY], "rejected": [{"role": "assistant", "content": "b"}]}


def test_a_prompt_that_says_the_same_twice_keeps_both():
    longer = [ASK, SAY, ASK]
    found = preference({"chosen": [*longer, SAY], "rejected": [*longer, {"role": "assistant", "content": "b"}]})
    assert found["prompt"] == longer
