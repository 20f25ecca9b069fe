"""push_hub's work: what belongs in the repository, one commit, and reading the repository back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunegate import config as config_module
from tunegate import evidence, gates
from tunegate.clients.hub import Hub
from tunegate.config import RunConfig
from tunegate.errors import ToolFailure
from tunegate.evidence import approvals, history, ledger
from tunegate.evidence.seal import redacted
from tunegate.jobs import snapshot
from tunegate.publish import card
from tunegate.rundir import Run, hash_files
from tunegate.stage_table import STAGES
from tunegate.stages.verdicts import moved

PUSHED = {  # in the run -> folder of the repository; with what was rendered
    **{pattern: folder for row in STAGES.values() for pattern, folder in row.published},
    "Dockerfile": "",
    "requirements*.txt": "",
}
SHA256 = 64  # digits; git counts in 40
NOT_PUSHED = ("README.md", "training_args.bin")  # the Trainer's own card draft, and a pickle


def copied(run: Run) -> tuple[Run, dict[str, str]]:
    """(the run with a private copy of what is pushed, its files): the very bytes that the evidence names, wherever an agent
    writes meanwhile. The caller clears it (snapshot.clear). Raises ToolFailure(run_locked) where they lie there no longer."""
    private, used = snapshot.of(run, "push"), used_files(run)
    snapshot.lay(private, {}, used)
    return private, used


def assemble(run: Run) -> dict[str, bytes | Path]:
    """Path in the repository -> content. The weights stay paths: they are streamed. run: best with a private copy (copied)."""
    config = run.config()
    facts = {name: found.facts for name in evidence.KINDS if (found := evidence.read(run, name))}
    results = {
        kind: facts[f"stages/{kind}"] for kind in ("eval", "baseline") if facts.get(f"stages/{kind}", {}).get("passed")
    }
    if config.skip_baseline:
        results.pop("baseline", None)
    files: dict[str, bytes | Path] = {}
    for name in used_files(run):
        folder = next(folder for pattern, folder in PUSHED.items() if Path(name).match(pattern))
        files[folder + Path(name).name] = run.at(name)
    text = card.render(
        config,
        facts["model"],
        facts["dataset"],
        results,
        facts["stages/train"],
        facts["stages/build"].get("packages", {}),
        gates.edited_files(gates.view(run)),
        remarks(run, config, facts),
    )
    files["README.md"] = text.encode()
    files["config.yaml"] = redacted(config_module.dump(config)).encode()
    return files


def remarks(run: Run, config: RunConfig, facts: dict[str, dict[str, Any]]) -> list[str]:
    """What the card says beside the numbers: other tries, what was frozen, what was accepted of the data, what the agent
    confirmed where no user was asked."""
    evaluated = evidence.read(run, "stages/eval")
    frozen = gates.frozen(facts.get("stages/smoke", {}))
    found = [history.sentence(history.others(config, evaluated.files)), frozen and f"Of the model, {frozen}."]
    trained = facts["stages/train"]
    if (part := trained.get("moved") or {}).get("parameters", 0) > 2 * part.get("moved", 0):
        found.append(f"Of the model, {moved.sentence(trained)}.")
    if accepted := facts.get("stages/prepare", {}).get("accepted"):
        found.append(f"Trained{accepted.removeprefix('train')}.")
    wheels = gates.own_wheels(facts.get("stages/build", {}))
    found += [wheels and f"Of the image, {wheels}."]
    found += [f"{note[0].upper()}{note[1:]}." for note in config.notes if note.startswith(approvals.CONFIRMED)]
    return [remark for remark in found if remark]


def used_files(run: Run) -> dict[str, str]:
    """The run's files that are pushed, {path: sha256}: only what a stage made, with the digest in its evidence, or the renderer
    wrote, whatever else lies there."""
    config = run.config()
    rows = {name: row for name, row in STAGES.items() if row.published and row.applies(config)}
    for replaced in {row.instead_of for row in rows.values()}:
        rows.pop(replaced, None)
    made = {
        name: digest
        for stage, row in rows.items()
        if (found := evidence.read(run, f"stages/{stage}"))
        for name, digest in found.files.items()
        if any(Path(name).match(pattern) for pattern, _ in row.published)
    }
    project = evidence.read(run, "project")
    rendered = project.facts["files"] if project else {}
    return {
        name: made.get(name, digest)
        for name, digest in hash_files(run.path, tuple(PUSHED)).items()
        if name in {*made, *rendered} and Path(name).name not in NOT_PUSHED
    }


@dataclass(frozen=True)
class Target:
    """The repository as it is before a push. `files`: its paths without what the Hub itself puts into a new repository."""

    public: bool
    head: str
    files: tuple[str, ...]


def target(hub: Hub, repo: str) -> Target | None:
    """The repository of this name, None where there is none that the token may see. Raises ToolFailure as the Hub refuses."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        found = hub.api().model_info(repo)
    except RepositoryNotFoundError:
        return None
    except Exception as error:
        raise _refused(hub, repo, error) from None
    files = (entry.rfilename for entry in found.siblings or [])
    return Target(not found.private, found.sha, tuple(sorted(name for name in files if name != ".gitattributes")))


def begun(run: Run, repo: str) -> bool:
    """Whether this run was about to create the repository: written into the ledger before the Hub is asked to."""
    return any(entry["arguments"].get("creates") == repo for entry in _pushes(run))


def is_this_runs(hub: Hub, run: Run, repo: str, found: Target) -> bool:
    """Whether everything in the repository was put there by this run, by the ledger: its newest commit is the last that
    this run made, or what a push of this run that was cut off has left."""
    made = [entry["arguments"]["pushed"] for entry in _pushes(run) if "pushed" in entry["arguments"]]
    if {"repo": repo, "commit": found.head} in made:
        return True
    if not begun(run, repo) or any(known["repo"] == repo for known in made):
        return False
    if not found.files:
        return True
    files = assemble(run)
    return set(found.files) <= set(files) and not read_back(hub, repo, found.head, files)


def _pushes(run: Run) -> list[dict[str, Any]]:
    return [entry for entry in ledger.entries(run) if entry["tool"] == "push_hub"]


def push(hub: Hub, repo: str, files: dict[str, bytes | Path], message: str, over: Target | None) -> dict[str, Any]:
    """Create the private repository, or go on from `over` as it was seen, and make one commit. Returns {commit, url}.

    Raises ToolFailure(unavailable) when somebody has created it, or committed to it, since `over` was seen.
    """
    from huggingface_hub import CommitOperationAdd

    api = hub.api()
    try:
        if over is None:
            api.create_repo(repo, private=True)
        operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()]
        commit = api.create_commit(repo, operations, commit_message=message, parent_commit=over.head if over else None)
    except Exception as error:  # the client raises a dozen types; each is the Hub refusing or failing
        raise _refused(hub, repo, error) from None
    return {"commit": commit.oid, "url": hub.page("model", repo)}


def read_back(hub: Hub, repo: str, commit: str, files: dict[str, bytes | Path]) -> list[str]:
    """What differs between the repository at `commit` and what was sent: missing files, other hashes. Empty is verified."""
    there = hashes(hub, repo, commit)
    wrong = []
    for name, content in files.items():
        found = there.get(name)
        if found is None:
            wrong.append(f"{name} is missing")
        elif found != _digest(content, "sha256" if len(found) == SHA256 else "sha1"):
            wrong.append(f"{name} has other bytes")
    return wrong


def hashes(hub: Hub, repo: str, commit: str) -> dict[str, str]:
    """Path -> sha256 of a file in LFS, git's blob id of another. Raises ToolFailure as the Hub refuses."""
    try:
        tree = hub.api().list_repo_tree(repo, recursive=True, revision=commit)
        return {
            entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id for entry in tree if hasattr(entry, "blob_id")
        }
    except Exception as error:
        raise _refused(hub, repo, error) from None


def changed_since(hub: Hub, pushed: dict[str, Any]) -> list[str]:
    """What of what this run pushed is no longer in the repository as it was. pushed: facts of the `push` evidence.

    One request where nobody has committed since. Raises ToolFailure(unavailable) where the Hub does not answer.
    """
    found = target(hub, pushed["repo"])
    if found is None:
        return [f"{pushed['repo']} is gone from the Hub, or hidden from this token"]
    if found.head == pushed["commit"]:
        return []
    there = hashes(hub, pushed["repo"], found.head)
    wrong = [name for name, digest in pushed["hashes"].items() if there.get(name) != digest]
    return (
        [f"{', '.join(wrong[:3])} in {pushed['repo']} was changed after the push (commit {found.head[:8]})"]
        if wrong
        else []
    )


def _digest(content: bytes | Path, algorithm: str) -> str:
    """SHA-256 of the bytes as LFS counts, or git's own blob id (SHA-1 over a header and the bytes)."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    digest = hashlib.new(algorithm, b"blob %d\0" % size if algorithm == "sha1" else b"", usedforsecurity=False)
    if isinstance(content, bytes):
        digest.update(content)
        return digest.hexdigest()
    with content.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _refused(hub: Hub, repo: str, error: Exception) -> ToolFailure:
    """By HTTP status; the client's own message may repeat a header, so only its type is reported."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    page = hub.page("model", repo)
    if status in (401, 403):
        return ToolFailure(
            "access_denied",
            f"hf_model_repo = {repo!r}: the Hub refused the push ({status}): use a token with write access to {page} in "
            "HF_TOKEN, or set another hf_model_repo",
        )
    if status in (409, 412):
        return ToolFailure(
            "unavailable",
            f"hf_model_repo = {repo!r}: somebody created it, or committed to it, in this very moment: call push_hub again",
        )
    if status == 429 or status is None or status >= 500:
        return ToolFailure(
            "unavailable",
            f"hf_model_repo = {repo!r}: the Hub failed ({status or type(error).__name__}): call push_hub again later; "
            "one commit holds everything, so nothing is half-pushed",
        )
    return ToolFailure(
        "rejected",
        f"hf_model_repo = {repo!r}: the Hub answered {status} ({type(error).__name__}): check the name at {page}",
    )
