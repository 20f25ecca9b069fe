"""What of a conversation is learned, where an answer ends, which rows are left out: on tokenizers of every sort, without a training."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.scaffolds.conftest import Project, environment, make_project
from tests.scaffolds.test_text_generation import MAKE

CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TEMPLATES = {
    "chatml": CHATML + PROMPT,
    # leaves out what an earlier answer thought, as those of reasoning models do
    "forgetful": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] if loop.last else m['content'].split('.')[-1] }}<|im_end|>\n{% endfor %}" + PROMPT,
    "endless": "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}",
    "waiting": CHATML + "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
    "without_system": "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"
    + CHATML
    + PROMPT,
}
TALK = [
    {"role": "user", "content": "is 1 odd?"},
    {"role": "assistant", "content": "I think. odd"},
    {"role": "user", "content": "is 2?"},
    {"role": "assistant", "content": "even"},
]
LOOK = """
import json, sys
from harness.project import load_config
from datasets import Dataset
from model import completed, load_processor, load_published
from data import encode, train_view
templates, talk = json.loads(sys.argv[1])
cfg, found = load_config(), {}
def view(tokenizer, turns):
    row = train_view(Dataset.from_list([{"prompt": turns[:-1], "completion": turns[-1:]}]), tokenizer)[0]
    return tokenizer.decode([i for i in row["labels"] if i != -100]), tokenizer.decode(row["input_ids"])
for name, template in templates.items():
    tokenizer = load_processor(cfg)
    tokenizer.chat_template = template
    found[name] = view(completed(tokenizer), talk)
tokenizer = load_processor(cfg)
tokenizer.chat_template, tokenizer.pad_token = None, None
found["no template"] = view(completed(tokenizer), talk)
found["pads with"] = tokenizer.pad_token
tokenizer = load_processor(cfg)
tokenizer.eos_token = "<pad>"  # as a base model's, which ends documents with another token than its template ends answers with
found["ends with"] = completed(tokenizer).eos_token
found["stops at"] = load_published(cfg).generation_config.eos_token_id
tokenizer.eos_token = None
try:
    completed(tokenizer)
except SystemExit as refusal:
    found["no end"] = str(refusal)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def base(stage_python, tmp_path_factory) -> Path:
    """The tiny model, whose own configuration says that `<pad>` ends a text."""
    folder = tmp_path_factory.mktemp("base")
    subprocess.run([stage_python, "-c", MAKE, folder], check=True, capture_output=True, env=environment())
    for name in ("config.json", "generation_config.json"):
        values = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**values, "eos_token_id": 0}))
    return folder


@pytest.fixture
def project(base, stage_python, tmp_path):
    """project(method, rows, ...) -> a project on these rows"""

    def make(method: str, rows: list[dict], **values) -> Project:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        local = {"local_dataset_path": str(path), "local_dataset_format": "jsonl", "max_length": 64, "n_eval": 2}
        return make_project(
            tmp_path / "project",
            stage_python,
            model_id=str(base),
            task="text-generation",
            training_method=method,
            **local | values,
        )

    return make


def test_what_is_learned_of_a_conversation_and_where_an_answer_ends(project):
    made = project("lora", [{"messages": TALK}], column_map={"messages": "messages"})
    found = json.loads(made.ok("-c", LOOK, json.dumps([TEMPLATES, TALK])).splitlines()[-1])
    learned, whole = found["chatml"]
    assert learned == "I think. odd<|im_end|>even<|im_end|>", "every answer, and no question"
    assert whole == "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in TALK).rstrip("\n")
    assert found["forgetful"][0] == "even<|im_end|>", "earlier answers are not what the model would say"
    assert found["waiting"] == found["chatml"], "what is given ends where the ways to write an answer part"
    assert found["endless"][0] == "I think. odd<|im_end|>even<|im_end|>", "an end that the template does not write"
    assert found["no template"] == [
        "I think. odd<|im_end|>even<|im_end|>",
        "is 1 odd?\nI think. odd<|im_end|>is 2?\neven<|im_end|>",
    ]
    assert found["pads with"] == "<|im_end|>" and found["ends with"] == "<|im_end|>"
    assert found["stops at"] == [0, 2], "where the configuration says, and where an answer ends"
    assert "has no end token" in found["no end"]


def test_rows_that_cannot_be_used_are_left_out_and_counted(project, base):
    odd = {"role": "assistant", "content": "odd"}
    rows = [{"messages": [{"role": "user", "content": f"is {i} odd?"}, odd]} for i in range(8)]
    rows += [{"messages": [{"role": "system", "content": "short."}, *rows[0]["messages"]]}] * 3
    rows += [{"messages": [{"role": "user", "content": "is it odd? " * 20}, odd]}] * 2
    rows += [{"messages": [{"role": "user", "content": "is it odd?"}, {"role": "assistant", "content": " "}]}]
    made = project("lora", rows, column_map={"messages": "messages"})
    template = base / "chat_template.jinja"
    kept = template.read_text()
    template.write_text(TEMPLATES["without_system"])
    try:
        made.ok("prepare_data.py")
    finally:
        template.write_text(kept)
    meta = made.json("data/meta.json")
    assert meta["n_train"] + meta["n_eval"] == 8
    assert meta["dropped"] == {
        "the chat template refuses it: no system turns": 3,
        "longer than 64 tokens": 2,
        "no answer": 1,
    }


def test_turns_under_every_name_and_in_parts(project):
    rows = [
        {"conversations": [{"from": "human", "value": "odd?"}, {"from": name, "value": "odd"}]}
        for name in ("gpt", "chatgpt", "model")
    ]
    made = project("lora", rows * 3, column_map={"messages": "conversations"}, column_reshape="sharegpt_to_messages")
    made.ok("prepare_data.py")
    assert made.json("data/meta.json")["dropped"] == {} and made.json("data/meta.json")["n_train"] >= 7


@pytest.mark.parametrize("reward", ["named", "missing"])
def test_a_reward_reads_any_column_and_says_which_it_lacks(project, reward):
    rows = [
        {"question": f"is {i} odd?", "solution": ["odd", "even"][i % 2], "level": i, "image": "x"} for i in range(9)
    ]
    made = project("grpo", rows, column_map={"prompt": "question", "answer": "solution"}, max_completion_length=4)
    path = made.path / "rewards.py"
    column = "level" if reward == "named" else "difficulty"
    path.write_text(
        path.read_text().replace("def reward(completions, answer,", f"def reward(completions, answer, {column},")
    )
    done = made.run("prepare_data.py")
    if reward == "missing":
        assert (
            done.returncode == 1 and "rewards.py reads the column 'difficulty', and the dataset has only" in done.stdout
        )
        return
    assert done.returncode == 0, done.stdout
    code = "from harness.project import load_split; d = load_split('train'); print(sorted(d.column_names), d[0]['prompt'], d[0]['answer'])"
    assert made.ok("-c", code).splitlines()[-1].startswith("['answer', 'level', 'prompt'] [{'")
    code = "from run_eval import earned; from harness.project import load_split; d = list(load_split('eval'))"
    code += "; print(earned(d, [r['answer'].upper() + '.' for r in d]))"
    assert made.ok("-c", code).splitlines()[-1] == "[1.0]"


def test_a_text_is_learned_from_end_to_end(project):
    rows = [{"text": f"{i} is odd and {i + 1} is even"} for i in range(1, 18, 2)]
    made = project("full", rows, column_map={"text": "text"}, column_reshape="language_modelling", max_new_tokens=4)
    made.ok("prepare_data.py")
    code = (
        "from data import *; from model import load_processor, load_published; import infer\n"
        "from harness import project, samples; from harness.project import load_config\n"
        "c = load_config(); t = load_processor(c); d = load_split('train'); r = train_view(d, t)[0]\n"
        "print(t.decode([i for i in r['labels'] if i != -100]) == t.decode(r['input_ids']) == d[0]['completion'][0]['content'] + t.eos_token)\n"
        "infer.load_tuned, infer.load_tuned_processor = (lambda _: load_published(c)), (lambda _: t)\n"
        "project.TUNED.mkdir(parents=True); infer.main()"
    )
    assert "True" in made.ok("-c", code).splitlines()
    shown = (made.path / "reports/inference_samples/0_input.txt").read_text()
    assert (
        " is odd" in shown
        and "even" not in shown
        and (made.path / "reports/inference_samples/0_pred.txt").read_text().strip().endswith("even")
    )


def test_a_long_text_is_cut_into_blocks_that_together_are_the_text(project):
    long = " ".join(f"{i} is odd and {i + 1} is even" for i in range(1, 200, 2))
    rows = [{"text": long}, {"text": long + " odd"}, {"text": "odd"}, {"text": ""}, {"text": "even"}, {"text": "is"}]
    made = project("full", rows, column_map={"text": "text"}, column_reshape="language_modelling", n_eval=99)
    made.ok("prepare_data.py")
    meta = made.json("data/meta.json")
    assert meta["read"]["train"]["usable"] == 5 and meta["dropped"] == {"no answer": 1}
    code = (
        "import json; from data import *; from model import load_processor; from harness.project import load_config\n"
        "c = load_config(); t = load_processor(c); d = [*load_split('train'), *load_split('eval')]\n"
        "sizes = [sum(map(len, encode(r['prompt'], r['completion'], t))) for r in d]\n"
        "ends = [encode(r['prompt'], r['completion'], t)[1][-1] == t.eos_token_id for r in d]\n"
        "print(json.dumps([max(sizes), sum(ends), ''.join(r['completion'][0]['content'] for r in d)]))"
    )
    longest, ends, whole = json.loads(made.ok("-c", code).splitlines()[-1])
    assert longest <= 64 and ends == 5, "the end of a text is learned once, where it is"
    assert sorted(whole) == sorted("".join(row["text"] for row in rows)) and long in whole
    assert meta["blocks"] == {"train": meta["n_train"], "eval": meta["n_eval"]} and meta["n_train"] > 5


WITH_TOOLS = (
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}{% for c in m['tool_calls'] or [] %}"
    "{{ c['function']['name'] }}{{ c['function']['arguments'] | tojson }}{% endfor %}<|im_end|>\n{% endfor %}" + PROMPT
)
LEARNED = """
import json
from harness.project import load_config, load_split
from model import load_processor
from data import train_view
t = load_processor(load_config())
rows = [r for s in ("train", "eval") for r in train_view(load_split(s), t)]
found = [[t.decode(r["input_ids"]), t.decode([i for i in r["labels"] if i != -100])] for r in rows]
print(json.dumps(sorted(found)))
"""


def called(i: int) -> dict:
    """A conversation with a tool call in one of the two forms that data have: arguments as an object, or as JSON text."""
    name, arguments = (("get_weather", {"city": f"Town {i}"}), ("add", {"a": i}))[i % 2]
    call = {"type": "function", "function": {"name": name, "arguments": [arguments, json.dumps(arguments)][i // 2 % 2]}}
    messages = [
        {"role": "user", "content": f"Number {i}?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "name": name, "content": f"result {i}"},
        {"role": "assistant", "content": f"It is {i}."},
    ]
    return {
        "messages": messages,
        "tools": [{"type": "function", "function": {"name": n}} for n in ("get_weather", "add")],
    }


def test_tool_calls_are_learned_and_tools_are_read(project, base):
    rows = [called(i) for i in range(8)]
    rows.append(
        {"messages": [*rows[0]["messages"][:1], {"role": "assistant", "content": ""}, *rows[0]["messages"][2:]]}
    )
    made = project("lora", rows, column_map={"messages": "messages", "tools": "tools"}, max_length=900)
    template = base / "chat_template.jinja"
    kept = template.read_text()
    template.write_text(WITH_TOOLS)
    try:
        made.ok("prepare_data.py")
        seen = json.loads(made.ok("-c", LEARNED).splitlines()[-1])
    finally:
        template.write_text(kept)
    assert made.json("data/meta.json")["dropped"] == {"a turn without text": 1}, "an empty answer would be learned"
    assert len(seen) == 8
    for read, learned in seen:
        number = int(read.split("Number ")[1].split("?")[0])
        call = f'add{{"a": {number}}}' if number % 2 else f'get_weather{{"city": "Town {number}"}}'
        assert learned == f"{call}<|im_end|>It is {number}.<|im_end|>"
        assert '"name": "get_weather"' in read and f"result {number}" in read


def test_a_template_that_leaves_tool_calls_out_is_refused(project):
    made = project("lora", [called(i) for i in range(8)], column_map={"messages": "messages"}, max_length=900)
    done = made.run("prepare_data.py")
    assert done.returncode == 1 and "the chat template does not write its tool calls" in done.stdout


def test_what_stands_beside_a_conversation_is_read(project):
    rows = [
        {
            "instruction": f"And {i}?",
            "output": "no",
            "system": f"Be counter {i}.",
            "history": [[f"Is {i + 1} odd?", "yes"]],
        }
        for i in range(8)
    ]
    made = project(
        "lora",
        rows,
        column_map={"instruction": "instruction", "output": "output"},
        column_reshape="instruction_to_messages",
        max_length=200,
    )
    made.ok("prepare_data.py")
    for read, learned in json.loads(made.ok("-c", LEARNED).splitlines()[-1]):
        assert "system\nBe counter" in read and "odd?" in read and learned == "yes<|im_end|>no<|im_end|>"


def test_how_long_max_length_would_have_to_be(project):
    rows = [{"prompt": "odd? " * (40 if i % 5 else 1), "completion": "yes"} for i in range(20)]
    made = project("lora", rows, column_map={"prompt": "prompt", "completion": "completion"}, max_length=32)
    made.ok("prepare_data.py")
    meta = made.json("data/meta.json")
    assert meta["read"]["train"]["left_out"] == {"longer than 32 tokens": 16} and meta["read"]["train"]["fits_95"] > 80
