"""Versions that sources ask for."""

from __future__ import annotations

import pytest

from tunegate.recipe import extract, needs
from tunegate.recipe.card import extract_card

HEAD = "ForImageClassification"


def test_versions_that_a_script_asks_for():
    text = (
        '# /// script\n# dependencies = [\n#     "transformers @ git+https://x/y",\n#     "albumentations >= 1.4.16",\n#     "timm",\n# ]\n# ///\n'
        "import os, numpy as np\nfrom . import near\ncheck_min_version('5.30.0.dev0')\nrequire_version('datasets>=2.14.0', 'To fix: rm -rf /')\n"
        "require_version(name)\ncheck_min_version('1; rm -rf /')\n"
    )
    found = extract.extract_script("https://x/run.py", text, HEAD)
    assert found.requires == {"transformers": ">=5.30.0.dev0", "datasets": ">=2.14.0", "albumentations": ">=1.4.16"}
    assert found.imports == ["numpy"]
    note = needs.note(found.requires, {}, {"transformers": "5.23.0", "datasets": "5.2.0"})
    assert note == "asks for transformers>=5.30.0.dev0 (here 5.23.0)"


def test_versions_in_a_card():
    text = (
        "---\na: 1\n---\nNeeds `transformers==4.36.2`, (peft>=0.7). Not evil==1.0.\n"
        "```bash\npip install -q 'trl<1' albumentations==1.4.6\n```\n"
        "### Framework versions\n\n- Transformers 4.36.2\n- Pytorch: 2.1.0+cu118\n- Evil; rm: -rf\n"
    )
    found = extract_card(text, HEAD).extraction
    assert found.requires == {"transformers": "==4.36.2", "peft": ">=0.7", "trl": "<1", "albumentations": "==1.4.6"}
    assert found.written_with == {"transformers": "4.36.2", "torch": "2.1.0+cu118"}
    note = needs.note(found.requires, found.written_with, {"transformers": "5.23.0", "trl": "1.16.0", "peft": "0.21.2"})
    assert note == (
        "asks for transformers==4.36.2 (here 5.23.0), trl<1 (here 1.16.0) "
        "and was written with transformers 4.36.2 (here 5.23.0)"
    )


def test_versions_that_fit_are_no_news():
    assert needs.note({"transformers": ">=5.9"}, {"transformers": "5.1.0"}, {"transformers": "5.23.0"}) == ""
    assert needs.note({"torch": ">=9"}, {"torch": "1.0"}, {"torch": "2.13.0"}) == ""  # the container's own


@pytest.mark.parametrize(
    "text",
    [
        "# /// script\n# dependencies = 3\n# ///\n",
        "# /// script\n# dependencies = [1, {}]\n# ///\n",
        "# /// script\n# dependencies = [" + "[" * 5000,
        "# /// script\nnot a comment",
        "# /// script",
        "check_min_version()\nrequire_version(1)\nrequire_version('x' * 9)",
    ],
)
def test_what_is_no_requirement_is_none(text):
    assert needs.script_block(text) == {} and extract.extract_script("https://x/a.py", text, HEAD).requires == {}


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("!pip install -q transformers==4.37 'peft>0.5'", {"transformers": "==4.37", "peft": ">0.5"}),
        ("%pip install trl<1\n$ uv pip install \\\n  accelerate~=1.0", {"accelerate": "~=1.0", "trl": "<1"}),
        ("pip install transformers==4.37; rm -rf /", {}),
        ("pip install 'unclosed==1", {}),
        ("echo transformers==4.37", {}),
        ("pip install git+https://github.com/x/y.git@v1==2 --index-url=https://evil.example/==1", {}),
    ],
)
def test_pip_commands(text, asked):
    assert needs.installed_by(text) == asked
