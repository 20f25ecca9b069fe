from __future__ import annotations

import pytest

from tests import sealed
from tunegate.platforms.local_docker import image_checks
from tunegate.project import render

CONFIG = render.with_defaults(
    sealed.CONFIG.model_copy(
        update={
            "platform": "local-docker",
            "ngc_image": "nvcr.io/nvidia/pytorch:26.03-py3",
            "ngc_image_digest": "sha256:" + "5" * 64,
        }
    ),
    {},
)
BASE = f"{CONFIG.ngc_image}@{CONFIG.ngc_image_digest}"
FILES = render.render_files(CONFIG, {})
SENT = {
    name: text for name, text in FILES.items() if name in ("Dockerfile", "requirements.txt") or name.endswith(".py")
}


def problems(**changed: str) -> list[str]:
    return image_checks.problems({**SENT, **{name.replace("_", "."): text for name, text in changed.items()}}, BASE)


def edited(line: str) -> list[str]:
    return problems(Dockerfile=SENT["Dockerfile"] + line + "\n")


def test_what_is_rendered_has_no_problem():
    assert problems() == [] and len(SENT) > 8
    assert str(render.FROZEN) in SENT["Dockerfile"]  # the Dockerfile keeps exactly what is proved afterwards


@pytest.mark.parametrize(
    "line",
    [
        "RUN pip install torch",
        "RUN pip install --upgrade 'torch==2.13.0'",
        "RUN apt-get update && \\\n    python -m pip install -U \\\n      numpy",
        'RUN ["pip", "install", "torchvision"]',
        "run uv pip install --system triton==3",
        "RUN conda install -y pytorch-triton",
        "RUN pip install --extra-index-url https://download.pytorch.org/whl/cu130 x",
        "ENV PIP_INDEX_URL=https://index.example/simple",
        "RUN PIP_EXTRA_INDEX_URL=https://index.example/simple pip install x",
        "ENV HF_TOKEN=abc",
        "ARG HF_TOKEN",
        "ENV A=1 \\\n  WANDB_API_KEY=k",
        "RUN HF_TOKEN=abc python prepare_data.py",
        "RUN git clone https://me:pa55word@git.example/x.git",
        "RUN echo hf_abcdefghijklmnopqrstuv > /token",
        "ADD https://example.org/model.tar /model",
        "COPY .env /workspace/",
        "FROM ubuntu",
        f"FROM {BASE} AS second",
        "RUN echo <WHAT_TO_RUN>",
    ],
)
def test_lines_that_break_a_promise_are_refused(line):
    found = edited(line)
    assert found and "Dockerfile" in found[0]
    assert not any(secret in " ".join(found) for secret in ("pa55word", "hf_abc"))


@pytest.mark.parametrize(
    "line",
    [
        "RUN pip install --no-cache-dir timm==1.0 -c /opt/frozen.txt",
        "RUN pip install torchmetrics torch-geometric",
        "RUN apt-get update && apt-get install -y git",
        "RUN python -c 'import torch' && pip install numpydoc",
        "# RUN pip install torch",
        "ENV TOKENIZERS_PARALLELISM=false PIP_NO_CACHE_DIR=1",
        "COPY *.py ./",
        "RUN git clone ssh.example.org:x.git",
    ],
)
def test_other_edits_are_the_users_own_business(line):
    assert edited(line) == []


@pytest.mark.parametrize("first", ["# escape=`\n", "# syntax=docker/dockerfile:1\n", "# check=skip=all\n# escape=`\n"])
def test_a_directive_that_changes_how_the_file_is_read(first):
    assert "parser directive" in problems(Dockerfile=first + SENT["Dockerfile"])[0]


def test_the_base_is_pinned_and_the_only_one():
    tag = SENT["Dockerfile"].replace(BASE, CONFIG.ngc_image)
    assert BASE in problems(Dockerfile=tag)[0]
    assert "0 FROM lines" in problems(Dockerfile="RUN true\n")[-1]
    assert any("2 FROM lines" in found for found in edited(f"FROM {BASE}"))
    assert problems(Dockerfile="\ufeff" + SENT["Dockerfile"]) == []


@pytest.mark.parametrize(
    "line",
    [
        "torch==2.13.0",
        "Torch >= 2",
        "numpy<3",
        "triton @ https://example.org/triton.whl",
        "--index-url https://index.example/simple",
        "-i https://index.example/simple",
        "--extra-index-url=https://index.example/simple",
        "x @ git+https://me:pa55word@git.example/x.git",
    ],
)
def test_requirements_that_would_replace_the_bases_own_or_name_an_index(line):
    found = problems(requirements_txt=f"pyyaml==6.0.3\n{line}\n")
    assert found and found[0].startswith("requirements.txt") and "pa55word" not in " ".join(found)


@pytest.mark.parametrize("line", ["torchmetrics==1.9", "numpydoc>=1", "numpy", "# torch==2", "nvidia-ml-py==13"])
def test_other_requirements(line):
    assert problems(requirements_txt=f"{line}\n") == []


def test_a_secret_in_any_file_that_is_sent(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    text = SENT["train.py"] + "KEY = '0123456789abcdef'\n"
    assert [found.split(":")[0] for found in problems(train_py=text)] == ["train.py"]
    assert "0123456789abcdef" not in problems(train_py=text)[0]


def test_instructions_are_joined_as_docker_joins_them():
    text = "# base\nFROM a\n\nRUN one \\\n  # a comment between\n\n  && two\\\n  three\nCOPY x y \\"
    assert image_checks.instructions(text) == [(2, "FROM a"), (4, "RUN one && two three"), (9, "COPY x y")]
