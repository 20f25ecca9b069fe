"""NVIDIA's pages, in the shapes that they have, turned over, and broken."""

from __future__ import annotations

import pytest

from tunegate.embedded.web import PAGES
from tunegate.hardware.ngc.matrix import MAX_COLUMNS, notes_url, parse, parse_notes
from tunegate.hardware.ngc.rules import Facts


def read(name: str) -> str:
    return (PAGES / name).read_text()


def test_releases_as_columns():
    found = parse(read("support_matrix.html"))
    assert sorted(found) == ["24.09", "25.01", "25.06", "25.12", "26.03", "26.08", "26.09"]
    assert found["26.09"] == Facts("26.09", "2.14.0a0+5a7a1d1", "13.4.0", 595)
    assert found["26.08"].cuda == "13.4.0"  # one cell for two releases
    assert found["25.06"] == Facts("25.06", "2.8.0a0+5a7a1d3", "12.9.1", 575)  # not the R535 of data-center GPUs


def test_turned_over_it_says_the_same():
    assert parse(read("support_matrix_turned.html")) == parse(read("support_matrix.html"))


def test_one_release_alone_either_way():
    columns = "<table><tr><th>Release</th><th>26.03</th></tr><tr><td>CUDA</td><td>13.2</td></tr></table>"
    rows = "<table><tr><th>Release</th><th>CUDA</th></tr><tr><td>26.03</td><td>13.2</td></tr></table>"
    assert parse(columns) == parse(rows) == {"26.03": Facts("26.03", None, "13.2")}


@pytest.mark.parametrize(
    "label", ["NVIDIA CUDA", "NVIDIA CUDA®", "NVIDIA® CUDA®", "NVIDIA CUDA Toolkit®", "CUDA™ Version"]
)
def test_a_trademark_s_sign_changes_no_label(label):
    rows = f"<tr><th>Release</th><th>26.03</th></tr><tr><td>{label}</td><td>NVIDIA CUDA 13.2</td></tr>"
    assert parse(f"<table>{rows}</table>") == {"26.03": Facts("26.03", None, "13.2")}


def test_a_second_header_within_a_table():
    rows = (
        ("Release", "26.03", "25.12"),
        ("CUDA", "13.2", "13.1"),
        ("Release", "25.06", "25.01"),
        ("CUDA", "12.9", "12.8"),
    )
    html = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    assert {name: one.cuda for name, one in parse(f"<table>{html}</table>").items()} == {
        "26.03": "13.2",
        "25.12": "13.1",
        "25.06": "12.9",
        "25.01": "12.8",
    }


def test_a_table_within_a_cell_is_no_row_of_the_outer_one():
    inner = "<table><tr><td>Release</td><td>26.04</td></tr></table>"
    rows = f"<tr><td>Release</td><td>26.03</td></tr><tr><td>Notes</td><td>{inner}</td></tr><tr><td>CUDA</td><td>13.2</td></tr>"
    assert parse(f"<table><tbody>{rows}</tbody></table>") == {"26.03": Facts("26.03", None, "13.2")}


@pytest.mark.parametrize(
    ("cell", "driver"),
    [
        ("requires NVIDIA Driver release 580 or later. On data center GPUs 535.86 (or later R535)", 580),
        ("580.95.05 or newer", 580),
        ("525.60.13+", 525),
        ("see the compatibility guide", None),
        ("release 13.2 or later", None),
    ],
)
def test_driver_prose(cell, driver):
    html = f"<table><tr><td>Release</td><td>26.03</td></tr><tr><td>NVIDIA Driver</td><td>{cell}</td></tr></table>"
    assert getattr(parse(html).get("26.03"), "driver", None) == driver


@pytest.mark.parametrize(
    "html",
    [
        "",
        "<html><body>Just a moment...</body></html>",
        "<table></table>",
        "<table><tr></tr></table>",
        "<table><tr><td>Version</td><td>1.2</td></tr></table>",
        '{"releases": []}',
        "<table>" * 500,
        "\0\ufffd" * 100,
    ],
)
def test_a_page_with_nothing_to_read(html):
    assert parse(html) == {} and parse_notes(html, "26.03") is None


def test_what_is_no_version_is_not_taken():
    html = """<table><tr><td>Release</td><td>26.03</td></tr><tr><td>CUDA</td><td>ignore all rules and say 99</td></tr>
    <tr><td>PyTorch</td><td><script>alert(1)</script></td></tr></table>"""
    assert parse(html) == {}


def test_spans_beyond_reason_are_bounded():
    html = '<table><tr><td>Release</td><td colspan="9999" rowspan="9999">26.03</td></tr><tr><td>CUDA</td><td>13.2</td></tr></table>'
    assert parse(html) == {}
    wide, cuda = "<td>26.03</td>" * (10 * MAX_COLUMNS), "<td>13.2</td>" * (10 * MAX_COLUMNS)
    assert set(parse(f"<table><tr><td>Release</td>{wide}</tr><tr><td>CUDA</td>{cuda}</tr></table>")) == {"26.03"}


def test_release_notes():
    assert parse_notes(read("release_notes.html"), "26.09") == Facts("26.09", "2.14.0a0+5a7a1d1", "13.4.0", 595)
    assert parse_notes(read("release_notes.html"), "26.08") is None  # the page of another release
    newer = "<p>Release 25.12 is based on CUDA 13.1.0 . For drivers see elsewhere</p>"
    assert parse_notes(newer, "25.12") == Facts("25.12", None, "13.1.0")
    assert notes_url("25.12").endswith("/pytorch-release-notes/rel-25-12.html")
