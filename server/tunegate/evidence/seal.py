"""The seal: an HMAC with a key of this user on this machine, and the redaction of secrets."""

from __future__ import annotations

import codecs
import hmac
import json
import os
import re
import secrets
from functools import cache
from pathlib import Path
from typing import Any

from tunegate.paths import state_dir
from tunegate.rundir import canonical

SECRET_NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "NGC_API_KEY")
SHORTEST = 6  # a shorter value would be found in ordinary words
HIDDEN_PREFIX = 12  # of a long secret: so much of it is not shown either, where something cut it off
LONGEST = 8192  # characters of a secret; also of a token-shaped string and of the credentials in a URL
_TOKEN_SHAPE = re.compile(r"hf_[A-Za-z0-9]{16,}")  # wherever it begins: it may be glued to the word before it
_IN_URL = re.compile(r"(?<=://)[^/\s@?#\"'{}<>]+(?=@)")  # user:password of an index, a proxy, a repository
_URL_LOGIN = re.compile(r"://[^/\s@?#\"'{}<>]+@")


def sign(payload: dict[str, Any]) -> str:
    return "hmac-sha256:" + hmac.new(_key(), canonical(payload), "sha256").hexdigest()


def verify(payload: dict[str, Any], signature: object) -> bool:
    return isinstance(signature, str) and hmac.compare_digest(sign(payload), signature)


def line_of(record: dict[str, Any]) -> bytes:
    """A record as a line of a file that grows; it begins with what ends a line that was cut off before it."""
    return b"\n" + canonical({**record, "seal": sign(record)}) + b"\n"


def record_of(line: bytes) -> dict[str, Any] | None:
    """The record of such a line; None for one that is cut off, edited or sealed by another."""
    try:
        record = json.loads(line)
        signature = record.pop("seal")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if verify(record, signature) else None


def _key() -> bytes:
    return _load_key(state_dir() / "seal.key")


@cache
def _load_key(path: Path) -> bytes:
    """32 random bytes, made once, mode 0600, never inside a run."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f"seal.key.{os.getpid()}.{secrets.token_hex(4)}")
    if not path.exists():
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            os.link(fresh, path)  # fails if another process was first: then its key is the key
        except FileExistsError:
            pass
        fresh.unlink()
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return path.read_bytes()


def _stored_token() -> str:
    """The token in the Hub client's own store, if there is one."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface")
    return _read_token(Path(os.environ.get("HF_TOKEN_PATH") or home / "token"))


@cache
def _read_token(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _known() -> dict[str, str]:
    """{secret: its name} of every value that this process knows. Whitespace ends a secret: a value with some is several."""
    values = [*((name, os.environ.get(name, "")) for name in SECRET_NAMES), ("HF_TOKEN", _stored_token())]
    return {part: name for name, value in values for part in value.split() if len(part) >= SHORTEST}


def _known_spans(text: str) -> list[tuple[int, int, str]]:
    """(start, end, name) of each known secret in the text, in order, and of a long secret's beginning that was cut off."""
    found = []
    for secret, name in _known().items():
        least = HIDDEN_PREFIX if len(secret) >= 16 else len(secret)
        at = text.find(secret[:least])
        while at >= 0:
            end = at + len(os.path.commonprefix([secret, text[at : at + len(secret)]]))
            found.append((at, end, name))
            at = text.find(secret[:least], end)
    return sorted(found)


def _redacted_text(text: str) -> str:
    parts, done = [], 0
    for start, end, name in _known_spans(text):
        if end > done:  # else it lies in the one before
            parts += [text[done:start] if start > done else "", f"<{name}>"]
            done = end
    return _IN_URL.sub("<credentials>", _TOKEN_SHAPE.sub("<HF_TOKEN>", "".join(parts) + text[done:]))


def safe_cut(text: str, at: int) -> int:
    """`at`, or the end of the secret that a cut there would divide. The text must go on for LONGEST on the side that is dropped or held."""
    spans = [(start, end) for start, end, _ in _known_spans(text)]
    spans += [found.span() for shape in (_TOKEN_SHAPE, _URL_LOGIN) for found in shape.finditer(text)]
    for start, end in sorted(spans):
        if start < at < end:
            at = end
    return at


class Redactor:
    """Redacts a stream of bytes whose pieces may divide a secret anywhere, for however long the rest keeps it waiting.

    A secret holds no whitespace, so whole lines are safe to pass on. Of a line without end all but its last LONGEST
    characters is passed on: a secret that begins there is not known as one before the next piece.
    """

    def __init__(self, longest_line: int = 4 * LONGEST):
        self._longest_line, self._held = max(longest_line, LONGEST + 1), ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, piece: bytes) -> bytes:
        """What of the stream can be passed on now."""
        self._held += self._decoder.decode(piece)
        cut = max(self._held.rfind("\n"), self._held.rfind("\r")) + 1
        if len(self._held) - cut > self._longest_line:
            cut = safe_cut(self._held, len(self._held) - LONGEST)
        return self._pass_on(cut)

    def close(self) -> bytes:
        """The rest, when the stream has ended."""
        self._held += self._decoder.decode(b"", final=True)
        return self._pass_on(len(self._held))

    def broken_off(self) -> bytes:
        """The rest, when what follows of the line is lost: without its last word, which may be the beginning of a secret."""
        rest, self._held = self._held, ""
        self._decoder.reset()
        whole = re.sub(r"\S+\Z", "", rest)
        return f"{_redacted_text(whole)}[the rest of this line was lost]\n".encode() if rest else b""

    def _pass_on(self, cut: int) -> bytes:
        ready, self._held = self._held[:cut], self._held[cut:]
        return _redacted_text(ready).encode(errors="replace")


def redacted(value: Any) -> Any:
    """The same JSON value with every known secret's value, anything shaped like a Hub token and credentials in URLs replaced."""
    if isinstance(value, str):
        return _redacted_text(value)
    if isinstance(value, dict):
        return {redacted(key): redacted(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(item) for item in value]
    return value
