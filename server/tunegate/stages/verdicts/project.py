"""Of the project itself: build, check_api and its unit tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from xml.etree import ElementTree

from tunegate.config import RunConfig
from tunegate.platforms import registry
from tunegate.project.render import HEADER
from tunegate.rundir import Run, hash_files
from tunegate.stage_table import MODULES
from tunegate.stages.verdicts.read import read_json

OUTCOMES = {"failure": "failed", "error": "could not run", "skipped": "skipped"}  # JUnit's word -> ours
MAY_SKIP = "too-large: "  # the code of the only reason for which a rendered test may be skipped


def build(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    report = read_json(run, "reports/build.json")
    names = registry.of(config).requirements
    pins = dict(
        re.findall(
            r"^([A-Za-z0-9_-]+)==([^\s;]+)",
            "\n".join(run.at(name).read_text() for name in names),
            re.M,
        )
    )
    wrong = [
        f"{name}=={version} was asked for, {report['packages'].get(name.lower())} is installed"
        for name, version in pins.items()
        if report["packages"].get(name.lower(), "").split("+")[0] != version
    ]
    headless = [name for name in _modules(run) if not run.at(name).read_text(errors="replace").startswith(HEADER)]
    return report, [f"{name} does not begin with the copyright header" for name in headless] + wrong


def _modules(run: Run) -> dict[str, str]:
    """{path: sha256} of the project's modules."""
    found = hash_files(run.at("."), MODULES)
    return {name: digest for name, digest in found.items() if name.endswith(".py")}


def check_api(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    report = read_json(run, "reports/check_api.json")
    found = {name: row["sha256"] for name, row in report["files"].items()}
    unchecked = sorted(name for name, digest in _modules(run).items() if found.get(name) != digest)
    problems = [f"{p['file']}:{p['line']}: {p['message']}" for p in report["problems"]]
    problems += [f"{name} was not checked as it is now" for name in unchecked]
    if not report["passed"] and not problems:
        problems = ["check_api did not pass"]
    facts = {
        "checked": found,
        "keywords": sum(row["keywords"] for row in report["files"].values()),
        "unverified": sum(row["unverified"] for row in report["files"].values()),
        "versions": report["versions"],
    }
    return facts, problems


def test(run: Run, config: RunConfig) -> tuple[dict, list[str]]:
    """Every test function of the project's tests/ was run and passed, by pytest's own report of each."""
    outcomes = _outcomes(run.at("reports/tests.xml"))
    wanted = _test_functions(run)
    problems = [f"{name} {why}" for name, why in outcomes.items() if why and not why.startswith(f"skipped: {MAY_SKIP}")]
    ran = {name.partition("[")[0] for name in outcomes}
    problems += [f"{name} was not run" for name in sorted(wanted - ran)]
    passed, skipped = (
        [name for name, why in outcomes.items() if not why],
        [f"{n} {why}" for n, why in outcomes.items() if why],
    )
    if not passed or not wanted:
        problems.append("no unit test passed: tests/ is empty, or pytest found nothing in it")
    return {"tests": len(passed), "skipped": [] if problems else skipped}, problems


def _outcomes(path: Path) -> dict[str, str]:
    """tests.test_data::test_x -> "" where it passed, else what happened, from JUnit's XML."""
    text = path.read_text()
    if len(text) > 5_000_000 or "<!" in text.replace(
        "<![CDATA[", ""
    ):  # a document type could hold entities without end
        raise ValueError(f"{path.name} is not what pytest writes")
    found = {}
    for case in ElementTree.fromstring(text).iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}".removeprefix("tests.")
        worst = [(part.tag, (part.get("message") or "").splitlines()) for part in case if part.tag in OUTCOMES]
        said = [f"{OUTCOMES[tag]}: {(lines or ['?'])[0][:200]}" for tag, lines in worst]
        found[name] = found.get(name) or (said or [""])[0]
    return found


def _test_functions(run: Run) -> set[str]:
    """test_data::test_x for each test function that lies in the project's tests/."""
    found = set()
    for path in run.at("tests").glob("test_*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        found |= {
            f"{path.stem}::{n.name}" for n in nodes if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")
        }
    return found
