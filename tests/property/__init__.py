"""Random small datasets of every format through probe, prepare and collator: what arrives is what was made.

python -m tests.property --examples 2000       # tallies by format and oddity
python -m tests.property --seed 17             # one example again, with what was wrong and what it takes
"""

from tests.property import boxes, folders, labels, masks, others, outlines, questions, texts  # noqa: F401  (they register layouts)
from tests.property.world import LAYOUTS

__all__ = ["LAYOUTS"]
