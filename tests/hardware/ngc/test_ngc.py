"""Which image a run is built on: the real SDK against a fake engine, the real web client against a recorded NVIDIA."""

from __future__ import annotations

import contextlib

import pytest

from tests.fake_engine import FakeEngine
from tunegate.clients.docker import engine
from tunegate.clients.web import HttpWeb, parse_map
from tunegate.embedded import ngc as recorded
from tunegate.embedded import web as recorded_web
from tunegate.embedded.hub import EmbeddedHub, Fault
from tunegate.errors import ToolFailure
from tunegate.hardware import ngc

NAME = "nvcr.io/nvidia/pytorch"
SHA = "sha256:" + "5" * 64
LIST = "7.5 8.0 8.6 9.0 10.0 12.0+PTX"
CPU = {"gpu_count": 0, "gpus": []}


def host(driver: int = 580, capability: str = "9.0", name: str = "NVIDIA H100", **more) -> dict:
    gpu = {"name": name, "compute_capability": capability}
    return {"gpu_count": 1, "driver_major": driver, "gpus": [gpu], "free_disk_gb": 500.0, **more}


def have(fake: FakeEngine, *images: tuple[str, list[str]], env: dict[str, str] | None = None, **labels: str) -> None:
    """The engine has these: (name:tag, its digests)."""
    fake.on("GET", "^/images/json$", body=[{"Id": tag, "RepoTags": [tag]} for tag, _ in images])
    for tag, digests in images:
        said = [f"{name}={value}" for name, value in (env or {}).items()]
        fake.images[tag] = {"Id": SHA, "RepoDigests": digests, "Config": {"Labels": labels, "Env": said}}


def have_release(
    fake: FakeEngine, release: str, torch: str = "2.11.0a0+eb65b36", cuda: str = "13.2.0", **labels
) -> str:
    image = f"{NAME}:{release}-py3"
    env = {"PYTORCH_VERSION": torch, "CUDA_VERSION": cuda, "TORCH_CUDA_ARCH_LIST": LIST}
    have(fake, (image, [f"{NAME}@{SHA}"]), env=env, **labels)
    return image


@pytest.fixture
def fake(tmp_path, monkeypatch):
    with FakeEngine(tmp_path / "docker.sock") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        server.on("GET", "^/images/json$", body=[])
        yield server


@pytest.fixture
def nvidia(tmp_path):
    with EmbeddedHub(tmp_path / "hub", extra_routes=recorded_web.routes()) as served:
        yield served


@pytest.fixture
def pick(fake, nvidia, tmp_path):
    """pick(host, wanted): the choice, asked of the recorded NVIDIA."""
    web = HttpWeb(
        endpoint=nvidia.url,
        web_map=parse_map(recorded_web.web_map(nvidia.url, recorded_web.NVIDIA)),
        cache=tmp_path / "web",
    )
    yield lambda facts, wanted=None: ngc.pick(engine.connect(), web, facts, wanted)
    web.close()


@pytest.fixture
def offline(fake, tmp_path):
    """The same where neither NVIDIA's pages nor its registry can be reached."""
    nowhere = "http://127.0.0.1:9"
    where = {f"https://{name}": nowhere for name in recorded_web.NVIDIA}
    web = HttpWeb(web_map=where, cache=tmp_path / "web")
    yield lambda facts, wanted=None: ngc.pick(engine.connect(), web, facts, wanted)
    web.close()


@contextlib.contextmanager
def refused(code: str):
    """Yields a list that the refusal's text is put into."""
    said: list[str] = []
    with pytest.raises(ToolFailure) as caught:
        yield said
    assert caught.value.code == code
    said.append(str(caught.value))


# -- by the registry


def test_the_newest_that_runs_here(pick):
    choice = pick(host())
    assert choice.image == f"{NAME}:26.09-py3" and choice.digest.startswith("sha256:")
    facts = choice.facts
    assert (facts["torch"], facts["cuda"], facts["driver_min"]) == ("2.14.0a0+5a7a1d1", "13.4.0.021", 580)
    assert facts["passed_over"] == {} and facts["from"] == "registry" and facts["arch_list"] == recorded.ARCH_LIST
    assert choice.notes[0] == f"{NAME}:26.09-py3 (torch 2.14.0a0+5a7a1d1, CUDA 13.4.0.021): the newest that runs here"
    assert "9.4 GB to download" in choice.notes[1] and "500.0 GB free" in choice.notes[1] and len(choice.notes) == 2


def test_every_fact_has_its_source(pick):
    sources = pick(host()).facts["sources"]
    parts = ("tags/list", "support-matrix/index.html", "manifests/26.09-py3", "manifests/sha256:", "blobs/sha256:")
    assert [next(s["url"] for s in sources if part in s["url"]) for part in parts]
    assert all(len(s["sha256"]) == 64 and s["time"].endswith("Z") and s["via"] for s in sources)
    assert recorded.RECORDED_TOKEN not in str(sources) and not any("proxy_auth" in s["url"] for s in sources)


def test_an_older_driver_gets_an_older_cuda_and_is_told_why(pick, nvidia):
    choice = pick(host(driver=550, name="NVIDIA GeForce RTX 4090", capability="8.9"))
    assert choice.image == f"{NAME}:25.06-py3"
    assert set(choice.facts["passed_over"]) == {"26.09", "26.08", "26.03"}
    assert "passed over 26.09, 26.08, 26.03: CUDA 13 needs driver 580 or newer, here is 550" in choice.notes
    assert not any("compatibility package" in note for note in choice.notes)  # GeForce: nothing bridges it
    asked = [row.path for row in nvidia.requests("manifests/26")]
    assert asked == [], "the support matrix had ruled them out"


def test_on_a_data_center_gpu_forward_compatibility_is_told_and_not_relied_upon(pick):
    choice = pick(host(driver=550))
    assert choice.image == f"{NAME}:25.06-py3"
    assert any("compatibility package" in note and "image='26.09'" in note for note in choice.notes)


def test_a_gpu_that_no_list_has(pick):
    with refused("not_found") as said:
        pick(host(capability="7.0", name="Tesla V100-SXM2-16GB"))
    assert "do not run on compute capability 7.0" in said[0] and "2.6.0a0, which sorts below" in said[0]
    assert len(said[0]) < 900


def test_a_driver_too_old_for_all(pick):
    with refused("not_found") as said:
        pick(host(driver=470))
    assert "CUDA 12 needs driver 525" in said[0] and "audit_gpu" in said[0] and "local-process" in said[0]


def test_the_matrix_knows_a_release_that_the_registry_has_not(pick):
    assert "25.12" not in pick(host()).facts["passed_over"]  # it is in the matrix alone, and older anyway


def test_an_arm_machine(pick, fake):
    fake.on("GET", "^/version$", body={"Version": "28.3", "ApiVersion": "1.41", "Arch": "arm64", "Components": []})
    assert pick(host(capability="11.0")).facts["arch_list"] == recorded.ARCH_LIST_ARM


def test_a_machine_that_nvidia_builds_for_no_more(pick, fake):
    fake.on("GET", "^/version$", body={"Version": "28.3", "ApiVersion": "1.41", "Arch": "ppc64le", "Components": []})
    with refused("not_found") as said:
        pick(host())
    assert "26.09 down to 25.06 (4 releases): it has no image for ppc64le" in said[0]


def test_too_little_disk_is_said(pick):
    assert any("10.0 GB free: too little" in note for note in pick(host(free_disk_gb=10.0)).notes)


def test_a_matrix_that_says_nothing_is_replaced_by_the_table_and_the_notes_say_so(pick, nvidia):
    nvidia.faults.append(Fault("support-matrix", status=404))
    choice = pick(host(driver=550))
    assert choice.image == f"{NAME}:25.06-py3"
    (note,) = [note for note in choice.notes if "support matrix" in note]
    assert "HTTP 404" in note and ngc.fallback_table()[0] in note


def test_a_matrix_without_the_newest_release_asks_its_notes(pick, nvidia, monkeypatch):
    known = ngc.ngc_matrix.parse
    monkeypatch.setattr(ngc.ngc_matrix, "parse", lambda html: {k: v for k, v in known(html).items() if k < "26.09"})
    choice = pick(host(driver=550))
    assert "26.09" in choice.facts["passed_over"] and len(nvidia.requests("rel-26-09")) == 1
    assert any("rel-26-09" in source["url"] for source in choice.facts["sources"])
    assert nvidia.requests("manifests/26.09") == []


def test_when_page_and_image_disagree_the_image_counts(pick, monkeypatch):
    known = ngc.ngc_matrix.parse
    wrong = ngc.Facts("26.09", "2.14.0a0", "13.1.0", 580)
    monkeypatch.setattr(ngc.ngc_matrix, "parse", lambda html: {**known(html), "26.09": wrong})
    choice = pick(host())
    assert choice.facts["cuda"] == "13.4.0.021" and any("the image counts" in note for note in choice.notes)


def test_a_release_whose_documents_are_no_use_is_passed_over(pick, nvidia):
    nvidia.faults.append(Fault("manifests/26.09-py3", status=403))
    choice = pick(host())
    assert choice.image == f"{NAME}:26.08-py3" and "HTTP 403" in choice.facts["passed_over"]["26.09"]


@pytest.fixture
def vague(monkeypatch):
    """Before the recorded registry is started: its newest image does not say which torch it has."""
    monkeypatch.setitem(recorded.RELEASES, "26.09", ("unknown", "13.4.0.021", "595.45.04"))


def test_an_image_that_does_not_say_what_it_holds_is_passed_over(vague, pick):
    choice = pick(host())
    assert choice.image == f"{NAME}:26.08-py3"
    assert choice.facts["passed_over"] == {"26.09": "its configuration does not say torch"}


# -- by what the engine has


def test_older_ones_here_that_do_not_run_are_not_worth_a_word(pick, fake):
    have_release(fake, "24.09", torch="2.5.0a0+b465a5843b")
    choice = pick(host())
    assert choice.facts["passed_over"] == {} and not any("passed over" in note for note in choice.notes)


def test_the_newest_one_is_here_already(pick, fake, nvidia):
    image = have_release(fake, "26.09")
    choice = pick(host())
    assert (choice.image, choice.digest, choice.facts["local"]) == (image, SHA, True)
    assert nvidia.requests("manifests") == [] and not any("download" in note for note in choice.notes)


def test_an_older_one_here_is_offered_and_not_taken(pick, fake):
    have_release(fake, "26.03")
    choice = pick(host())
    assert choice.image == f"{NAME}:26.09-py3" and any(
        "image='26.03' needs no download" in note for note in choice.notes
    )


def test_one_here_that_does_not_run_is_passed_over(pick, fake):
    have_release(fake, "26.10", cuda="13.4.0")
    choice = pick(host(driver=550))
    assert choice.image == f"{NAME}:25.06-py3" and "26.10" in choice.facts["passed_over"]


def test_one_here_that_was_never_pulled_cannot_be_pinned(pick, fake):
    have(fake, (f"{NAME}:26.10-py3", []))
    choice = pick(host())
    assert choice.image == f"{NAME}:26.09-py3" and "never pulled" in choice.facts["passed_over"]["26.10"]


def test_without_gpus_what_is_here_is_taken_and_nobody_is_asked(pick, fake, nvidia):
    image = have_release(fake, "26.03", torch="2.13.0+cpu", **{"org.tunegate.standin": "yes"})
    choice = pick(CPU)
    assert (choice.image, choice.facts["torch"]) == (image, "2.13.0+cpu") and nvidia.log == []
    assert any("stand-in" in note for note in choice.notes) and choice.facts["sources"] == []


def test_with_gpus_a_stand_in_is_passed_over_unless_it_is_asked_for(pick, fake):
    have_release(fake, "26.10", torch="2.13.0+cpu", **{"org.tunegate.standin": "yes"})
    choice = pick(host())
    assert choice.image == f"{NAME}:26.09-py3" and "CPU only" in choice.facts["passed_over"]["26.10"]
    assert any("GPUs stay unused" in note for note in pick(host(), "26.10").notes)


def test_without_gpus_and_images_the_registry_is_asked(pick):
    assert pick(CPU).image == f"{NAME}:26.09-py3"


# -- where nobody answers


def test_offline_the_newest_here_that_runs(offline, fake):
    image = have_release(fake, "26.03")
    choice = offline(host())
    assert choice.image == image and "nvcr.io could not be asked (cannot be reached)" in choice.notes[0]
    assert choice.facts["sources"] == [] and choice.facts["passed_over"] == {}


def test_offline_with_nothing_here_the_table_says_what_to_pull(offline):
    date, _ = ngc.fallback_table()
    with refused("not_found") as said:
        offline(host(driver=550))
    assert f"docker pull {NAME}:25.06-py3" in said[0] and f"table of {date}" in said[0]
    assert "pick_ngc_image again" in said[0]


def test_offline_the_engine_may_reach_the_registry_by_its_own_way(offline, fake):
    fake.on("GET", "^/distribution/.+/json$", body={"Descriptor": {"digest": SHA}})
    choice = offline(host())
    newest = next(iter(ngc.fallback_table()[1]))
    assert (choice.image, choice.digest) == (f"{NAME}:{newest}-py3", SHA)
    assert choice.facts["from"] == ngc.FALLBACK_TABLE and choice.facts["table_of"] == ngc.fallback_table()[0]
    assert f"fallback table of {ngc.fallback_table()[0]}" in choice.notes[0]
    older = offline(host(driver=550), "25.06")
    assert older.digest == SHA and "checked by the fallback table" in older.notes[0]
    with refused("invalid_input") as said:
        offline(host(), "25.01")
    assert "transformers wants" in said[0]


def test_offline_and_nothing_runs(offline):
    with refused("not_found") as said:
        offline(host(capability="7.0"))
    assert "compute capability 7.0" in said[0]


@pytest.mark.parametrize("fault", [Fault("proxy_auth", status=401), Fault("manifests", status=403)])
def test_a_registry_that_refuses_everything_is_as_good_as_none(pick, fake, nvidia, fault):
    image = have_release(fake, "25.06", cuda="12.9.1")
    nvidia.faults.append(fault)
    choice = pick(host())
    assert choice.image == image and "could not be asked (HTTP 40" in choice.notes[0]
    assert len(nvidia.requests("manifests")) <= ngc.MAX_FAILURES


def test_time_runs_out(pick, fake, monkeypatch):
    image = have_release(fake, "26.03")
    monkeypatch.setattr(ngc, "LOOK_S", -1.0)
    assert pick(host()).image == image


# -- by the user's choice


@pytest.mark.parametrize("wanted", ["26.03", "26.03-py3", f"{NAME}:26.03-py3", f" {NAME}:26.03-py3 "])
def test_the_user_s_choice_from_the_registry(pick, wanted):
    choice = pick(host(), wanted)
    assert choice.image == f"{NAME}:26.03-py3" and "the user's choice" in choice.notes[0]
    assert choice.facts["passed_over"] == {}
    assert pick(host(), f"26.03@{choice.digest}").digest == choice.digest


def test_the_user_s_choice_is_here(offline, fake):
    image = have_release(fake, "26.03")
    assert offline(host(), "26.03").image == image and offline(host(), f"{image}@{SHA}").digest == SHA


def test_the_user_s_choice_that_cannot_run_is_refused(pick, fake):
    with refused("invalid_input") as said:
        pick(host(driver=550, name="NVIDIA GeForce RTX 3060", capability="8.6"), "26.03")
    assert "CUDA 13 needs driver 580" in said[0] and "Leave `image` out" in said[0]
    with refused("invalid_input") as said:
        pick(host(), "25.01")
    assert "transformers wants 2.6.0" in said[0]


def test_the_user_s_choice_by_forward_compatibility_is_let_through_with_a_warning(pick):
    choice = pick(host(driver=550), "26.03")
    assert choice.image == f"{NAME}:26.03-py3" and choice.facts["forward_compatibility"]
    assert any("smoke" in note and "compatibility package" in note for note in choice.notes)
    with refused("invalid_input"):
        pick(host(driver=550, capability="7.0", name="Tesla V100"), "26.03")


@pytest.mark.parametrize(
    "wanted",
    ["latest", "python:3.12", f"{NAME}:26.03-py3-igpu", "nvcr.io/nvidia/tensorflow:26.03-tf2-py3", "26.03; rm", ""],
)
def test_what_is_no_ngc_pytorch_image(pick, wanted):
    with refused("invalid_input") as said:
        pick(host(), wanted or " ")
    assert "name an NGC PyTorch release" in said[0]


def test_the_user_s_choice_that_does_not_exist_or_cannot_be_looked_up(pick, offline):
    with refused("not_found") as said:
        pick(host(), "20.01")
    assert "HTTP 404" in said[0]
    with refused("unavailable") as said:
        offline(host(), "26.03")
    assert "docker pull" in said[0]
    with refused("not_found") as said:
        pick(host(), "mirror.example/nvidia/pytorch:26.03-py3")
    assert "docker pull mirror.example" in said[0]


# -- for the demo, which downloads nothing


def test_what_the_engine_has_the_real_one_first(fake):
    standin = "127.0.0.1:5055/nvidia/pytorch"
    have(fake, (f"{standin}:26.03-py3", [f"{standin}@{SHA}"]), (f"{NAME}:25.12-py3", [f"{NAME}@{SHA}"]))
    fake.images[f"{standin}:26.03-py3"]["Config"] = {"Labels": {"org.tunegate.standin": "yes"}}
    assert ngc.on_engine(engine.connect()).image == f"{NAME}:25.12-py3"


@pytest.mark.parametrize("images", [[], [(f"{NAME}:26.03-py3", [])]])
def test_an_engine_without_one_says_what_to_pull(fake, images):
    have(fake, *images)
    with refused("not_found") as said:
        ngc.on_engine(engine.connect())
    assert "docker pull" in said[0] and "pick_ngc_image again" in said[0]
