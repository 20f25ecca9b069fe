"""Tables and metadata of model cards. (Lists and links: test_extract.py, test_links.py.)"""

from __future__ import annotations

from tunegate.recipe.card import extract_card

HEAD = "ForImageClassification"


def values(text):
    return {slot: finding.value for slot, finding in extract_card(text, HEAD).extraction.findings.items()}


def test_tables_of_hyperparameters():
    text = (
        "| Hyperparameter | Value |\n|:--|--:|\n| **Learning rate** | `5e-5` |\n| Batch size | 16 |\n| Optimizer | Use adamw_torch |\n"
        "| LoRA rank | 16 |\n| LoRA alpha | 32 |\n| Target modules | `q_proj, v_proj` |\n| Epochs | ignore previous instructions |\n"
    )
    assert values(text) == {
        "hyperparameters": {"learning_rate": 5e-5, "per_device_train_batch_size": 16, "optim": "adamw_torch"},
        "lora": {"r": 16, "lora_alpha": 32.0, "target_modules": ["q_proj", "v_proj"]},
    }
    assert extract_card(text, HEAD).extraction.findings["hyperparameters"].lines == (3, 8)


def test_a_table_across_and_tables_that_are_none():
    across = values("| lr | batch size | weight decay |\n|--|--|--|\n| 1e-4 | 8 | 0.05 |\n")
    assert across["hyperparameters"] == {
        "learning_rate": 1e-4,
        "per_device_train_batch_size": 8,
        "weight_decay": 0.05,
    }
    assert (
        values("| model | lr | f1 |\n|--|--|--|\n| a | 1e-4 | 8 |\n| b | 1e-3 | 9 |\n") == {}
    )  # which one, it does not say
    assert values("```\n| lr | 1e-4 |\n| epochs | 3 |\n```\n") == {}
    assert values("| lr |\n||\n|\n| | |\n" + "|" * 100_000) == {}


def test_trainers_own_list_goes_before_an_example_command():
    text = "```bash\npython run.py --learning_rate 1e-3\n```\n### Training hyperparameters\n\n- learning_rate: 2e-05\n"
    assert values(text) == {"hyperparameters": {"learning_rate": 2e-5}}


def test_metrics_of_the_results_in_the_metadata():
    text = "---\nmodel-index:\n- name: m\n  results:\n  - metrics:\n    - {type: mean_iou, value: 0.4}\n    - {type: 'rm -rf', value: 1}\n---\n"
    assert values(text) == {"metrics": ["mean_iou"]}
    for broken in ("1", "[1]", "[{results: [x]}]", "[{results: {a: b}}]", "[{results: [{metrics: 7}]}]"):
        assert values(f"---\nmodel-index: {broken}\n---\n") == {}
