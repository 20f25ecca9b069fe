"""data.py is edited: eval_view shows the label in the picture"""

from tests.traps.judge import Seen, held

KIND, MUST = "helpers", held()


VIEW = "    return dataset.with_transform(transform)\n\n\ndef collate"
SHOWN = """    plain = transform

    def transform(rows):
        view = plain(rows)
        for pixels, label in zip(view["pixel_values"], rows["label"]):
            pixels[:] = label
        return view

"""


def trap(world):
    world.restore("smoke")
    honest = world.restore("baseline") and (world.run / "reports/baseline_predictions.jsonl").read_text()
    world.restore("smoke")
    world.edit("data.py", VIEW, SHOWN + VIEW)
    content = world.stages("check_api", "smoke", "baseline")
    same = "error" in content or (world.run / "reports/baseline_predictions.jsonl").read_text() == honest
    return Seen(
        fact=world.seen(content, only=("baseline",)).refusal or "the same predictions",
        harm="" if same else "an edited view was measured",
    )
