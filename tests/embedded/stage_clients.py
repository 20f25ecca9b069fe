"""Run by test_hub.py with the stage environment's Python: datasets and transformers against HF_ENDPOINT."""

import sys

from datasets import Dataset, get_dataset_config_names, get_dataset_split_names, load_dataset
from transformers import AutoConfig, AutoModelForImageClassification, ViTConfig, ViTForImageClassification

data = load_dataset("me/data")
assert {split: len(rows) for split, rows in data.items()} == {"train": 3, "test": 1}
assert data["train"].features["label"].names == ["a", "b"] and data["train"][0]["image"].size == (4, 4)
assert next(iter(load_dataset("me/data", split="test", streaming=True)))["label"] == 1
assert get_dataset_config_names("me/data") == ["default"] and set(get_dataset_split_names("me/data")) == {
    "train",
    "test",
}

if sys.argv[1] == "lfs":  # Dataset.push_to_hub deletes its files before the commit: it needs LFS
    Dataset.from_dict({"a": [1, 2, 3]}).push_to_hub("me/numbers", private=True)
    assert load_dataset("me/numbers", split="train")["a"][:] == [1, 2, 3]

config = ViTConfig(
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=8,
    image_size=8,
    patch_size=4,
    num_labels=2,
)
model = ViTForImageClassification(config)
model.push_to_hub("me/pushed", private=True)
again = AutoModelForImageClassification.from_pretrained("me/pushed")
assert AutoConfig.from_pretrained("me/pushed").model_type == "vit"
assert all((value == again.state_dict()[name]).all() for name, value in model.state_dict().items())
