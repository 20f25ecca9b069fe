"""An older version of a stage's evidence is put back after the stage ran again"""

import shutil

from tests.traps.judge import Seen, refused

KIND, MUST = "evidence", refused(r"(older|newest|newer|stale|replaced|changed)")


def trap(world):
    run = world.restore("eval")
    path = run / "meta/stages/infer.json"
    older = path.read_bytes()
    samples = {p: p.read_bytes() for p in (run / "reports/inference_samples").iterdir() if p.is_file()}
    shutil.rmtree(run / "meta/jobs/infer")
    path.unlink()
    content = world.stages("infer")
    assert "error" not in content, content
    newer = path.read_bytes()
    path.write_bytes(older)
    for name, data in samples.items():
        name.write_bytes(data)
    seen = world.seen()
    return seen if newer != older else Seen(refusal="", fact="the stage did not run again")
