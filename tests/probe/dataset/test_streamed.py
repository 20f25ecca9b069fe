"""A dataset that only `datasets` can read: the real SDK against a fake engine, and the container's script by itself."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from tests.probe.dataset import probe_dataset
from tests.probe.model.test_deep import fake, play, specs  # noqa: F401
from tests.tiny import DATASET, TOKEN
from tunegate.clients.docker import containers
from tunegate.clients.hub import Hub
from tunegate.errors import NextCall, ToolFailure
from tunegate.probe.dataset import streamed
from tunegate.probe.model import deep
from tunegate.probe.request import ProbeContainer

AGAIN = NextCall(tool="probe_dataset", arguments={"dataset_id": "me/shards"}, why="still at work")
FEATURES = {
    "jpg": {"_type": "Image"},
    "cls": {"_type": "Value", "dtype": "int64"},
    "__key__": {"_type": "Value", "dtype": "string"},
}


def noise(seed: int, width: int = 60, height: int = 50) -> bytes:
    """A PNG that does not compress: 9 kB, or 470 kB at 400 x 390."""
    import random

    out = io.BytesIO()
    Image.frombytes("RGB", (width, height), random.Random(seed).randbytes(width * height * 3)).save(out, "png")
    return out.getvalue()


def shard(seed: int, rows: int, first: bytes | None = None) -> bytes:
    """A WebDataset tar: NNNN.png, NNNN.cls."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for at in range(rows):
            image = first if first and at == 0 else noise(1000 * seed + at)
            for name, data in (("png", image), ("cls", str(at % 2).encode())):
                member = tarfile.TarInfo(f"{seed}{at:04d}.{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def shards() -> dict[str, bytes]:
    return DATASET | {
        "train-0.tar": shard(1, 30, noise(9, 400, 390)),
        "train-1.tar": shard(2, 30),
        "test-0.tar": shard(3, 6),
    }


def row(at: int, **cell) -> dict:
    image = {"data": base64.b64encode(noise(at)).decode(), "width": 60, "height": 50, "mode": "RGB", **cell}
    return {"jpg": image, "cls": at % 2, "__key__": f"{at:04d}"}


def split(name: str = "train", n: int = 12, **more) -> dict:
    looked = [row(at) for at in range(n)]
    return {"name": name, "rows": None, "features": FEATURES, "looked": looked, "complete": True, **more}


def writing(*splits: dict, **more):
    """A container that ends well, having written this."""

    def act(command: str, folder: Path) -> int:
        key = command.split(streamed.SCRIPT.name)[1].split()[0]
        (folder / "result.json").write_text(json.dumps({"key": key, "datasets": "5.2.0", "splits": splits, **more}))
        return 0

    return act


@pytest.fixture
def probe(fake, server, hub, tmp_path):  # noqa: F811
    server.add_repo("dataset", "me/shards", {"train.tar": b"not looked at"})

    def ask(one: Hub = hub, name: str = "me/shards", **more):
        place = ProbeContainer(tmp_path / "run", AGAIN)
        return probe_dataset(one, dataset_id=name, task="image-classification", container=place, **more)

    return ask


def test_what_the_container_saw_serves_as_a_table(fake, play, probe):  # noqa: F811
    play(writing(split(), split("test", 4, rows=900, complete=False)))
    facts = probe()
    assert (facts.read_through, facts.verdict) == ("streamed in a container", "accept")
    assert (facts.splits, facts.eval_split) == ({"train": 12, "test": 900}, "test")
    assert facts.column_map == {"image": "jpg", "label": "cls"} and facts.class_names == ["0", "1"]
    assert (facts.images.images, facts.images.decoded, facts.images.width) == (12, 12, [60, 60, 60])
    assert facts.duplicates.exact_overlap == 4 and facts.rows_read == {"train": 12, "test": 4}
    assert any("streamed" in line for line in facts.warnings) and "sample: 12 of 12 train + 4 of 900" in str(
        facts.described()
    )
    assert probe().splits == facts.splits and len(specs(fake)) == 1 and not fake.containers  # asked once, removed


def test_it_has_the_network_and_no_more(fake, play, probe, hub, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    play(writing(split()))
    probe()
    [spec] = specs(fake)
    [mount] = spec["HostConfig"]["Mounts"]
    assert Path(mount["Source"]).is_relative_to(tmp_path / "run/.probe") and mount["Target"] == "/workspace"
    assert spec["HostConfig"]["NetworkMode"] == "host"  # the embedded Hub's endpoint is on loopback
    assert spec["HostConfig"]["CapDrop"] == ["ALL"] and spec["HostConfig"]["DeviceRequests"] == [] and spec["User"]
    assert f"HF_ENDPOINT={hub.endpoint}" in spec["Env"] and TOKEN not in json.dumps(spec)
    asked = json.loads((Path(mount["Source"]) / "asked.json").read_text())
    assert (asked["id"], len(asked["revision"]), asked["rows"]) == ("me/shards", 40, streamed.N_ROWS)
    assert not (Path(mount["Source"]) / "home").exists()


def test_the_token_only_for_what_needs_it(fake, play, probe, server, monkeypatch):  # noqa: F811
    server.add_repo("dataset", "me/private", {"train.tar": b""}, private=True)
    owner = Hub(server.url, token=TOKEN, read_s=5)
    with pytest.raises(ToolFailure, match="only with HF_TOKEN") as caught:
        probe(owner, "me/private")
    assert caught.value.code == "access_denied" and not specs(fake)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    play(writing(split()))
    assert probe(owner, "me/private").private
    [spec] = specs(fake)
    assert TOKEN not in json.dumps(spec)  # it is in a private file that the command reads
    assert containers.SECRETS in json.dumps(spec["HostConfig"]["Mounts"])


def test_one_still_at_work_is_followed_by_the_same_call(fake, play, probe, monkeypatch):  # noqa: F811
    monkeypatch.setattr(streamed, "WAIT_S", 0.05)
    for _ in range(2):
        with pytest.raises(ToolFailure, match="still streaming") as caught:
            probe()
        assert (caught.value.code, caught.value.failure.next) == ("unavailable", AGAIN)
    assert len(specs(fake)) == 1
    monkeypatch.setattr(streamed, "WAIT_S", 60)
    play(writing(split()))
    assert probe().splits == {"train": 12} and len(specs(fake)) == 1


@pytest.mark.parametrize(
    ("act", "code", "says"),
    [
        (lambda *_: 1, "stage_failed", "exit code 1"),
        (lambda *_: 0, "stage_failed", "did not run"),
        (writing(error="ValueError: Invalid string class label"), "rejected", "Invalid string class label"),
        (writing(error="ConnectError: no", passing=True), "unavailable", "ConnectError"),
        (writing(), "rejected", "found no rows"),
    ],
)
def test_a_refusal_says_what_was_tried(fake, play, probe, act, code, says):  # noqa: F811
    play(act)
    with pytest.raises(ToolFailure) as caught:
        probe()
    message = str(caught.value)
    assert caught.value.code == code and says in message
    assert all(word in message for word in ("viewer", "files", "container", "local_dataset_path"))


def test_without_an_engine_or_an_image(fake, probe, tmp_path, monkeypatch):  # noqa: F811
    from tests.fake_engine import NO_NETWORK

    del fake.images[deep.PROBE_IMAGE]
    fake.refuse("POST", "/images/create", 500, NO_NETWORK)
    with pytest.raises(ToolFailure, match="viewer.*files.*container.*TUNEGATE_PROBE_IMAGE.*local_dataset_path"):
        probe()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(ToolFailure, match="viewer.*files.*container.*local_dataset_path") as caught:
        probe()
    assert caught.value.code == "unavailable"


def test_what_passes_is_asked_again(fake, play, probe):  # noqa: F811
    play(writing(error="ReadTimeout: no", passing=True))
    for _ in range(2):
        with pytest.raises(ToolFailure, match="ReadTimeout"):
            probe()
    assert len(specs(fake)) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"key": "another"}', b"9" * 5000, b"[" * 100_000])
def test_what_the_container_wrote_is_not_believed(tmp_path, content):
    (tmp_path / "result.json").write_bytes(content)
    assert streamed._result(tmp_path, "k") is None


def test_a_link_a_pipe_and_a_flood_are_not_read(tmp_path):
    path = tmp_path / "result.json"
    (tmp_path / "elsewhere").write_text('{"key": "k"}')
    path.symlink_to("elsewhere")
    assert streamed._result(tmp_path, "k") is None
    path.unlink()
    os.mkfifo(path)
    assert streamed._result(tmp_path, "k") is None
    path.unlink()
    path.write_text('{"key": "k"}' + " " * streamed.MAX_RESULT)
    assert streamed._result(tmp_path, "k") is None
    path.write_text('{"key": "k"}')
    assert streamed._result(tmp_path, "k") == {"key": "k"}


def test_what_no_answer_can_hold_is_taken_out(tmp_path):
    deep_one = "[" * 200 + "]" * 200
    text = f'{{"key": "k", "a\\ud800": "\\ud800x", "b": {10**400}, "c": {deep_one}, "d": ["\u00e9", 1.5, true]}}'
    (tmp_path / "result.json").write_text(text)
    found = streamed._result(tmp_path, "k")
    assert (found["a?"], found["b"], found["d"]) == ("?x", None, ["\u00e9", 1.5, True])
    assert json.dumps(found, ensure_ascii=False).encode() and json.dumps(found["c"]).count("[") == 31


def test_a_folder_that_a_container_wrote_into_is_not_written_through(tmp_path):
    mine, folder = tmp_path / "mine", tmp_path / "folder"
    mine.write_text("kept")
    folder.mkdir()
    for name in (streamed.SCRIPT.name, "asked.json"):
        (folder / name).symlink_to(mine)
    streamed._prepare(folder, {})
    assert mine.read_text() == "kept" and not any(path.is_symlink() for path in folder.iterdir())


@pytest.mark.parametrize(
    "splits",
    [
        [3, None, {}, {"name": 3}, {"name": "train"}],
        [{"name": "train", "looked": 3, "features": 3}],
        [{"name": "train", "looked": [[], 3, {"a": 1}], "features": None}],
        [split(rows=-4, complete=False)],
        [split(rows=1 << 90, complete=False)],
        [split(rows="12", complete=False)],
        [
            split(
                looked=[{"jpg": bad, "cls": {"a": []}, "__key__": 3} for bad in (3, [], {}, {"data": 3}, {"data": "%"})]
            )
        ],
        [
            split(
                looked=[
                    row(1, shrunk=True, width=-4),
                    row(2, shrunk=True, width="9"),
                    row(3, shrunk=True, height=1e400),
                ]
            )
        ],
        [split(features={"jpg": {"_type": "List", "feature": {"_type": "Image"}}})],
    ],
)
def test_wrong_types_and_sizes_break_nothing(splits):
    table = streamed._table({"splits": splits})
    for name in table.splits:
        rows = table.rows(name).rows
        assert len(rows) <= streamed.N_ROWS and table.splits[name] is None or 0 <= table.splits[name] < 1 << 48
        for one in rows:
            picture = one.get("jpg")
            assert (
                not isinstance(picture, streamed.Picture)
                or picture.problem
                or None in picture.size
                or min(picture.size) > 0
            )


def test_more_rows_splits_and_columns_than_were_asked_for_are_left_out():
    many = {f"c{at}": {"_type": "Value", "dtype": "int64"} for at in range(999)}
    looked = [{"c0": 1}] * 999
    table = streamed._table({"splits": [split(str(at), looked=looked, features=many) for at in range(99)]})
    assert len(table.splits) == streamed.MAX_SPLITS and len(table.features) == streamed.MAX_COLUMNS
    assert len(table.rows("0").rows) == streamed.N_ROWS


def script(python: str, folder: Path, hub: str, **asked) -> dict:
    default = {"config": "default", "rows": 40, "seconds": 60, "bytes": 1 << 24}
    (folder / "asked.json").write_text(json.dumps(default | asked))
    env = {"HF_ENDPOINT": hub, "HF_HOME": str(folder / "hf"), "HOME": str(folder), "PATH": os.environ["PATH"]}
    subprocess.run([python, "-I", streamed.SCRIPT, "key"], cwd=folder, env=env, check=True, capture_output=True)
    return json.loads((folder / "result.json").read_text())


def test_the_script_in_the_stage_environment(stage_python, server, hub, tmp_path):
    server.add_repo("dataset", "me/shards", shards())
    found = script(stage_python, tmp_path, server.url, id="me/shards", revision=hub.dataset_info("me/shards").sha)
    table = streamed._table(found)
    assert found["key"] == "key" and table.splits == {"train": None, "test": 6}
    train = table.rows("train")
    assert len(train.rows) == 40 and not train.complete and table.rows("test").complete
    assert {one["__key__"][0] for one in train.rows} == {"1", "2"}  # of both shards
    big, small = train.rows[0]["png"], train.rows[1]["png"]
    assert (big.size, big.shrunk, len(big.data()) < 300_000) == ((400, 390), True, True)
    assert (small.size, small.shrunk, small.data()) == ((60, 50), False, noise(1001))


def test_the_script_on_what_is_no_tar(stage_python, server, hub, tmp_path):
    server.add_repo("dataset", "me/bad", {"train-0.tar": b"\0" * 3000})
    found = script(stage_python, tmp_path, server.url, id="me/bad", revision=hub.dataset_info("me/bad").sha)
    assert found["error"] and found["passing"] is False
    found = script(stage_python, tmp_path, "http://127.0.0.1:9", id="me/bad", revision="0" * 40)
    assert found["error"] and found["passing"] is True


def test_it_loads_with_the_version_that_prepare_will_load_with():
    from tunegate.knowledge import workarounds

    assert f"datasets=={workarounds.pinned_versions()['datasets']}" in streamed.PROBE_REQUIREMENTS
