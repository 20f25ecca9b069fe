from __future__ import annotations

import socket
import subprocess
import sys
import threading

import pytest

from tests.tiny import OTHER, TOKEN, dataset_files, hub, model_files, parquet, server  # noqa: F401
from tunegate.clients.hub import Hub, check_repo_id
from tunegate.embedded.hub import Fault
from tunegate.errors import ToolFailure


def refused(call, *args, **kwargs):
    with pytest.raises(ToolFailure) as caught:
        call(*args, **kwargs)
    failure = caught.value.failure
    assert "hf_" not in failure.message.replace("hf_hub", ""), "a token's value is in the message"
    assert caught.value.__cause__ is None and caught.value.__suppress_context__ or caught.value.__context__ is None
    return failure


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "a b",
        "a/b/c",
        "/abs",
        "../up",
        "a--b",
        "x.git",
        "-a",
        "a/",
        "a\n",
        "https://huggingface.co/org/name",
        7,
        None,
        "x" * 97,
    ],
)
def test_malformed_ids_are_named_with_the_remedy(value):
    failure = refused(check_repo_id, value, "model_id")
    assert failure.code == "invalid_input" and "model_id = " in failure.message and "namespace/name" in failure.message


def test_an_address_is_answered_with_the_id_in_it():
    assert "'org/name'" in refused(check_repo_id, "https://huggingface.co/datasets/org/name", "dataset_id").message


def test_a_token_given_as_an_id_is_not_repeated():
    assert TOKEN not in refused(check_repo_id, f"{TOKEN} oops", "model_id").message


@pytest.mark.parametrize("value", ["cifar10", "org/Name-1.0_x"])
def test_good_ids_pass(value):
    assert check_repo_id(value, "model_id") == value


def test_importing_the_seam_imports_no_client():
    code = "import sys, tunegate.clients.hub, tunegate.probe.dataset; print([m for m in ('huggingface_hub', 'httpx2', 'pyarrow') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_endpoints_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1/")
    assert (Hub().endpoint, Hub().viewer_endpoint) == ("http://127.0.0.1:1", "http://127.0.0.1:1")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    assert Hub().viewer_endpoint == "https://datasets-server.huggingface.co" and not Hub()._viewer_trusted
    monkeypatch.setenv("TUNEGATE_VIEWER_ENDPOINT", "https://viewer.example")
    assert Hub().viewer_endpoint == "https://viewer.example"
    monkeypatch.setenv("HF_ENDPOINT", "https://user:secret@mirror.example")
    failure = refused(Hub)
    assert failure.code == "invalid_input" and "secret" not in failure.message
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    assert refused(Hub).code == "invalid_input"


def test_info_files_and_trail(server, hub):  # noqa: F811
    server.add_repo("model", "me/tiny", model_files())
    info = hub.model_info("me/tiny")
    assert len(info.sha) == 40 and info.files["config.json"] > 0 and not info.private and info.gated is None
    assert '"vit"' in hub.read_text("model", "me/tiny", info.sha, "config.json")
    assert hub.read_bytes("model", "me/tiny", info.sha, "README.md", max_bytes=100, start=4, length=7) == b"license"
    assert hub.read_bytes("model", "me/tiny", info.sha, "README.md", max_bytes=100, start=-5) == b"tiny\n"
    assert [s.url.rsplit("/", 1)[-1].split("?")[0] for s in hub.trail.sources] == [
        "main",
        "config.json",
        "README.md",
        "README.md",
    ]
    assert hub.trail.bytes_fetched > 100 and hub.recording().trail.bytes_fetched == 0


def test_a_file_larger_than_its_bound_is_refused(server, hub):  # noqa: F811
    server.add_repo("model", "me/tiny", model_files(config__json=b" " * 300_000))
    assert refused(hub.read_text, "model", "me/tiny", "main", "config.json", 1000).code == "rejected"
    assert hub.trail.bytes_fetched < 200_000


def test_missing_repository_revision_and_file(server, hub):  # noqa: F811
    server.add_repo("model", "me/tiny", model_files())
    owner = Hub(server.url, token=TOKEN)
    failure = refused(owner.model_info, "me/nothing")
    assert failure.code == "not_found" and "me/nothing" in failure.message and "spelling" in failure.message
    failure = refused(hub.model_info, "me/nothing")  # without a token, missing and private look alike
    assert (
        failure.code == "access_denied"
        and "does not exist or is private" in failure.message
        and "HF_TOKEN" in failure.message
    )
    assert refused(hub.model_info, "me/tiny", "v9").code == "not_found"
    assert refused(hub.model_info, "me/tiny", "../main").code == "invalid_input"
    assert refused(hub.read_text, "model", "me/tiny", "main", "zz.json").code == "not_found"


def test_the_other_repository_type_is_named(server, hub):  # noqa: F811
    server.add_repo("dataset", "me/data", dataset_files(parquet([0, 1], names=["a", "b"])))
    server.add_repo("model", "me/tiny", model_files())
    failure = refused(hub.model_info, "me/data")
    assert (
        failure.code == "not_found"
        and "is a dataset, not a model" in failure.message
        and "dataset_id" in failure.message
    )
    assert "is a model, not a dataset" in refused(hub.dataset_info, "me/tiny").message


def test_gated_names_the_page_and_the_token(server, hub):  # noqa: F811
    server.add_repo("model", "me/gated", model_files(), gated="manual")
    for reader in (hub, Hub(server.url, token=OTHER)):
        failure = refused(reader.check_access, "model", reader.model_info("me/gated"))
        assert (
            failure.code == "access_denied"
            and f"{server.url}/me/gated" in failure.message
            and "HF_TOKEN" in failure.message
        )
    owner = Hub(server.url, token=TOKEN)
    owner.check_access("model", owner.model_info("me/gated"))


def test_private_is_readable_for_its_owner_only(server, hub):  # noqa: F811
    server.add_repo("model", "me/secret", model_files(), private=True)
    assert Hub(server.url, token=TOKEN).model_info("me/secret").private
    assert refused(hub.model_info, "me/secret").code == "access_denied"
    assert refused(Hub(server.url, token=OTHER).model_info, "me/secret").code == "not_found"


def test_whoami_and_token_presence(server, hub, monkeypatch):  # noqa: F811
    assert Hub(server.url, token=TOKEN).whoami() == "me" and not hub.token_present()
    assert refused(hub.whoami).code == "access_denied"
    assert refused(Hub(server.url, token="hf_" + "wrong" * 5).whoami).code == "access_denied"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert hub.token_present() and hub.whoami() == "me"


@pytest.mark.parametrize("bad", ["hf_ä" + "x" * 20, "hf_" + "x" * 20 + "\r\nX-Evil: 1"])
def test_a_token_that_no_header_can_hold_is_not_repeated(server, bad):  # noqa: F811
    assert "xxxx" not in refused(Hub(server.url, token=bad).model_info, "me/tiny").message


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (401, "access_denied", "HF_TOKEN"),
        (429, "unavailable", "retry after"),
        (500, "unavailable", "try again"),
        (503, "unavailable", "try again"),
    ],
)
def test_hub_errors(server, status, code, says):  # noqa: F811
    server.faults.append(Fault(r"/api/models/", status=status, times=99))
    failure = refused(Hub(server.url, token=TOKEN).model_info, "me/tiny")
    assert failure.code == code and says in failure.message


def _serve_once(answer: bytes) -> str:
    """A server that sends these bytes to whoever connects, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        for _ in range(3):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

    threading.Thread(target=run, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    "answer",
    [
        b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"id": "me/ti',
        b'HTTP/1.1 200 OK\r\n\r\n{"id": "me/ti',
        b"HTTP/1.1 200 OK\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"\x00\x01rubbish",
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_half_a_body_and_rubbish(answer):
    assert refused(Hub(_serve_once(answer), token=TOKEN).model_info, "me/tiny").code == "unavailable"


def test_retry_after_is_passed_on():
    answer = b"HTTP/1.1 429 Too Many\r\nRetry-After: 37\r\nContent-Length: 0\r\n\r\n"
    assert "retry after 37 s" in refused(Hub(_serve_once(answer)).model_info, "me/tiny").message
    answer = b'HTTP/1.1 429 Too Many\r\nRateLimit: "api";r=0;t=55\r\nContent-Length: 0\r\n\r\n'
    assert "retry after 55 s" in refused(Hub(_serve_once(answer)).model_info, "me/tiny").message


def test_a_server_that_ignores_ranges_is_cut_off():
    url = _serve_once(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 2_000_000)
    reader = Hub(url)
    assert reader.read_bytes("model", "me/tiny", "main", "f", max_bytes=100, length=10) == b"x" * 10
    assert reader.trail.bytes_fetched < 200_000
    assert (
        refused(reader.read_bytes, "model", "me/tiny", "main", "f", max_bytes=100, start=5, length=10).code
        == "unavailable"
    )


def test_silence_and_no_network():
    listener = socket.create_server(("127.0.0.1", 0))  # accepts, never answers
    failure = refused(Hub(f"http://127.0.0.1:{listener.getsockname()[1]}", read_s=0.2).model_info, "me/tiny")
    assert failure.code == "unavailable" and "in time" in failure.message
    port = listener.getsockname()[1]
    listener.close()
    failure = refused(Hub(f"http://127.0.0.1:{port}").model_info, "me/tiny")
    assert failure.code == "unavailable" and "network" in failure.message


def test_the_viewer_gets_the_token_only_where_it_belongs(monkeypatch):
    seen = []
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                seen.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    threading.Thread(target=run, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    reader = Hub(url, token=TOKEN)
    reader.viewer("splits", dataset="me/data")
    reader._viewer_trusted = False
    reader.viewer("splits", dataset="me/data")
    assert TOKEN.encode() in seen[0] and TOKEN.encode() not in seen[1]
