from __future__ import annotations

import pytest

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.texts import judge_texts

CHAT = {"messages": "messages"}


def chat(*turns: tuple[str, str], keys=("role", "content")):
    return {"messages": [dict(zip(keys, turn, strict=True)) for turn in turns]}


def test_lengths_turns_and_empty_texts():
    rows = [chat(("user", "x" * 10), ("assistant", "y" * 5))] * 9 + [chat(("user", "x" * 500), ("assistant", "a b c"))]
    facts = judge_texts(rows, "messages", CHAT)
    assert (facts.rows, facts.characters, facts.turns, facts.empty) == (10, [16, 506, 506], 2, 0)
    assert facts.roles == {"user": 10, "assistant": 10} and facts.words[2] == 4
    rows = [{"prompt": "p", "completion": "c"}, {"prompt": "p", "completion": " "}, {"prompt": "p", "completion": None}]
    assert judge_texts(rows, "prompt_completion", {"prompt": "prompt", "completion": "completion"}).empty == 2


def test_an_empty_input_is_no_empty_text():
    columns = {"instruction": "instruction", "input": "input", "output": "output"}
    assert judge_texts([{"instruction": "do", "input": "", "output": "done"}], "instruction", columns).empty == 0


def test_sharegpt_and_dicts_of_lists():
    rows = [chat(("human", "hi"), ("gpt", "hello"), keys=("from", "value"))]
    facts = judge_texts(rows, "sharegpt", CHAT)
    assert facts.roles == {"human": 1, "gpt": 1} and facts.without_answer == 0
    rows = [{"messages": {"role": ["user", "assistant"], "content": ["a", "b"]}}]
    assert judge_texts(rows, "messages", CHAT).roles == {"user": 1, "assistant": 1}


def test_content_parts_and_image_marks():
    parts = [{"type": "image", "text": None}, {"type": "text", "text": "what?"}]
    facts = judge_texts(
        [{"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "<image> cat"}]}],
        "messages",
        CHAT,
    )
    assert facts.image_marks == 2 and facts.empty == 0


def test_several_answers_and_numbers():
    rows = [{"question": "how many", "answer": 3}, {"question": "which", "answer": ["a", "b"]}]
    assert judge_texts(rows, "question_answer", {"question": "question", "answer": "answer"}).empty == 0


@pytest.mark.parametrize(
    ("rows", "columns", "says"),
    [
        ([chat(("narrator", "x"), ("assistant", "y"))], CHAT, "'narrator'"),
        ([chat(("user", "x"))] * 2, CHAT, "ends with a turn of the assistant"),
        ([{"text": "  "}, {"text": None}], {"text": "text"}, "empty text"),
    ],
)
def test_what_nothing_can_be_learned_from_is_rejected(rows, columns, says):
    with pytest.raises(ToolFailure) as caught:
        judge_texts(rows, "messages", columns)
    assert caught.value.code == "rejected" and says in caught.value.failure.message


def test_a_conversation_that_stops_at_the_user_is_counted():
    rows = [chat(("user", "x"), ("assistant", "y")), chat(("user", "x"))]
    assert judge_texts(rows, "messages", CHAT).without_answer == 1


@pytest.mark.parametrize(
    "value", [None, 3, "text", [1, "a"], [[{}]], {"role": 3}, [{"role": None}], [{"content": [1]}]]
)
def test_odd_cells_are_no_crash(value):
    try:
        judge_texts([{"messages": value}], "messages", CHAT)
    except ToolFailure as failure:
        assert failure.code == "rejected"
