"""Where a card points: scripts and notebooks, folders and repositories that may hold them, papers.

Every link is a stranger's text. What comes out is a plain URL of a kind that is known here, percent-encoded.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

RAW = "https://raw.githubusercontent.com/"
API = "https://api.github.com/repos/"
SCRIPT_SUFFIXES = (".py", ".ipynb")
TRAINING_WORDS = ("train", "tune", "tuning", "sft", "dpo", "grpo", "lora")
MAX_LINKS = 500
MAX_PATH = 300  # characters: the URL is shown to people and agents, and is no place for a speech
# What a rendered file may not hold, because it stands for something that was not filled in: such a path is written differently.
_PLACEHOLDER = re.compile(r"TODO|FIXME|TBD|YOUR_|(?:REPLACE|CHANGE|FILL)_?ME")
_LINK = re.compile(r"https?://[^\s<>\[\]\"'`|\\]{4,500}")
_TARGET = re.compile(r"\]\(\s*<?([^\s<>\"'`|\\]{1,300}?)>?\s*(?:\"[^\"\n]{0,200}\")?\)")  # [text](target "title")
_PAPER = re.compile(
    r"(?:^arxiv:|arxiv\.org/(?:abs|pdf|html)/|huggingface\.co/papers/|10\.48550/arxiv\.)(\d{4}\.\d{4,5})",
    re.IGNORECASE,
)
_SAFE = "/-._~!$&'*+,;=:@"


class Scripts(NamedTuple):
    """files: raw URLs, those named after training first. folders: GitHub's listings. apart: (link, why it is not read)."""

    files: list[str]
    folders: list[str]
    apart: list[tuple[str, str]]


def links(text: str) -> list[str]:
    """The http(s) links of a text, once each, in order."""
    found = (_closed(match.rstrip(".,;:*_!?")) for match in _LINK.findall(text))
    return list(dict.fromkeys(found))[:MAX_LINKS]


def _closed(link: str) -> str:
    """Without what follows a bracket that the link itself does not open: `(see https://x/a_(b).py)`."""
    depth = 0
    for index, character in enumerate(link):
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return link[:index]
    return link


def relative_scripts(text: str, base: str) -> list[str]:
    """Links of a model's card to files of its own repository -> their URLs under `base`, which ends in a slash."""
    targets = (unquote(match.partition("#")[0]) for match in _TARGET.findall(text))
    inside = [
        target.removeprefix("./") for target in targets if "://" not in target and target.endswith(SCRIPT_SUFFIXES)
    ]
    kept = (path for path in inside if not path.startswith("/") and ".." not in path.split("/"))
    return list(dict.fromkeys(plain_url(base, path) for path in kept if len(path) <= MAX_PATH))[:MAX_LINKS]


def scripts(urls: list[str]) -> Scripts:
    """Links -> what of them may be an author's script. transformers' own examples have a priority of their own."""
    files, folders, apart = [], [], []
    for url in urls:
        if raw := raw_url(url):
            files += [] if raw.startswith(RAW + "huggingface/transformers/") else [raw]
        elif folder := folder_url(url):
            folders.append(folder)
        elif "colab.research.google.com/drive/" in url:
            apart.append((quote(url, safe=_SAFE + "?%#"), "a notebook on Google Drive, which only its own page shows"))
    return Scripts(by_name(files), list(dict.fromkeys(folders)), list(dict.fromkeys(apart))[:5])


def by_name(files: list[str]) -> list[str]:
    """Once each, those named after training first."""
    return sorted(dict.fromkeys(files), key=lambda url: not of_training(url))


def of_training(path: str) -> bool:
    name = path.rsplit("/", 1)[-1].lower()
    return name.endswith(SCRIPT_SUFFIXES) and any(word in name for word in (*TRAINING_WORDS, "main"))


def raw_url(link: str) -> str | None:
    """A page that shows a .py or .ipynb file (GitHub, gist, Hub, Colab, nbviewer) -> the file itself; None for any other link."""
    try:
        parts = urlsplit(link)
        host, path = parts.hostname or "", unquote(parts.path).strip("/").split("/")
    except ValueError:
        return None
    if host == "colab.research.google.com" and parts.fragment.startswith("fileId="):
        return raw_url(unquote(parts.fragment.removeprefix("fileId=")))
    if host in ("colab.research.google.com", "nbviewer.org", "nbviewer.jupyter.org") and path[0] in ("github", "gist"):
        host, path = ("github.com" if path[0] == "github" else "gist.github.com"), path[1:]
    if ".." in path or parts.scheme not in ("http", "https") or not host:
        return None
    if host == "gist.github.com" and len(path) >= 2 and re.fullmatch(r"[0-9a-f]{20,40}", path[1]):
        return f"https://gist.github.com/{quote(path[0])}/{path[1]}/raw"
    if not path[-1].endswith(SCRIPT_SUFFIXES):
        return None
    if host in ("github.com", "www.github.com"):
        return _file(RAW, [*path[:2], *path[3:]]) if len(path) > 4 and path[2] in ("blob", "raw") else None
    if host == "huggingface.co" and "blob" in path[1:4]:
        at = path.index("blob")
        path = [*path[:at], "resolve", *path[at + 1 :]]
    return _file(f"{parts.scheme}://{parts.netloc}/", path)


def folder_url(link: str) -> str | None:
    """A GitHub folder or repository -> its listing in GitHub's API; None for any other link."""
    try:
        parts = urlsplit(link)
    except ValueError:
        return None
    path = unquote(parts.path).strip("/").split("/")
    if parts.hostname not in ("github.com", "www.github.com") or len(path) < 2 or ".." in path:
        return None
    if not all(re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", part) for part in path[:2]):
        return None
    contents = plain_url(API, f"{path[0]}/{path[1].removesuffix('.git')}/contents")
    if len(path) == 2 and path[0] != "huggingface":  # Hugging Face's own repositories are libraries
        return contents
    if len(path) >= 4 and path[2] == "tree":
        folder = "/" + "/".join(path[4:]) if path[4:] else ""
        return plain_url(contents, folder) + f"?ref={plain_url('', path[3])}" if len(folder) <= MAX_PATH else None
    return None


def _file(base: str, path: list[str]) -> str | None:
    url = plain_url(base, "/".join(path))
    return url if len(url) <= len(base) + MAX_PATH else None


def plain_url(base: str, path: str) -> str:
    """A path that a stranger chose, in the characters of a URL, and no placeholder of ours."""
    return base + _PLACEHOLDER.sub(lambda m: f"{m[0][:-1]}%{ord(m[0][-1]):02X}", quote(path, safe=_SAFE))


def paper_ids(texts: list[str]) -> list[str]:
    """arXiv ids out of links and tags."""
    return list(dict.fromkeys(match.group(1) for text in texts if (match := _PAPER.search(text))))[:10]
