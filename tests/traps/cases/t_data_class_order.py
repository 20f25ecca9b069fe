"""The splits declare the same classes in another order: read by name, or refused"""

import ast
import subprocess

from tests.scaffolds.conftest import CLASSES
from tests.traps import drawn
from tests.traps.judge import Seen, held

KIND, MUST = "data", held()

SCRIPT = """
import sys
from datasets import load_from_disk
rows = load_from_disk(sys.argv[1])
names = rows.features["label"].names
print([(names[row["label"]], row["image"].getpixel((20, 20))) for row in rows])
"""


def trap(world):
    world.restore("rendered")
    names = list(CLASSES)
    turned = names[1:] + names[:1]
    world.data("me/order", drawn.pictures(1, 60), drawn.pictures(2, 20), test_names=turned)
    content = world.start("order", dataset="me/order")
    if "error" not in content:
        content = world.stages("build", "prepare", output_dir="order")
    if "error" in content:
        return Seen(fact=world.seen(content).refusal)
    script = SCRIPT
    words = [world.python, "-c", script, str(world.root / "order/data/eval")]
    rows = ast.literal_eval(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    strongest = {name: max(range(3), key=lambda c, n=name: CLASSES[n][c]) for name in names}
    wrong = [name for name, pixel in rows if max(range(3), key=lambda c, p=pixel: p[c]) != strongest[name]]
    return Seen(
        fact="read by name",
        harm=f"{len(wrong)} of {len(rows)} rows have another's name" if len(wrong) > len(rows) / 4 else "",
    )
