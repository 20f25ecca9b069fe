"""What is known about tasks, as tables. architectures.py has their models, schemas.py their columns."""

from __future__ import annotations

from tunegate import metrics
from tunegate.paths import data_dir
from tunegate.probe import architectures

SUPPORTED = tuple(task for task in metrics.PRIMARY if "/" not in task)

# What this version can take further than step 1: the tasks that it has scripts for.
TRAINABLE = tuple(task for task in SUPPORTED if (data_dir("scaffolds") / task / "train.py.j2").is_file())
AUTO_CLASS = {task: autos[0] for task, autos in architectures.AUTO_CLASSES.items()}
VISION = tuple(task for task in SUPPORTED if task != "text-generation")  # these need an image processor
