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
"""Conversations: who speaks in a turn, and what a row of each known layout is as a list of {role, content} turns.

A row here has the task's own columns (messages, prompt, completion, question, ...), whatever the dataset calls them.
"""

from __future__ import annotations

import json
import re
from typing import Any

ROLES = ("system", "developer", "user", "assistant", "tool")
SPEAKERS = {  # what ShareGPT and its kin call the roles
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("observation", "function", "function_response", "tool_response", "ipython"), "tool"),
    **dict.fromkeys(
        ("gpt", "chatgpt", "bing", "bard", "bot", "model", "ai", "function_call", "tool_call"), "assistant"
    ),
}
THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # what chat templates call an answer's thoughts
GIVEN = "given"  # a key of the answers that are not learned
KEPT = ("name", "tool_call_id", *THOUGHTS)  # of a turn, beside its role, its text and its calls
BEFORE = ("system", "history")  # columns with what a conversation begins with
BESIDE = ("input", *BEFORE, "tools")  # columns beside a conversation that belong to it
COLUMNS = {  # column_reshape of config.yaml -> the columns that it reads
    None: ("messages",),
    "sharegpt_to_messages": ("messages",),
    "question_answer_to_messages": ("question", "answer"),
    "prompt_completion_to_messages": ("prompt", "completion"),
    "instruction_to_messages": ("instruction", "output"),
    "caption_to_messages": ("caption",),
    "language_modelling": ("text",),
}
IMAGE_PARTS = ("image", "image_url")  # types of the parts of a turn that are images

Turn = dict[str, Any]


def role_of(name: str) -> str | None:
    """The role of a speaker, in capitals or not; None for a name that is not known."""
    name = name.strip().lower()
    return name if name in ROLES else SPEAKERS.get(name)


def stored_turns(value: Any) -> list[Turn]:
    """A cell's turns, with speakers and contents as they are stored under role and content.

    The cell is a list of dictionaries, a dictionary of lists or one dictionary: {role, content} or {from, value}.
    """
    if isinstance(value, dict) and isinstance(value.get("role") or value.get("from"), str):
        value = [value]
    if isinstance(value, dict):
        lists = [items if isinstance(items, list) else [] for items in value.values()]
        value = [dict(zip(value, items, strict=False)) for items in zip(*lists, strict=False)]
    if not isinstance(value, list):
        return []
    return [_under_our_names(turn) for turn in value if isinstance(turn, dict)]


def _under_our_names(turn: Turn) -> Turn:
    def either(one: str, other: str) -> Any:
        return turn[one] if turn.get(one) is not None else turn.get(other)

    more = {name: value for name, value in turn.items() if name not in ("from", "value")}
    return {**more, "role": str(either("role", "from")), "content": either("content", "value")}


def messages(row: dict[str, Any], reshape: str | None, mark: str = "") -> list[Turn]:
    """The row's conversation: what stands in columns of its own (a system prompt, earlier rounds) comes first.

    mark: what stands in a text in the place of an image.
    """
    found = [as_turn(turn, mark) for turn in _RESHAPES[reshape](row)]
    return [*_before(row, found), *found]


def split(turns: list[Turn]) -> tuple[list[Turn], list[Turn]]:
    """(the turns before the last answer that is learned, [that answer]); what follows it is dropped."""
    last = max((i for i, turn in enumerate(turns) if turn["role"] == "assistant" and is_learned(turn)), default=-1)
    return turns[: max(last, 0)], turns[last : last + 1] if last >= 0 else []


def is_learned(turn: Turn) -> bool:
    """Whether an answer is learned: not where the data only gives it (weight 0, train false, a turn of a prompt)."""
    return turn.get(GIVEN) is not True


def spoken(content: str) -> str:
    """What an answer says once it has thought, without the space around it."""
    return content.rpartition("</think>")[2].strip()


def is_empty(turn: Turn) -> bool:
    """Whether an assistant's turn says nothing and calls nothing: what is learned would be to end at once."""
    said = [turn.get("content"), *(turn.get(name) for name in THOUGHTS)]
    return not turn.get("tool_calls") and not any(isinstance(one, str) and one.strip() for one in said)


def question_and_answer(question: Any, answer: Any) -> list[Turn]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def prompt_and_completion(prompt: Any, completion: Any) -> list[Turn]:
    """Each is a text, or a conversation, of which the prompt is given and the completion learned."""
    given = [turn | {GIVEN: True} if turn["role"] == "assistant" else turn for turn in as_messages(prompt, "user")]
    return [*given, *(as_messages(completion, "assistant") or question_and_answer(prompt, completion)[1:])]


def instruction(row: dict[str, Any]) -> Any:
    """The instruction, with its input below it where it has one."""
    return f"{row['instruction']}\n\n{row['input']}" if row.get("input") else row["instruction"]


def first_answer(answer: Any) -> str:
    """The answer as text; of several accepted ones the first."""
    answer = (answer or [None])[0] if isinstance(answer, list) else answer
    return "" if answer is None else str(answer)


_RESHAPES = {
    None: lambda row: stored_turns(row["messages"]),
    "sharegpt_to_messages": lambda row: stored_turns(row["messages"]),
    "question_answer_to_messages": lambda row: question_and_answer(row["question"], first_answer(row["answer"])),
    "prompt_completion_to_messages": lambda row: prompt_and_completion(row["prompt"], row["completion"]),
    "instruction_to_messages": lambda row: question_and_answer(instruction(row), row["output"]),
    "caption_to_messages": lambda row: question_and_answer(row["caption_prompt"], first_answer(row["caption"])),
    "language_modelling": lambda row: [{"role": "assistant", "content": row["text"]}],
}


def _before(row: dict[str, Any], found: list[Turn]) -> list[Turn]:
    system, history = row.get("system"), row.get("history") or []
    has_system = any(turn["role"] == "system" for turn in found)
    given = isinstance(system, str) and system.strip() and not has_system
    turns = [turn for question, answer in history for turn in question_and_answer(question, answer)]
    return [{"role": "system", "content": system}, *turns] if given else turns


def as_turn(turn: Turn, mark: str = "") -> Turn:
    """A turn with its role, its text and, where it has them, its tool calls and the name of the tool that answers."""
    calls = turn.get("tool_calls") or []
    if not calls and turn.get("function_call"):
        calls = [{"type": "function", "function": turn["function_call"]}]
    content = text_of(turn["content"], mark)
    more = {name: turn[name] for name in KEPT if turn.get(name)}
    if turn.get(GIVEN) or turn.get("weight") == 0 or turn.get("train") is False:
        more[GIVEN] = True
    if calls:
        more["tool_calls"], content = [_as_call(without_none(call)) for call in calls], content or ""
    return {"role": role_of(turn["role"]) or turn["role"], "content": content, **more}


def text_of(content: Any, mark: str = "") -> Any:
    """A turn's text, which may be a list of parts, `mark` in the place of each image. A number is one as text."""
    if not isinstance(content, list):
        return str(content) if isinstance(content, (int, float)) else content
    parts = [part for part in content if isinstance(part, dict)]
    texts = [mark if part.get("type") in IMAGE_PARTS else part.get("text") or "" for part in parts]
    return (" " if mark else "").join(texts)


def _as_call(call: dict[str, Any]) -> dict[str, Any]:
    """A tool call with its arguments as a dictionary, as chat templates read them; OpenAI's form has JSON text."""
    call = call if "function" in call else {"type": "function", "function": call}
    return {**call, "function": {**call["function"], "arguments": _parsed(call["function"].get("arguments") or {})}}


def tools_of(tools: Any) -> list[Any] | None:
    """The tools that a conversation may call: a list, or JSON text of one. None for none."""
    tools = _parsed(tools) if isinstance(tools, str) and tools.strip() else tools
    return without_none(tools) if tools and isinstance(tools, list) else None


def _parsed(value: Any) -> Any:
    """What JSON text holds; what is no JSON text, as it is."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def without_none(value: Any) -> Any:
    """Without the fields that a table adds to every row, because another row has them."""
    if isinstance(value, dict):
        return {name: without_none(one) for name, one in value.items() if one is not None}
    return [without_none(one) for one in value] if isinstance(value, list) else value


def as_messages(value: Any, role: str) -> list[Turn]:
    """A prompt or an answer as turns: a conversation, a dialogue as text, or the text of one turn of this role.

    Nothing: no turn.
    """
    if isinstance(value, (list, dict)):
        return [as_turn(turn) for turn in stored_turns(value)]
    if value is None or not str(value).strip():
        return []
    return dialogue(str(value)) or [{"role": role, "content": str(value)}]


def dialogue(text: str) -> list[Turn]:
    """The turns of a text that is a whole dialogue, as of hh-rlhf: "\\n\\nHuman: ... \\n\\nAssistant: ...".

    None of any other text. A last speaker who says nothing yet has no turn.
    """
    spoken = _SPEAKER.split("\n\n" + text.strip() + "\n")
    if spoken[0].strip() or not {"assistant"} < {role_of(name) for name in spoken[1::2]}:
        return []
    turns = [(role_of(name), said.strip()) for name, said in zip(spoken[1::2], spoken[2::2], strict=True)]
    return [{"role": role, "content": said} for role, said in turns[:-1]] + [
        {"role": role, "content": said} for role, said in turns[-1:] if said
    ]


_SPEAKER = re.compile(r"\n\n(Human|User|Assistant|System):(?=\s)")


def preference(row: dict[str, Any]) -> dict[str, list[Turn]]:
    """prompt, chosen and rejected as turns; what chosen and rejected begin with alike belongs to the prompt."""
    chosen, rejected = as_messages(row["chosen"], "assistant"), as_messages(row["rejected"], "assistant")
    prompt = as_messages(row["prompt"], "user") if row.get("prompt") else []
    alike = 0
    while alike < min(len(chosen), len(rejected)) and chosen[alike] == rejected[alike]:
        alike += 1
    shared = chosen[:alike]
    if prompt in (shared[: len(prompt)], shared[-len(prompt) :]):  # both answers repeat it, or end with it
        prompt = shared
    elif shared != prompt[-alike:]:
        prompt = [*prompt, *shared]
    prompt = [*_before(row, prompt), *prompt]
    return {"prompt": prompt, "chosen": chosen[alike:], "rejected": rejected[alike:]}
