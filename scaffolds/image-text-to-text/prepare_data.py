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
"""Fetch the dataset, choose the rows, keep them as Arrow: data/train, data/eval and data/meta.json.

    python prepare_data.py

The rows are chosen with `seed`. Without an eval_split, the evaluation rows are held out of train_split first, so that
no row is ever in both. A row becomes its images, the conversation before the last answer, and the accepted answers.
Where a conversation shows images elsewhere than before its first question, <image> marks stay in its text as their
places.
"""

from datasets import Features, Image, List, Value

from data import PLACEHOLDER
from harness import pictures, rows
from harness.project import cpu_count, load_config
from harness.readers import conversations
from harness.readers.tables import IMAGE_COLUMNS

BESIDE = ("input", *conversations.BEFORE)  # columns beside the conversation that belong to it
# Reshape -> the column of which a row may have several, each of them right
SEVERAL = {"question_answer_to_messages": "answer", "caption_to_messages": "caption"}
FEATURES = Features(  # said, not guessed from the first rows: a column of which they have nothing could hold nothing
    {
        "images": List(Image(decode=False)),
        "prompt": List({"role": Value("string"), "content": Value("string")}),
        "answers": List(Value("string")),
        "problem": Value("string"),
    }
)


def main():
    cfg = load_config()
    train, evaluation = rows.load(cfg, as_task)
    train_rows, eval_rows, read = rows.choose(cfg, train, evaluation, rows.problems_of)
    rows.write(
        cfg,
        (finished(train, train_rows), train_rows),
        (finished(evaluation or train, eval_rows), eval_rows),
        class_names=[],
        read=read,
    )


def as_task(dataset, cfg):
    """Columns images (still encoded), prompt [{role, content}] and answers [text];
    `problem` says why a row cannot be used."""
    reshape = cfg["column_reshape"]
    shown, text = IMAGE_COLUMNS, conversations.COLUMNS[reshape]
    dataset = rows.renamed(dataset, cfg, ("image", *text), optional=(*BESIDE, *shown[1:]))
    for name in (shown := [name for name in shown if name in dataset.column_names]):
        encoded = Image(decode=False)
        dataset = dataset.cast_column(name, List(encoded) if isinstance(dataset.features[name], List) else encoded)

    def tidy(row):
        cells = [row[name] if isinstance(row[name], list) else [row[name]] for name in shown]
        images = [image for cell in cells for image in cell if image]
        prompt, answers, unwritten = asked_and_answered({**row, "caption_prompt": cfg["caption_prompt"]}, reshape)
        answers = [
            str(answer).strip()
            for answer in (answers if isinstance(answers, list) else [answers])
            if answer is not None and str(answer).strip()
        ]
        prompt, misplaced = with_places(prompt, len(images))
        problem = (
            "no image that can be read"
            if not images or not all(map(pictures.is_readable, images))
            else "no answer"
            if not answers
            else unwritten
        )
        problem = problem or (misplaced if any(turn["role"] != "system" for turn in prompt) else "no question")
        return {"images": images, "prompt": prompt, "answers": answers, "problem": problem}

    return dataset.map(
        tidy,
        remove_columns=dataset.column_names,
        features=FEATURES,
        num_proc=cpu_count() if len(dataset) > 2000 else None,
    )


def with_places(prompt, images):
    """(the turns, why the images have no place; None where they have). Marks that only repeat the usual place,
    before the first question, go."""
    bare = [{**turn, "content": turn["content"].replace(PLACEHOLDER, "").strip()} for turn in prompt]
    asking = [i for i, turn in enumerate(prompt) if turn["role"] != "system"]
    pieces = [prompt[i]["content"].split(PLACEHOLDER) for i in asking]
    marks = sum(len(piece) - 1 for piece in pieces)
    if not marks or marks == len(pieces[0]) - 1 and not any(map(str.strip, pieces[0][:-1])):
        return bare, None
    if marks != images:
        return bare, f"{marks} {PLACEHOLDER} marks for {images} images, in several places"
    return [
        {**turn, "content": turn["content"].strip()} if i in asking else bare[i] for i, turn in enumerate(prompt)
    ], None


def asked_and_answered(row, reshape):
    """(the turns before the answer, the accepted answers, what of them could not be written); in the text, a mark for
    each image that stands there."""
    turns, answer = conversations.split(conversations.messages(row, reshape, PLACEHOLDER))
    prompt = [{"role": turn["role"], "content": str(turn["content"] or "")} for turn in turns]
    unwritten = (
        "a turn calls tools, which are not read beside images"
        if any(turn.get("tool_calls") for turn in (*turns, *answer))
        else "a turn without text"
        if any(turn["role"] == "assistant" and conversations.is_empty(turn) for turn in turns)
        else None
    )
    if reshape in SEVERAL:
        return prompt, row[SEVERAL[reshape]], unwritten
    return prompt, [turn["content"] for turn in answer], unwritten


def finished(dataset, chosen):
    return (
        pictures.all_visible(dataset.select(chosen), "images")
        .remove_columns("problem")
        .cast_column("images", List(Image()))
    )


if __name__ == "__main__":
    main()
