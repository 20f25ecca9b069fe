"""robots.txt, read as RFC 9309 defines it."""

from __future__ import annotations

import time

import pytest

from tunegate.clients.web.robots import parse

FILE = """\ufeff# a comment
User-agent: someone
Disallow: /

user-agent: *   # everyone else
DISALLOW: /*/tree/
Disallow: /search
Allow: /search/about
Disallow: /*.atom$
Disallow:
nonsense
Crawl-delay: 15

Disallow: /late
"""


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", True),
        ("/o/r/blob/main/train.py", True),
        ("/o/r/tree/main", False),
        ("/o/r/tre%65/main", False),
        ("/search?q=x", False),
        ("/search/about", True),
        ("/o/feed.atom", False),
        ("/o/feed.atom?x=1", True),
        ("/late", False),
    ],
)
def test_the_longest_pattern_decides(path, allowed):
    assert parse(FILE).allow(path) is allowed


def test_a_group_that_names_us_goes_before_the_one_for_everyone():
    text = (
        "User-agent: *\nDisallow: /\n\nUser-agent: TuneGate\nUser-agent: other\nDisallow: /private\nAllow: /private/x\n"
    )
    rules = parse(text)
    assert rules.allow("/x") and not rules.allow("/private/y") and rules.allow("/private/x")
    assert not parse(text, "nobody").allow("/x")


@pytest.mark.parametrize(("value", "delay"), [("15", 15.0), ("0.5", 0.5), ("-1", 0.0), ("nan", 0.0), ("soon", 0.0)])
def test_crawl_delay(value, delay):
    assert parse(f"User-agent: *\nCrawl-delay: {value}\n").delay == delay


@pytest.mark.parametrize("text", ["", "<html>no such page</html>", "Disallow: /", "User-agent: *\n"])
def test_no_rule_for_us_allows(text):
    assert parse(text).allow("/x") and parse(text).delay == 0


def test_a_hostile_file_is_read_quickly():
    started = time.monotonic()
    rules = parse("User-agent: *\n" + ("Disallow: /" + "*a" * 100 + "$\n") * 5000 + "x" * 5_000_000)
    assert rules.allow("/" + "a" * 99) and not rules.allow("/" + "a" * 100)
    assert time.monotonic() - started < 5


def test_no_more_of_a_file_is_read_than_the_rfc_asks_for():
    assert parse("User-agent: *\n" + "# x\n" * 200_000 + "Disallow: /\n").allow("/x")


def test_a_path_that_looks_like_a_host_is_a_path():
    assert not parse("User-agent: *\nDisallow: /\n").allow("https://github.com//evil/x")
