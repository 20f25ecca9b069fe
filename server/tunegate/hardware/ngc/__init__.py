"""pick_ngc_image on local-docker: the newest NGC PyTorch image that runs here, pinned by its digest, and why none newer.

The registry says which releases there are and what each is; NVIDIA's support matrix (else a release's notes) rules most
out before the registry is asked about them. Where the registry cannot be asked, an image that the engine has is taken
before anything else, then the table in references/hardware-container.md, whose digest the engine may still find out.

A run without GPUs takes what the engine has and asks nobody: on a CPU no release is better than another, and 10 GB are
much for nothing. So the stand-in of the tests, which no registry knows, works without a network. With GPUs it is passed
over, because its torch is built for the CPU.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tunegate.clients.docker.engine import Engine
from tunegate.clients.web.page import Page, Web, WebError
from tunegate.errors import ToolFailure
from tunegate.hardware.ngc import local as ngc_local
from tunegate.hardware.ngc import matrix as ngc_matrix
from tunegate.hardware.ngc import registry as ngc_registry
from tunegate.hardware.ngc import rules as ngc_rules
from tunegate.hardware.ngc.local import Local
from tunegate.hardware.ngc.registry import Offer, Registry
from tunegate.hardware.ngc.rules import Facts, Machine
from tunegate.knowledge import reference_pages

PAGE = "hardware-container.md"
MAX_RELEASES = 40  # more than three years of them
MAX_NOTES_PAGES = 4  # releases that the matrix does not know yet
MAX_FAILURES = 3  # a registry that gives useless answers so often is asked no more
LOOK_S = 45.0
FALLBACK_TABLE = "fallback table"
UNPACKED = 2.2  # times the compressed size, as NGC images have it
WANTED = re.compile(r"(?:(?P<name>[\w.:/-]+):)?(?P<release>\d\d\.\d\d)(?:-py3)?(?:@(?P<digest>sha256:[0-9a-f]{64}))?")


@dataclass
class Choice:
    """facts: for the `image` evidence. notes: for the user; the first says what was chosen and why."""

    image: str  # name:tag
    digest: str  # sha256:...
    facts: dict[str, Any]
    notes: list[str]


@dataclass
class _Search:
    engine: Engine
    machine: Machine
    have: list[Local]
    passed: dict[str, str] = field(default_factory=dict)  # release -> why not
    bridged: list[str] = field(default_factory=list)  # releases that only the driver is too old for
    pages: list[Page] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    asked_notes: int = 0

    def usable(self) -> list[Local]:
        return [one for one in self.have if self.local_problem(one) is None]

    def local_problem(self, one: Local) -> str | None:
        if one.digest is None:
            return f"{one.image} on this engine has no digest (it was never pulled), so nothing pins it"
        return ngc_rules.problem(one.facts, self.machine)

    def pass_over(self, facts: Facts, why: str) -> None:
        self.passed.setdefault(facts.release, why)
        if ngc_rules.needs_forward_compatibility(facts, self.machine):
            self.bridged.append(facts.release)


def on_engine(engine: Engine) -> Local:
    """The image that a run without GPUs takes. Raises ToolFailure(not_found) when the engine has none that can be pinned."""
    search = _Search(engine, Machine(ngc_local.architecture(engine)), ngc_local.images(engine))
    if usable := search.usable():
        return _best(usable)
    why = search.local_problem(search.have[0]) if search.have else "the engine has no NGC PyTorch image"
    newest = next(iter(fallback_table()[1]))
    raise ToolFailure(
        "not_found",
        f"{why}: pull one, e.g. `docker pull {ngc_registry.NGC_IMAGE}:{newest}-py3`, then call pick_ngc_image again",
    )


def pick(engine: Engine, web: Web, host: Mapping[str, Any], wanted: str | None = None) -> Choice:
    """host: facts of the `host` evidence. wanted: an image that the user named, `26.03` or a whole name.

    Raises ToolFailure: not_found (nothing runs here, or nothing can be pinned), invalid_input (`wanted` is no NGC PyTorch
    image or does not run here), unavailable (the engine, or what `wanted` is cannot be found out).
    """
    machine = Machine.of(host, ngc_local.architecture(engine))
    search = _Search(engine, machine, ngc_local.images(engine))
    if wanted:
        choice = _wanted(search, web, wanted)
    elif (usable := search.usable()) and not machine.gpu_count:
        choice = _of_local(_best(usable), "on this engine already; without a GPU no newer one would do more")
    else:
        choice = _newest(search, web)
    return _told(choice, search, host)


def _best(usable: list[Local]) -> Local:
    """The newest, and any real one before a stand-in."""
    return next((one for one in usable if not one.standin), usable[0])


# -- the newest that runs here


def _newest(search: _Search, web: Web) -> Choice:
    registry, deadline = Registry(web, search.machine.arch), time.monotonic() + LOOK_S
    usable = {one.facts.release: one for one in reversed(search.usable())}
    for one in search.have:
        if why := search.local_problem(one):
            search.pass_over(one.facts, why)
    try:
        releases, pages = registry.releases()
        search.pages += pages
        if not releases:
            raise WebError(ngc_registry.TAGS, "names no release")
        known, failures = _matrix(search, web), 0
        for release in sorted({*releases, *usable}, reverse=True)[:MAX_RELEASES]:
            if time.monotonic() > deadline:
                raise WebError(ngc_registry.TAGS, f"not done after {LOOK_S:.0f} s")
            if release in usable:
                return _of_local(usable[release], "the newest that runs here, and on this engine already")
            if _ruled_out(search, web, release, known):
                continue
            try:
                offer = registry.offer(release)
            except ngc_registry.OtherMachine as error:
                search.passed.setdefault(release, f"it {error.reason}")
                continue
            except WebError as error:
                failures += 1
                if error.unreachable or failures == MAX_FAILURES:
                    raise
                search.passed.setdefault(release, f"the registry does not tell what it is ({error.reason})")
                continue
            why = ngc_rules.gaps(offer.facts) or ngc_rules.problem(offer.facts, search.machine)
            if why is None:
                return _of_offer(offer, "the newest that runs here", known.get(release), search)
            search.pass_over(offer.facts, why)
    except WebError as error:
        return _without_registry(search, list(usable.values()), f"nvcr.io could not be asked ({error.reason})")
    raise _nothing(search)


def _ruled_out(search: _Search, web: Web, release: str, known: dict[str, Facts]) -> bool:
    """By what NVIDIA's pages say of it. Silence rules nothing out: the image itself is asked then."""
    if release not in known and search.asked_notes < MAX_NOTES_PAGES:
        search.asked_notes += 1
        try:
            page = web.get(ngc_matrix.notes_url(release))
        except WebError as error:
            if error.unreachable:
                search.asked_notes = MAX_NOTES_PAGES
        else:
            if found := ngc_matrix.parse_notes(page.text, release):
                known[release] = found
                search.pages.append(page)
    facts = known.get(release)
    why = facts and ngc_rules.problem(facts, search.machine)
    if why:
        search.pass_over(facts, why)
    return bool(why)


def _matrix(search: _Search, web: Web) -> dict[str, Facts]:
    """The support matrix; where it cannot be had or read, our own table, less its GPUs: those the image tells better."""
    try:
        page = web.get(ngc_matrix.MATRIX)
        if found := ngc_matrix.parse(page.text):
            search.pages.append(page)
            return found
        why = "holds no table of releases that could be read"
    except WebError as error:
        why = error.reason
        search.asked_notes = MAX_NOTES_PAGES if error.unreachable else 0  # they lie on the same host
    date, table = fallback_table()
    search.notes.append(f"NVIDIA's support matrix: {why}; our own table of {date} stood in for it")
    return {release: replace(facts, arch_list=None) for release, facts in table.items()}


def fallback_table() -> tuple[str, dict[str, Facts]]:
    """(its date, {release: facts}, newest first): for when nobody can be asked."""
    rows = reference_pages.table(PAGE, "release")
    found = {
        row["release"]: Facts(row["release"], row["torch"], row["CUDA"], None, row["GPU architectures"]) for row in rows
    }
    return reference_pages.written(PAGE), found


def _without_registry(search: _Search, usable: list[Local], why: str) -> Choice:
    """Raises ToolFailure(not_found) when the engine has no usable image and cannot find out a digest either."""
    if usable:
        one = _best(sorted(usable, key=lambda one: one.facts.release, reverse=True))
        search.passed.clear()  # they say what was seen before the registry went away, not what is newest
        return _of_local(one, f"the newest on this engine that runs here; {why}")
    date, table = fallback_table()
    for release, facts in table.items():
        if problem := ngc_rules.problem(facts, search.machine):
            search.pass_over(facts, problem)
            continue
        image = f"{ngc_registry.NGC_IMAGE}:{release}-py3"
        if digest := ngc_local.registry_digest(search.engine, image):
            reason = f"{why}, so chosen by the fallback table of {date}; the engine found its digest"
            return _choice(image, digest, facts, reason, {"from": FALLBACK_TABLE, "table_of": date, "local": False})
        raise ToolFailure(
            "not_found",
            f"{why}, and the engine has no NGC PyTorch image that runs here. By the fallback table of {date} {release} would "
            f"(torch {facts.torch}, CUDA {facts.cuda}): `docker pull {image}`, or load it from a file saved elsewhere and "
            "pulled there by digest, then call pick_ngc_image again",
        )
    raise _nothing(search)


def _nothing(search: _Search) -> ToolFailure:
    return ToolFailure(
        "not_found",
        f"no NGC PyTorch image runs here: {'; '.join(_grouped(search.passed))}. Where the driver is what is too old, update it "
        "(audit_gpu has the plan) and call again; else choose platform: local-process (probe_model), or another machine",
    )


# -- the one that the user named


def _wanted(search: _Search, web: Web, wanted: str) -> Choice:
    match = WANTED.fullmatch(wanted.strip())
    name = (match["name"] or ngc_registry.NGC_IMAGE) if match else ""
    if not match or not name.endswith(ngc_registry.REPOSITORY):
        raise ToolFailure(
            "invalid_input",
            f"image = {wanted[:120]!r}: name an NGC PyTorch release such as 26.03 or {ngc_registry.NGC_IMAGE}:26.03-py3 (Jetson's "
            "-igpu tags and other images are not used by this version), or leave it out",
        )
    release, digest = match["release"], match["digest"]
    image = f"{name}:{release}-py3"
    mine = [one for one in search.have if one.facts.release == release and one.digest and digest in (None, one.digest)]
    mine = [one for one in mine if one.image == image or not match["name"]]
    if mine:
        return _allowed(search, _of_local(mine[0], "the user's choice, on this engine already"), mine[0].facts)
    if name != ngc_registry.NGC_IMAGE:
        raise ToolFailure(
            "not_found",
            f"image = {image}: this engine does not have it (with a digest): `docker pull {image}`, then call again",
        )
    try:
        offer = Registry(web, search.machine.arch).offer(release, digest)
    except WebError as error:
        date, table = fallback_table()
        found = ngc_local.registry_digest(search.engine, image) if error.unreachable and release in table else None
        if found and digest in (None, found):
            why = f"the user's choice, checked by the fallback table of {date}: nvcr.io could not be asked ({error.reason})"
            more = {"from": FALLBACK_TABLE, "table_of": date, "local": False}
            return _allowed(search, _choice(image, found, table[release], why, more), table[release])
        code = "not_found" if "HTTP 404" in error.reason else "unavailable"
        raise ToolFailure(
            code,
            f"image = {image}: nvcr.io does not tell what it is ({error.reason}): check the release, or `docker pull {image}` on "
            "this engine, then call again",
        ) from None
    if why := ngc_rules.gaps(offer.facts):
        raise ToolFailure("invalid_input", f"image = {image} cannot be checked: {why}. Name another release")
    return _allowed(search, _of_offer(offer, "the user's choice", None, search), offer.facts)


def _allowed(search: _Search, choice: Choice, facts: Facts) -> Choice:
    """Raises ToolFailure(invalid_input) unless it runs here, or only a compatibility package decides whether it does."""
    why = ngc_rules.problem(facts, search.machine)
    if why is None:
        return choice
    if why == ngc_rules.CPU_ONLY and ngc_rules.problem(facts, replace(search.machine, gpu_count=0)) is None:
        choice.notes.append(f"{why}: this machine's GPUs stay unused")
        return choice
    bridged = ngc_rules.needs_forward_compatibility(facts, search.machine)
    if not bridged or ngc_rules.problem(facts, replace(search.machine, driver=None)):
        raise ToolFailure(
            "invalid_input",
            f"image = {choice.image} does not run here: {why}. Leave `image` out for the newest that does, or ask the user",
        )
    choice.facts["forward_compatibility"] = True
    choice.notes.append(
        f"{why}: on this data-center GPU the image's compatibility package may bridge that. The smoke stage will show it; if it "
        "does not, update the driver"
    )
    return choice


# -- what is reported


def _choice(image: str, digest: str, facts: Facts, why: str, more: dict[str, Any]) -> Choice:
    known = {
        "release": facts.release,
        "torch": facts.torch,
        "cuda": facts.cuda,
        "arch_list": facts.arch_list,
        "driver_min": ngc_rules.oldest_driver(facts),
    }
    what = ", ".join(f"{name} {value}" for name, value in (("torch", facts.torch), ("CUDA", facts.cuda)) if value)
    return Choice(image, digest, {**known, **more}, [f"{image}{f' ({what})' if what else ''}: {why}"])


def _of_local(one: Local, why: str) -> Choice:
    choice = _choice(one.image, one.digest or "", one.facts, why, {"from": "engine", "local": True})
    if one.standin:
        choice.notes.append(f"{one.image} is a stand-in for tests, not NVIDIA's image")
    return choice


def _of_offer(offer: Offer, why: str, said: Facts | None, search: _Search) -> Choice:
    facts, release = offer.facts, offer.facts.release
    search.pages += offer.pages
    more = {"from": "registry", "local": False, "size_gb": offer.size_gb, "arch": search.machine.arch}
    choice = _choice(f"{ngc_registry.NGC_IMAGE}:{release}-py3", offer.digest, facts, why, more)
    if said and said.cuda and facts.cuda and said.cuda.split(".")[:2] != facts.cuda.split(".")[:2]:
        choice.notes.append(
            f"NVIDIA's page says CUDA {said.cuda} for {release}, the image says {facts.cuda}: the image counts"
        )
    return choice


def _told(choice: Choice, search: _Search, host: Mapping[str, Any]) -> Choice:
    """Adds what was passed over, the download, and where each fact comes from."""
    release = choice.facts["release"]
    newer = {name: why for name, why in sorted(search.passed.items(), reverse=True) if name > release}
    groups = _grouped(newer)
    choice.notes += [f"passed over {group}" for group in groups[:4]]
    if len(groups) > 4:
        choice.notes.append(f"passed over for other reasons: {len(groups) - 4} groups more, in the image evidence")
    bridged = sorted(set(search.bridged) & set(newer), reverse=True)
    if bridged:
        choice.notes.append(
            "on a data-center GPU CUDA's compatibility package may bridge an older driver; that is not relied upon. "
            f"image={bridged[0]!r} tries it, if the user wants that"
        )
    choice.notes += search.notes
    if size := choice.facts.get("size_gb"):
        choice.notes.append(_download(choice, size, host.get("free_disk_gb"), search))
    sources = [
        {"url": page.url, "time": page.fetched_at, "sha256": page.sha256, "bytes": page.size, "via": page.via}
        for page in search.pages
    ]
    choice.facts |= {"passed_over": newer, "sources": sources, "image_notes": list(choice.notes)}
    return choice


def _download(choice: Choice, size: float, free: float | None, search: _Search) -> str:
    needed = size * (1 + UNPACKED)
    text = f"{size} GB to download when the image is built, about {size * UNPACKED:.0f} GB unpacked"
    if free is not None:
        text += f"; {free} GB free" + (": too little, free disk first" if free < needed else "")
    if usable := search.usable():
        release = _best(usable).facts.release
        text += f". {release} is on this engine already and runs here too: image={release!r} needs no download"
    return text


def _grouped(passed: Mapping[str, str]) -> list[str]:
    """`26.09, 26.08: why`, one for each reason, in the order of the newest release that has it."""
    groups: dict[str, list[str]] = {}
    for release, why in sorted(passed.items(), reverse=True):
        groups.setdefault(why, []).append(release)
    return [f"{_span(releases)}: {why}" for why, releases in groups.items()]


def _span(releases: list[str]) -> str:
    if len(releases) <= 3:
        return ", ".join(releases)
    return f"{releases[0]} down to {releases[-1]} ({len(releases)} releases)"
