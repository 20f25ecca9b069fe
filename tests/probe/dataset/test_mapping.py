from __future__ import annotations

import pytest

from tunegate.errors import ToolFailure
from tunegate.probe.dataset.columns import Feature, list_of, struct_of
from tunegate.probe.dataset.mapping import bounded_row, map_columns
from tunegate.probe.dataset.pictures import Picture

IMAGE, CLASSES = Feature("image", "Image"), Feature("class", "ClassLabel(2)", ("a", "b"))
INT, TEXT = Feature("int", "int64"), Feature("string", "string")


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"image": IMAGE, "label": CLASSES}, ("image", "label")),
        ({"img": IMAGE, "fine_label": CLASSES}, ("img", "fine_label")),
        ({"x": IMAGE, "label": INT, "id": INT}, ("x", "label")),
        ({"image": IMAGE, "thumb": IMAGE, "category": TEXT}, ("image", "category")),
        ({"image": IMAGE, "breed": CLASSES, "id": INT, "name": TEXT}, ("image", "breed")),
        ({"image": IMAGE, "label": TEXT, "cls": CLASSES}, ("image", "label")),
    ],
)
def test_a_rename_is_found(features, expected):
    assert tuple(map_columns(features, "image-classification").columns.values()) == expected


@pytest.mark.parametrize(
    ("features", "code", "says"),
    [
        ({"image": IMAGE, "fine": CLASSES, "coarse": CLASSES}, "ambiguous", "column_map={'label': 'fine'}"),
        ({"a": IMAGE, "b": IMAGE, "label": INT}, "ambiguous", "a, b"),
        ({"text": TEXT, "label": INT}, "rejected", "text (string), label (int64)"),
        ({"image": IMAGE, "labels": Feature("list", "List")}, "rejected", "labels (List)"),
        ({}, "rejected", "no columns"),
    ],
)
def test_what_no_rename_mends(features, code, says):
    with pytest.raises(ToolFailure) as caught:
        map_columns(features, "image-classification")
    assert caught.value.code == code and says in caught.value.failure.message


BOXES, CLASSES_LIST = list_of(list_of(Feature("float", "float32"))), list_of(CLASSES)
CHAT = list_of(struct_of({"role": TEXT, "content": TEXT}))
SHAREGPT = list_of(struct_of({"from": TEXT, "value": TEXT}))
SEGMENTS = list_of(struct_of({"id": INT, "category_id": INT}))


def text(*names: str) -> dict[str, Feature]:
    return dict.fromkeys(names, TEXT)


@pytest.mark.parametrize(
    ("task", "features", "columns", "reshape"),
    [
        ("object-detection", {"img": IMAGE, "objects": struct_of({"bbox": BOXES, "categories": CLASSES_LIST})}, "img objects.bbox objects.categories", None),
        ("object-detection", {"image": IMAGE, "annotations": list_of(struct_of({"bbox": list_of(INT), "label": TEXT}))},
         "image annotations.bbox annotations.label", "transpose_objects"),
        ("object-detection", {"image": IMAGE, "boxes": BOXES, "labels": CLASSES_LIST, "id": INT}, "image boxes labels", "nest_objects"),
        ("semantic-segmentation", {"pixel_values": IMAGE, "label": IMAGE}, "pixel_values label", None),
        ("semantic-segmentation", {"rgb": IMAGE, "depth": IMAGE, "semantic": IMAGE, "instance": IMAGE}, "rgb semantic", None),
        ("depth-estimation", {"rgb": IMAGE, "depth": IMAGE, "semantic": IMAGE, "instance": IMAGE}, "rgb depth", None),
        ("depth-estimation", {"image": IMAGE, "depth_map": list_of(list_of(Feature("float", "float32")))}, "image depth_map", None),
        ("panoptic-segmentation", {"image": IMAGE, "label": IMAGE, "segments_info": SEGMENTS}, "image label segments_info", None),
        ("instance-segmentation", {"image": IMAGE, "annotation": IMAGE}, "image annotation", None),
        ("image-text-to-text", {"images": list_of(IMAGE), "messages": CHAT}, "images messages", None),
        ("image-text-to-text", {"image": IMAGE, **text("question", "multiple_choice_answer")},
         "image question multiple_choice_answer", "question_answer_to_messages"),
        ("image-text-to-text", {"image": IMAGE, "query": TEXT, "label": list_of(TEXT), "human_or_machine": CLASSES},
         "image query label", "question_answer_to_messages"),
        ("image-text-to-text", {"image": IMAGE, **text("text", "id")}, "image text", "caption_to_messages"),
        ("image-text-to-text", {"img": IMAGE, "captions": list_of(TEXT)}, "img captions", "caption_to_messages"),
        ("image-text-to-text", {"image": IMAGE, **text("caption", "question", "answer")}, "image question answer", "question_answer_to_messages"),
        ("image-text-to-text", {"image_1": IMAGE, "image_2": IMAGE, **text("question", "answer")},
         "image_1 image_2 question answer", "question_answer_to_messages"),
        ("image-text-to-text", {"messages": CHAT, "picture2": IMAGE, "picture1": IMAGE, "picture3": list_of(IMAGE)},
         "picture1 picture2 picture3 messages", None),
        ("text-generation", {"messages": CHAT, **text("prompt", "prompt_id")}, "messages", None),
        ("text-generation", {"messages": SHAREGPT}, "messages", "sharegpt_to_messages"),
        ("text-generation", text("instruction", "context", "response", "category"), "instruction context response", "instruction_to_messages"),
        ("text-generation", text("instruction", "input", "output", "text"), "instruction input output", "instruction_to_messages"),
        ("text-generation", text("prompt", "completion"), "prompt completion", None),
        ("text-generation", {"text": TEXT, "label": INT}, "text", "language_modelling"),
    ],
)  # fmt: skip
def test_layouts_that_are_known(task, features, columns, reshape):
    found = map_columns(features, task)
    assert (" ".join(found.columns.values()), found.reshape) == (columns, reshape)


@pytest.mark.parametrize(
    ("method", "features", "form"),
    [
        ("dpo", text("prompt", "chosen", "rejected"), "preference"),
        ("dpo", {"prompt": TEXT, "chosen": CHAT, "rejected": CHAT, "messages": CHAT}, "preference"),
        ("dpo", {"chosen": CHAT, "rejected": CHAT}, "implicit_preference"),
        ("grpo", {"prompt": CHAT, "solution": TEXT}, "prompts"),
        ("grpo", text("question", "answer"), "prompts"),
        ("lora", {"prompt": TEXT, "chosen": CHAT, "rejected": CHAT, "messages": CHAT}, "messages"),
    ],
)
def test_the_method_decides_what_is_read(method, features, form):
    assert map_columns(features, "text-generation", method=method).form == form


def test_a_right_answer_is_found_for_a_reward_and_not_needed():
    found = map_columns({"prompt": CHAT, "solution": TEXT, "level": TEXT}, "text-generation", method="grpo")
    assert found.columns == {"prompt": "prompt", "answer": "solution"} and found.unused == ["level"]
    assert map_columns({"prompt": CHAT}, "text-generation", method="grpo").columns == {"prompt": "prompt"}


@pytest.mark.parametrize(
    ("task", "method", "features", "says"),
    [
        ("text-generation", "full", text("prompt", "chosen", "rejected"), "'dpo'"),
        ("text-generation", "dpo", {"messages": CHAT}, "supervised"),
        ("text-generation", "full", text("sentence", "title"), "sentence (string)"),
        ("image-text-to-text", "lora", {"image": IMAGE, **text("question", "chosen", "rejected")}, "'chosen' as the answer"),
        ("object-detection", None, {"image": IMAGE, **dict.fromkeys(("xmin", "ymin", "xmax", "ymax"), INT)}, "group the rows by image"),
        ("object-detection", None, {"image": IMAGE, "objects": struct_of({"bbox": BOXES}), "label": CLASSES_LIST}, "category"),
        ("panoptic-segmentation", None, {"image": IMAGE, "mask": IMAGE}, "segments"),
        ("semantic-segmentation", None, {"image": IMAGE, "conditioning_image": IMAGE}, "conditioning_image"),
    ],
)  # fmt: skip
def test_what_would_need_more_than_a_rename_stops(task, method, features, says):
    with pytest.raises(ToolFailure) as caught:
        map_columns(features, task, method=method)
    assert caught.value.code == "rejected" and says in caught.value.failure.message


def test_images_in_several_columns_are_a_question_and_an_answer():
    features = {"before": IMAGE, "after": IMAGE, **text("question", "answer", "chosen", "rejected")}
    with pytest.raises(ToolFailure, match="'image_2': 'after'") as caught:
        map_columns(features, "image-text-to-text")
    assert caught.value.code == "ambiguous"
    asked = {"image": "before", "image_2": "after", "answer": "chosen"}
    assert map_columns(features, "image-text-to-text", asked).columns == {**asked, "question": "question"}


def test_what_the_user_says_counts():
    features = {"image": IMAGE, "conditioning_image": IMAGE}
    assert (
        map_columns(features, "depth-estimation", {"depth_map": "conditioning_image"}).columns["depth_map"]
        == "conditioning_image"
    )
    found = map_columns(text("q", "a", "text"), "text-generation", {"question": "q", "answer": "a"})
    assert (found.form, found.reshape) == ("question_answer", "question_answer_to_messages")
    features = {"image": IMAGE, "objects": struct_of({"box_a": BOXES, "box_b": BOXES, "label": CLASSES_LIST})}
    assert map_columns(features, "object-detection", {"bbox": "objects.box_b"}).columns["category"] == "objects.label"


@pytest.mark.parametrize(
    "asked",
    [
        {"prompt": "text", "question": "text"},
        {"text": "nope"},
        {"zz": "text"},
        {"messages": "text"},
        {"text": "meta.text"},
    ],
)
def test_what_the_user_says_must_be_possible(asked):
    with pytest.raises(ToolFailure) as caught:
        map_columns({"text": TEXT, "meta": struct_of({"text": TEXT})}, "text-generation", asked)
    assert caught.value.code == "invalid_input"


def test_a_field_of_a_struct_is_no_label():
    with pytest.raises(ToolFailure, match="no column serves as label"):
        map_columns({"image": IMAGE, "meta": struct_of({"label": INT})}, "image-classification")


def test_rows_are_bounded():
    row = {"image": Picture("x", size=(3, 2)), "text": "x" * 5000, "n": 1} | {f"c{i}": i for i in range(50)}
    shown = bounded_row(row, {"image": IMAGE})
    assert shown["image"] == "<image 3x2>" and len(shown["text"]) == 80 and len(shown) == 20
