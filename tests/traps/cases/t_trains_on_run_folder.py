"""train.py finds the evaluation rows in the run's folder, whose path it was told by the agent"""

from tests.traps.judge import reported

KIND, MUST = "helpers", reported(r"train\.py", "gate", "card")


VIEW = 'train_view(load_split("train"), cfg, processor)'


def trap(world):
    world.restore("baseline")
    rows = str(world.run / "data/eval")
    world.edit(
        "train.py",
        VIEW,
        f'train_view(concatenate_datasets([load_split("train"), load_from_disk({rows!r})]), cfg, processor)',
    )
    world.edit(
        "train.py",
        "from transformers import",
        "from datasets import concatenate_datasets, load_from_disk\nfrom transformers import",
    )
    return world.seen(world.stages("check_api", "smoke", "train", "eval", "infer"))
