"""What the Hub's error answers mean: one ToolFailure each, in words that name the remedy.

    what the Hub does                                      code            the remedy that the message names
    -----------------------------------------------------  --------------  -------------------------------------------
    404, and the other repository type has that id         not_found       the argument that takes it
    404                                                    not_found       the page to check
    401 with no token (missing and private look the same)  access_denied   check the id, or set HF_TOKEN
    401 with a token, 403                                  access_denied   replace HF_TOKEN, or its permissions
    401/403 gated                                          access_denied   the page to ask for access, HF_TOKEN
    429                                                    unavailable     when to try again
    5xx                                                    unavailable     try again later

The Hub's own words are never quoted: they may repeat a credential.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from tunegate.clients.hub.repositories import RepoType
from tunegate.errors import ToolFailure


@dataclass(frozen=True)
class Asked:
    """What a request was about, in the words that a message needs."""

    what: str
    repo_type: RepoType | None = None
    repo_id: str = ""
    revision: str | None = None

    @property
    def name(self) -> str:
        return f"{self.repo_type}_id = {self.repo_id!r}" if self.repo_type else self.what


def of_answer(
    status: int, headers: Mapping[str, str], url: str, asked: Asked, page: str, *, has_token: bool
) -> ToolFailure | None:
    """What an error answer says by itself; None for "not there, or not for you", which may have several reasons."""
    error = headers.get("x-error-code", "")
    if status == 429:
        return ToolFailure("unavailable", f"the Hub's rate limit is reached (429, {origin(url)}): {_when(headers)}")
    if status >= 500 or status not in (400, 401, 403, 404, 410, 451):
        return ToolFailure("unavailable", f"{url} answered {status}: try again later")
    if error == "GatedRepo":
        how = "with the account of HF_TOKEN" if has_token else "with HF_TOKEN set to that account's token"
        return ToolFailure(
            "access_denied",
            f"{asked.name} is gated and access has not been granted: ask for it at {page} {how}, then call again",
        )
    if error == "RevisionNotFound":
        return ToolFailure(
            "not_found", f"{asked.name} has no revision {asked.revision!r}: give a branch, tag or commit of {page}"
        )
    if error == "EntryNotFound":
        return ToolFailure("not_found", f"{asked.name} has no file {asked.what!r}: see {page}/tree/{asked.revision}")
    return None


def absent(status: int, url: str, asked: Asked, page: str, *, token_sent: bool) -> ToolFailure:
    """For an id that neither type of repository has, or that this account may not see."""
    if status not in (401, 403):
        return ToolFailure(
            "not_found",
            f"{asked.name} does not exist on {origin(url)} ({status}), or is private to "
            f"another account: check the spelling at {page}",
        )
    if not token_sent:
        return ToolFailure(
            "access_denied",
            f"{asked.name} does not exist or is private (the Hub answers both alike, {status}, "
            f"to who has no token): check the spelling at {page}; if it is private, set HF_TOKEN",
        )
    if status == 401:
        return ToolFailure(
            "access_denied",
            f"the Hub refused the token when asked for {asked.name} (401): set HF_TOKEN to a valid "
            "token (https://huggingface.co/settings/tokens), or unset it to read public repositories",
        )
    may = f" to read {page}" if asked.repo_type else ""
    return ToolFailure(
        "access_denied",
        f"{asked.name}: the token's account has no permission{may} (403): use a token that has it in HF_TOKEN",
    )


def other_type(asked: Asked) -> ToolFailure:
    if asked.repo_type == "model":
        return ToolFailure(
            "not_found",
            f"model_id = {asked.repo_id!r} is a dataset, not a model: pass it to probe_dataset "
            "as dataset_id, and a model as model_id",
        )
    return ToolFailure(
        "not_found",
        f"dataset_id = {asked.repo_id!r} is a model, not a dataset: pass it to probe_model "
        "as model_id, and a dataset as dataset_id",
    )


def origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _when(headers: Mapping[str, str]) -> str:
    """`retry after N s` from Retry-After or the RateLimit header."""
    for found in (
        re.fullmatch(r"\s*(\d{1,6})\s*", headers.get("retry-after", "")),
        re.search(r";\s*t\s*=\s*(\d{1,6})", headers.get("ratelimit", "")),
    ):
        if found:
            return f"retry after {found[1]} s"
    return "retry after a few minutes; a token in HF_TOKEN raises the limit"
