"""What an engine says when it cannot, and what the user is shown instead: one table, read from the top."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from tunegate.errors import ErrorCode, ToolFailure
from tunegate.evidence import seal

INSTALL = "https://docs.docker.com/engine/install/"
ENGINE_ERRORS: tuple[
    tuple[str, ErrorCode, str], ...
] = (  # pattern in the engine's words, code, what is wrong and the remedy
    (
        r"could not select device driver|unresolvable CDI devices|CDI device injection failed|"
        r"(unknown|invalid|unknown or invalid) runtime .*nvidia",
        "unavailable",
        "this engine has no way to hand a GPU to a container: install the NVIDIA Container Toolkit and run "
        "`sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker` "
        "(with CDI: `sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`), then call audit_gpu",
    ),
    (
        r"nvidia-container-cli|nvidia-container-runtime|libnvidia-ml\.so",
        "unavailable",
        "the GPU could not be handed over: the host's NVIDIA driver does not answer the container toolkit. "
        "Check `nvidia-smi` on the host, then call audit_gpu",
    ),
    (
        r"no space left on device|disk quota exceeded|not enough space",
        "disk_full",
        "the engine's disk is full: free space there (`docker system df`, `docker system prune`), then make the same call again",
    ),
    (
        r"error gathering device information|no such device",
        "unavailable",
        "a device that the container needs is gone from the host: check `nvidia-smi`, then call audit_gpu",
    ),
    (
        r"unauthorized|authentication required|pull access denied|requested access .* is denied|access forbidden",
        "access_denied",
        "the registry refuses the image, or has none of that name: check ngc_image, run `docker login nvcr.io` if it needs "
        "an account, then make the same call again",
    ),
    (
        r"dial tcp|lookup .* no such host|i/o timeout|TLS handshake|request canceled|Client\.Timeout|"
        r"connection reset by peer|network is unreachable",
        "unavailable",
        "the image is not on the engine and its registry cannot be reached: pull or `docker load` it there once, or give "
        "the engine network access, then make the same call again",
    ),
    (
        r"no such image|manifest (unknown|for .* not found)|repository does not exist",
        "not_found",
        "there is no such image: check ngc_image and its digest (pick_ngc_image), or run docker_run with stage build again",
    ),
    (
        r"is already in use by container",
        "run_locked",
        "a container of this name exists already: this job was started before; call again to follow it, "
        "or remove it with `docker rm -f` if it is a stranger's",
    ),
    (
        r"dead or marked for removal|is marked for removal",
        "not_found",
        "someone removes the container just now: call again",
    ),
    (
        r"cannot remove a running|container is running",
        "run_locked",
        "the container still runs: stop it first",
    ),
    (
        r"bind source path does not exist",
        "invalid_input",
        "a directory to be mounted does not exist on the engine's machine: check output_dir and local_dataset_path "
        "(an engine behind DOCKER_HOST does not see this machine's files)",
    ),
    (
        r"invalid mount config|invalid mount path|invalid volume specification|mounts denied",
        "invalid_input",
        "the engine refuses a mount: check output_dir and local_dataset_path",
    ),
    (
        r"docker-init|container-init binary not found|\binit\b.*executable file not found",
        "unavailable",
        "the engine lacks its init helper: install it (package tini or docker-init; Podman's is catatonit), then make the "
        "same call again",
    ),
    (
        r"error setting rlimit|operation not permitted|permission denied",
        "unavailable",
        "the engine may not do what it was asked: it probably runs inside a container or without full rights itself. "
        "Give it them, or use another engine (DOCKER_HOST)",
    ),
    (
        r"requires BuildKit",
        "stage_failed",
        "the Dockerfile uses a BuildKit option (RUN --mount, COPY --link), which this build does not: take it out",
    ),
    (
        r"client version .* is too (old|new)",
        "unavailable",
        f"the engine and the docker SDK have no API version in common: update the older one ({INSTALL})",
    ),
)


@contextlib.contextmanager
def mapped(doing: str, host: str) -> Iterator[None]:
    """Whatever the SDK raises inside -> ToolFailure. Our own failures and defects pass."""
    from docker.errors import APIError, DockerException, StreamParseError
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except APIError as error:
        raise _refused(doing, error) from None
    except (DockerException, RequestException, HTTPError, OSError) as error:
        raise _unreachable(doing, host, error) from None
    except (KeyError, TypeError, AttributeError, ValueError, StreamParseError) as error:
        raise ToolFailure(
            "unavailable",
            f"{doing}: {host} answers, but not as a Docker engine does ({type(error).__name__}: {error}): "
            "check DOCKER_HOST, or restart the engine",
        ) from None


def known(text: str) -> tuple[ErrorCode, str] | None:
    for pattern, code, remedy in ENGINE_ERRORS:
        if re.search(pattern, text, re.I):
            return code, remedy
    return None


def _known_failure(found: tuple[ErrorCode, str], doing: str) -> ToolFailure:
    code, remedy = found
    if code == "disk_full":
        return ToolFailure(code, f"{doing}: {remedy}", diagnosis="engine-disk-full")
    return ToolFailure(code, f"{doing}: {remedy}")


def _refused(doing: str, error) -> ToolFailure:
    said = seal.redacted(" ".join(str(error.explanation or error).split()))[:300]
    if found := known(said):
        return _known_failure(found, doing)
    if "dockerfile" in said.lower():
        return ToolFailure("stage_failed", f"{doing}: {said}. Fix the Dockerfile, or call render_project")
    if error.status_code == 404:
        return ToolFailure("not_found", f"{doing}: the engine has no such thing ({said}): call again")
    if error.is_client_error():
        return ToolFailure("invalid_input", f"{doing}: the engine refuses the request ({said})")
    return ToolFailure(
        "unavailable", f"{doing}: the engine failed ({said}): see its log (`journalctl -u docker`), then call again"
    )


def build_failure(doing: str, step: str, error: str, tail: list[str]) -> ToolFailure:
    """The error that ended a build -> ToolFailure. tail: the build's last lines."""
    step = " ".join(step.split())[:200]
    ran = "returned a non-zero code" in error
    # A command that failed says why in its own output; there, only a full disk means the same as from the engine.
    found = known("no space left on device") if re.search(r"no space left", " ".join(tail), re.I) else None
    if found := found or (None if ran else known(error)):
        return _known_failure(found, f"{doing}, at {step}")
    last = seal.redacted("\n".join(line for line in tail if line != step))[-1500:]
    what = error.rsplit("'", 1)[-1].strip() if ran else error
    return ToolFailure("stage_failed", f"{doing} failed at {step}: {what}. Its last lines:\n{last}")


def _unreachable(doing: str, host: str, error: BaseException) -> ToolFailure:
    words = " ".join(str(part) for part in _chain(error))
    if re.search(r"PermissionError|Permission denied", words):
        remedy = (
            "you may not use it: `sudo usermod -aG docker $USER` and log in again, or use rootless Docker "
            "(https://docs.docker.com/engine/security/rootless/) and set DOCKER_HOST to its socket"
        )
    elif re.search(r"timed? ?out", words, re.I):
        remedy = "it does not answer in time: what was asked may still happen; see `docker info`, then call again"
    elif re.search(r"FileNotFoundError|No such file|Connection refused|Name or service|getaddrinfo|resolve", words):
        remedy = (
            f"nothing answers there: start Docker (`sudo systemctl start docker`), install it ({INSTALL}), "
            "or set DOCKER_HOST to a running engine"
        )
    elif "Remote end closed" in words or "Connection" in words or "IncompleteRead" in words:
        remedy = "the connection was lost: a job that was running may still run; see `docker info`, then call again"
    else:
        remedy = f"it cannot be used ({seal.redacted(str(error))[:200]}): check DOCKER_HOST and `docker info`"
    return ToolFailure("unavailable", f"{doing} ({host}): {remedy}", diagnosis="engine-gone")


def _chain(error: BaseException | None) -> list[str]:
    """An error and what it came from, as `Type: text`: the SDK wraps what matters several times."""
    found: list[str] = []
    while error is not None and len(found) < 8:
        found.append(f"{type(error).__name__}: {error}")
        error = error.__cause__ or error.__context__
    return found
