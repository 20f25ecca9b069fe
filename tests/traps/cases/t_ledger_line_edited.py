"""A line in the middle of the ledger is edited"""

from tests.traps.judge import refused

KIND, MUST = "evidence", refused(r"ledger\.jsonl.*edited|ledger")


def trap(world):
    run = world.restore("eval")
    path = run / "meta/ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"tool":"docker_run"', b'"tool":"docker_rum"', 1))
    return world.seen()
