"""train.py trains on the evaluation rows as well"""

from tests.traps.judge import refused

KIND, MUST = "helpers", refused(r"(eval|No such file|not found)")


VIEW = 'train_view(load_split("train"), cfg, processor)'
BOTH = 'train_view(concatenate_datasets([load_split("train"), load_split("eval")]), cfg, processor)'


def trap(world):
    world.restore("baseline")
    world.edit("train.py", VIEW, BOTH)
    world.edit(
        "train.py", "from transformers import", "from datasets import concatenate_datasets\nfrom transformers import"
    )
    return world.seen(world.stages("check_api", "smoke", "train"), only=("smoke", "train"))
