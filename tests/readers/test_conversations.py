from __future__ import annotations

import pytest

from tunegate.readers.conversations import (
    dialogue,
    is_empty,
    is_learned,
    messages,
    preference,
    role_of,
    split,
    stored_turns,
    text_of,
    tools_of,
)


def user(content):
    return {"role": "user", "content": content}


def answer(content):
    return {"role": "assistant", "content": content}


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


def test_a_dialogue_as_text_is_its_turns():
    text = "\n\nHuman: Is 1 odd?\n\nAssistant: Why: ask?\n\nHuman: Tell.\n\nNow.\n\nAssistant: yes"
    assert [(turn["role"], turn["content"]) for turn in dialogue(text)] == [
        ("user", "Is 1 odd?"), ("assistant", "Why: ask?"), ("user", "Tell.\n\nNow."), ("assistant", "yes")
    ]  # fmt: skip
    assert dialogue("\n\nHuman: odd?\n\nAssistant:") == [{"role": "user", "content": "odd?"}]
    assert dialogue("Human: odd?") == dialogue("A letter\n\nHuman: odd?\n\nAssistant: yes") == []


def test_the_prompt_of_a_preference_is_the_common_prefix():
    before = "\n\nHuman: odd?\n\nAssistant: Why?\n\nHuman: Tell.\n\nAssistant: "
    found = preference({"chosen": f"{before}yes", "rejected": f"{before}no", "system": "Be brief."})
    assert [turn["role"] for turn in found["prompt"]] == ["system", "user", "assistant", "user"]
    assert (found["chosen"], found["rejected"]) == ([answer("yes")], [answer("no")])
    one = {"from": "gpt", "value": "yes"}, {"from": "gpt", "value": "no"}
    found = preference({"prompt": "odd?", "chosen": one[0], "rejected": one[1]})
    assert found == {"prompt": [user("odd?")], "chosen": [answer("yes")], "rejected": [answer("no")]}


def test_answers_that_are_given_are_not_learned():
    turns = messages({"messages": [user("a"), answer("b") | {"weight": 0}, user("c"), answer("d")]}, None)
    assert [is_learned(turn) for turn in turns] == [True, False, True, True]
    turns = messages(
        {"prompt": [user("a"), answer("b"), user("c")], "completion": [answer("d")]}, "prompt_completion_to_messages"
    )
    assert [is_learned(turn) for turn in turns] == [True, False, True, True]
    assert split([user("a"), answer("b"), user("c"), answer("d") | {"given": True}])[1] == [answer("b")]


@pytest.mark.parametrize(
    "name", ["Human", "USER", " prompter ", "ai", "GPT", "Assistant", "function", "ipython", "tool_call"]
)
def test_speakers_are_known_in_capitals_too(name):
    assert role_of(name) in ("user", "assistant", "tool")
    assert role_of("narrator") is None


def test_an_answer_that_only_thinks_or_calls_is_not_empty():
    assert is_empty(answer(" ")) and is_empty(answer(None))
    assert not is_empty(answer("") | {"tool_calls": [{}]}) and not is_empty(answer("") | {"reasoning_content": "hm"})
