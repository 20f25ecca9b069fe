"""Names of somebody else's in shell commands and Markdown: what the shell, docker and a Markdown reader take them for."""

from __future__ import annotations

import csv
import io
import re
import shlex
import subprocess

import pytest

from tests.sealed import CONFIG
from tunegate import quoting

NAMES = (
    "plain",
    "a b",
    "$(id)",
    "`id`",
    "a'b",
    'a"b',
    "a\nb",
    "a\\",
    "a,b",
    "a:b",
    "-rf",
    "*",
    "ü",
    "a;b",
    "a\r\nb",
    "",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_shell_reads_the_words_back(name):
    line = quoting.shell(["printf", "%s|", name, "end"])
    assert subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout.decode() == f"{name}|end|"


@pytest.mark.parametrize("name", NAMES)
def test_docker_reads_the_path_back(name):
    [word] = shlex.split(quoting.bind_mount(f"/data/{name}"))
    [fields] = csv.reader(io.StringIO(word, newline=""))
    assert fields == ["type=bind", f"source=/data/{name}", f"target=/data/{name}", "readonly"]


@pytest.mark.parametrize("text", ["", "a", "`", "```", "a\n````\nb", "``` `````"])
def test_a_fence_is_longer_than_any_within(text):
    fence = quoting.fence(text)
    assert len(fence) >= 3 and set(fence) == {"`"} and fence not in text


def test_names_that_match_are_replaced_and_nothing_else():
    own = CONFIG.model_copy(update={"class_names": ["TODO", "cat"], "column_map": {"image": "TODO"}, "n_train": 7})
    found = quoting.without(own, re.compile("TODO"))
    assert found.class_names == ["x", "cat"] and found.column_map == {"image": "x"} and found.n_train == 7
    assert quoting.without(CONFIG, re.compile("TODO")) == CONFIG
