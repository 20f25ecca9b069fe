"""The job's result.json is written by hand while the stage is stopped"""

import json

from tests.traps.judge import Seen, held

KIND, MUST = "evidence", held()


def trap(world):
    run = world.restore("train")
    world.begin("eval")
    pids = world.frozen("run_eval.py")
    (run / "meta/jobs/eval/result.json").write_text(
        json.dumps({"id": "x", "run": str(run), "exit_code": 0, "made": {}, "seal": "hmac-sha256:00"})
    )
    content = world.call("docker_run", stage="eval", wait_s=1)
    believed = content.get("state") == "passed"
    world.thaw(pids)
    world.stages("eval")
    return Seen(fact=str(content.get("state")), harm="a forged result counts" if believed else "")
