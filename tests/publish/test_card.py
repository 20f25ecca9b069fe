from __future__ import annotations

from huggingface_hub import ModelCard

from tests.sealed import CONFIG, FACTS, SHA
from tunegate.publish import card

EVAL, BASE = FACTS["stages/eval"], FACTS["stages/baseline"]


def render(results=None, model=None, edited=None, remarks=(), **changes) -> str:
    return card.render(
        CONFIG.model_copy(update=changes),
        model or FACTS["model"],
        FACTS["dataset"],
        results or {"eval": EVAL, "baseline": BASE},
        FACTS["stages/train"],
        {"torch": "2.13.0+cpu", "transformers": "5.23.0", "unrelated": "1"},
        edited or [],
        list(remarks),
    )


def test_the_hub_client_reads_its_metadata():
    data = ModelCard(render(eval_split="test")).data
    assert data.base_model == "org/m" and data.datasets == ["org/d"] and data.license == "apache-2.0"
    assert data.pipeline_tag == "image-classification" and data.metrics == ["accuracy"]
    result = data.eval_results[0]
    assert (result.metric_type, result.metric_value, result.dataset_type) == ("accuracy", 0.9, "org/d")
    assert (result.dataset_split, result.dataset_revision) == ("test", SHA) and data.model_name == "m-finetuned"


def test_both_numbers_and_what_the_baseline_is():
    text = render()
    assert "| baseline | 0.1000 |" in text and "| tuned | 0.9000 |" in text
    assert "random-head" in text and "new head with random weights" in text
    assert "torch 2.13.0+cpu, transformers 5.23.0" in text and "unrelated" not in text
    assert "9 rows held out of `train` (seed 42)" in text
    assert "0.7000 to 1.0000" in text and "paired: +0.5000 to +1.0000" in text


def test_a_skipped_baseline_is_said_to_be_skipped():
    text = render({"eval": EVAL})
    assert "| baseline | not measured (skip_baseline) |" in text and "Baseline:" not in text


def test_a_local_dataset_is_named_without_its_path():
    text = render(dataset_id=None, dataset_revision=None, local_dataset_path="/home/someone/secret/photos")
    assert "local data (photos)" in text and "/home/someone" not in text
    assert ModelCard(text).data.datasets is None and "`None`" not in text


def test_scripts_that_were_edited_are_named():
    assert "Edited by hand after rendering: train.py, data.py." in render(edited=["train.py", "data.py"])
    assert "Edited by hand" not in render()


def test_what_was_set_aside_before_the_training_is_named(monkeypatch):
    said = "checkpoints/final was not trained by this run: set aside as checkpoints.old-1/final"
    monkeypatch.setitem(FACTS, "stages/train", {**FACTS["stages/train"], "set_aside": [said]})
    assert f" {said}." in render()


def test_what_a_reader_must_know_stands_beside_the_numbers(monkeypatch):
    text = render(remarks=["Not the only try: 1 other model <b>"])
    results, training = text.split("## Training")
    assert "Not the only try: 1 other model \\<b\\>" in results and "Not the only" not in training
    worse = {**EVAL, "no_better_than": {"majority_class": 0.9}}
    assert "control that sees no input: majority class 0.9000**" in render({"eval": worse, "baseline": BASE})


def test_no_licence_is_no_licence():
    assert ModelCard(render(model={"verdict": "accept"})).data.license is None


def test_a_difference_that_may_be_none_or_is_one_for_the_worse_is_said_to_be_one():
    assert "No improvement" not in render() and "Worse" not in render()
    unsure = {**EVAL, "difference": {"value": 0.1, "low": -0.1, "high": 0.3}}
    text = render({"eval": unsure, "baseline": BASE})
    assert "-0.1000 to +0.3000. **No improvement shown**, for it includes no change at all" in text
    worse = {**EVAL, "difference": {"value": -0.2, "low": -0.3, "high": -0.1}}
    assert "**Worse than the baseline**" in render({"eval": worse, "baseline": BASE})
    lower = {**worse, "metric": "eval_loss", "eval_loss": 1.0}  # of which less is better
    assert "Worse" not in render({"eval": lower, "baseline": {**BASE, "metric": "eval_loss", "eval_loss": 1.2}})


def test_evaluation_rows_that_were_trained_on_are_told():
    assert "3 of the 9 evaluation rows are among the training rows too" in render(
        {"eval": {**EVAL, "seen_in_training": 3}, "baseline": BASE}
    )
