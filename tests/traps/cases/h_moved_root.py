"""A finished run is moved to another folder: its training is not done again"""

from tests.traps.judge import Seen, honest

KIND, MUST = "honest", honest()


def trap(world):
    run = world.restore("eval")
    before = (run / "checkpoints/final/model.safetensors").read_bytes()
    steps = (run / "logs/steps.jsonl").read_text()
    run.rename(world.root / "moved")
    done = []
    for _ in range(30):
        content = world.call("gate_status", "moved")
        following = content.get("next")
        if not following or all(step["passed"] for step in content["steps"][:5]):
            break
        tool, arguments = following["tool"], dict(following["arguments"])
        arguments.pop("output_dir", None)
        done.append(arguments.get("stage", tool))
        answer = (
            world.stage(arguments["stage"], "moved") if tool == "docker_run" else world.call(tool, "moved", **arguments)
        )
        if "error" in answer:
            return world.seen(answer, output_dir="moved", fact=f"{', '.join(done)}: {answer['error']['message']}"[:300])
    moved = world.root / "moved"
    same = (moved / "checkpoints/final/model.safetensors").read_bytes() == before and (
        moved / "logs/steps.jsonl"
    ).read_text() == steps
    seen = world.seen(output_dir="moved")
    return Seen(
        seen.refusal,
        seen.gate,
        fact=f"done again: {', '.join(done)}",
        harm="" if same else f"trained again ({', '.join(done)})",
    )
