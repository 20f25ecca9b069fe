"""How this machine reaches others: loopback names, the proxy variables, and the network that a container needs for them."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PROXIES = tuple(
    name for upper in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY") for name in (upper, upper.lower())
)


def network_for(*names: str) -> str:
    """The network of a container that uses these variables: a proxy or an index on loopback is this machine's own."""
    given = " ".join(os.environ.get(name, "") for name in names if name.upper() != "NO_PROXY")
    hosts = {urlsplit(word if "://" in word else f"//{word}").hostname for word in given.split()}
    return "host" if hosts & set(LOOPBACK) else "default"
