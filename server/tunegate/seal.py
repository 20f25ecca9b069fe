"""The seal: an HMAC with a key of this user on this machine, and the redaction of secrets."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from functools import cache
from pathlib import Path
from typing import Any

from tunegate.paths import state_dir
from tunegate.rundir import canonical

SECRET_NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "NGC_API_KEY")
_TOKEN_SHAPE = re.compile(r"\bhf_[A-Za-z0-9]{16,}\b")
_IN_URL = re.compile(r"(?<=://)[^/\s@?#\"'{}<>]+(?=@)")  # user:password of an index, a proxy, a repository


def sign(payload: dict[str, Any]) -> str:
    return "hmac-sha256:" + hmac.new(_key(), canonical(payload), "sha256").hexdigest()


def verify(payload: dict[str, Any], signature: object) -> bool:
    return isinstance(signature, str) and hmac.compare_digest(sign(payload), signature)


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


def redacted(value: Any) -> Any:
    """The same JSON value with every known secret's value, anything shaped like a Hub token and credentials in URLs replaced."""
    if isinstance(value, str):
        for name, secret in [
            *((name, os.environ.get(name, "")) for name in SECRET_NAMES),
            ("HF_TOKEN", _stored_token()),
        ]:
            if len(secret) >= 6:
                value = value.replace(secret, f"<{name}>")
        return _IN_URL.sub("<credentials>", _TOKEN_SHAPE.sub("<HF_TOKEN>", value))
    if isinstance(value, dict):
        return {redacted(key): redacted(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(item) for item in value]
    return value
