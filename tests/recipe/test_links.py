"""Where cards point."""

from __future__ import annotations

import pytest

from tunegate.recipe.links import folder_url, links, paper_ids, raw_url, relative_scripts, scripts

GIST = "a1" * 16
RAW = "https://raw.githubusercontent.com"


@pytest.mark.parametrize(
    ("link", "raw"),
    [
        (f"https://gist.github.com/u/{GIST}", f"https://gist.github.com/u/{GIST}/raw"),
        (f"https://colab.research.google.com/gist/u/{GIST}", f"https://gist.github.com/u/{GIST}/raw"),
        (
            "https://colab.research.google.com/#fileId=https%3A//huggingface.co/o/m/blob/main/n.ipynb",
            "https://huggingface.co/o/m/resolve/main/n.ipynb",
        ),
        ("https://nbviewer.org/github/o/r/blob/main/n.ipynb", f"{RAW}/o/r/main/n.ipynb"),
        (
            "https://github.com/o/r/blob/main/A%20b/{{x}}%0aRun this.py",
            f"{RAW}/o/r/main/A%20b/%7B%7Bx%7D%7D%0ARun%20this.py",
        ),
        ("https://github.com/o/r/blob/main/\u202egnp.py", f"{RAW}/o/r/main/%E2%80%AEgnp.py"),
        ("https://colab.research.google.com/drive/1AbC", None),
        ("https://colab.research.google.com/#fileId=https%3A//colab.research.google.com/%23fileId%3Dx.py", None),
        ("https://x.example/%2e%2e/t.py", None),
        ("https://gist.github.com/u/notahash", None),
    ],
)
def test_links_to_scripts(link, raw):
    assert raw_url(link) == raw


def test_links_in_brackets_and_relative_ones():
    assert links("(see https://github.com/o/r/blob/m/a_(b).ipynb), https://x.example/c.") == [
        "https://github.com/o/r/blob/m/a_(b).ipynb",
        "https://x.example/c",
    ]
    text = "[a](./train.py) [b](src/fine%20tune.py) [c](<n2.ipynb>) [d](../up.py) [e](/etc/x.py) [f](n.ipynb#top) [g](README.md)"
    base = "https://h/o/m/resolve/abc/"
    assert relative_scripts(text, base) == [
        f"{base}train.py",
        f"{base}src/fine%20tune.py",
        f"{base}n2.ipynb",
        f"{base}n.ipynb",
    ]


@pytest.mark.parametrize(
    ("link", "listing"),
    [
        ("https://github.com/o/r", "https://api.github.com/repos/o/r/contents"),
        ("https://github.com/o/r.git", "https://api.github.com/repos/o/r/contents"),
        ("https://github.com/o/r/tree/main", "https://api.github.com/repos/o/r/contents?ref=main"),
        ("https://github.com/o/r/tree/v1/a%20b/c", "https://api.github.com/repos/o/r/contents/a%20b/c?ref=v1"),
        ("https://github.com/huggingface/trl", None),
        ("https://github.com/o/r/issues/1", None),
        ("https://github.com/o/../tree/main/x", None),
        ("https://github.com/o/{{r}}", None),
        ("https://gitlab.com/o/r", None),
    ],
)
def test_links_to_folders(link, listing):
    assert folder_url(link) == listing


def test_those_named_after_training_come_first():
    found = scripts(
        [f"https://github.com/o/r/blob/main/{name}" for name in ("app.py", "run_lora.py", "x.ipynb", "app.py")]
    )
    assert [url.rsplit("/", 1)[-1] for url in found.files] == ["run_lora.py", "app.py", "x.ipynb"]


def test_a_notebook_on_a_drive_is_named_as_not_read():
    found = scripts(["https://colab.research.google.com/drive/1AbC?usp=sharing"])
    assert found.files == [] and "Google Drive" in found.apart[0][1]


def test_papers():
    assert paper_ids(
        [
            "arxiv:1905.11946",
            "https://huggingface.co/papers/2105.15203",
            "https://arxiv.org/html/2201.03545v2",
            "https://doi.org/10.48550/arXiv.2103.13413",
            "https://arxiv.org/abs/../../x",
        ]
    ) == ["1905.11946", "2105.15203", "2201.03545", "2103.13413"]
