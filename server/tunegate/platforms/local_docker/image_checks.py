"""What may not stand in a Dockerfile or requirements.txt that is sent to the engine, looked for in the very text that is sent.

It keeps a project's promises (pinned base, the base's own torch, no secret in a layer) from being broken unnoticed by an edit.
It is no wall against a user who means to: what the image really holds is compared with its base after the build.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tunegate.evidence import seal
from tunegate.project import render

_NAMED = "|".join(render.FROZEN)
_INSTALLS = r"\b(?:pip3?|uv|conda|mamba)\b[^|;&]*\b(?:install|add|sync)\b[^|;&]*"
_INDEX = r"--(?:extra-)?index-url|--find-links\s*=?\s*\w+://|--trusted-host|PIP_(?:EXTRA_)?INDEX_URL|PIP_TRUSTED_HOST"
_SECRET = r"\b(?:HF_TOKEN|HUGGING_FACE_HUB_TOKEN|[A-Z0-9_]*(?:API_KEY|ACCESS_TOKEN|AUTH_TOKEN|SECRET_KEY|PASSWORD))\b"
_GIVE_INDEX = "give the index in the server's environment (PIP_INDEX_URL), where no layer keeps it"
DOCKERFILE = (  # pattern of an instruction (continued lines joined), why it is refused and what to do
    (rf"(?i:RUN)\b.*{_INSTALLS}[\s'\"](?:{_NAMED})(?![\w-])", "the base's own is kept: take it out of the install"),
    (rf".*(?:{_INDEX})", _GIVE_INDEX),
    (rf"(?i:ENV|ARG|LABEL)\b.*{_SECRET}", "the image would keep the secret: stages get it when they run"),
    (rf"(?i:RUN)\b.*{_SECRET}\s*=\s*[^\s$]", "the image would keep the secret: stages get it when they run"),
    (r"(?i:ADD)\b.*\w+://", "a download that nothing pins: put the file into requirements.txt or the dataset"),
    (r"(?i:(?:COPY|ADD))\b.*(?:^|[\s/\[\"'])\.env\b", "the image would keep the secrets in .env"),
)
REQUIREMENT = (
    (rf"(?i:(?:{_NAMED}))\s*(?:\[.*\]\s*)?[=<>~!@]", "the base brings its own, which is kept: remove the line"),
    (rf"-i\b|(?:{_INDEX})", _GIVE_INDEX),
)


def problems(texts: Mapping[str, str], base: str) -> list[str]:
    """{name: text} of everything that is sent; base: the image that FROM must name, by digest. -> what is wrong, one line each."""
    found = render.missing_headers(texts) + render.unresolved_placeholders(texts)
    found += _leaks(texts)
    found += _dockerfile(texts.get("Dockerfile", ""), base)
    lines = enumerate(texts.get("requirements.txt", "").splitlines(), 1)
    return found + [
        f"requirements.txt:{number}: {line.strip()[:80]}: {why}"
        for number, line in lines
        for pattern, why in REQUIREMENT
        if re.match(pattern, line.strip())
    ]


def _leaks(texts: Mapping[str, str]) -> list[str]:
    return [
        f"{name}: holds a token or a URL with credentials, which the image would keep: take it out"
        for name, text in texts.items()
        if seal.redacted(text) != text
    ]


def _dockerfile(text: str, base: str) -> list[str]:
    found = []
    if re.match(r"(?:\s*#\s*\w+\s*=.*\n)*\s*#\s*(?:escape|syntax)\s*=", text, re.I):
        found.append("Dockerfile:1: a parser directive (escape, syntax): remove it, the file is read as it stands")
    froms = 0
    for number, line in instructions(text):
        where = f"Dockerfile:{number}: {seal.redacted(line)[:80]}"
        if line[:5].upper() == "FROM ":
            froms += 1
            if line.split()[1:] != [base]:
                found.append(f"{where}: the image stands on {base}, and on nothing else: call render_project")
        found += [f"{where}: {why}" for pattern, why in DOCKERFILE if re.match(pattern, line)]
    return found if froms == 1 else [*found, f"Dockerfile: {froms} FROM lines, and it must have one: FROM {base}"]


def instructions(text: str) -> list[tuple[int, str]]:
    """(line number, instruction) with continued lines joined, comments and blank lines left out, as Docker reads them."""
    found: list[tuple[int, str]] = []
    started, parts = 0, []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        started = started or number
        body = re.sub(r"\\[ \t]*$", "", line)
        parts.append(body.strip())
        if body == line:
            found.append((started, " ".join(parts)))
            started, parts = 0, []
    return [*found, (started, " ".join(parts))] if parts else found
