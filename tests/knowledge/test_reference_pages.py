from __future__ import annotations

import pytest

from tunegate.knowledge import reference_pages
from tunegate.knowledge.reference_pages import parse

PAGE = """# Title

Intro.

## some-id

One line.

- **Symptom:** seen
  over two lines
- **Holds for:** all (https://example.org/a), https://example.org/b

```yaml
key: [1, 2]
```
"""


def test_parse():
    (section,) = parse(PAGE)
    assert (section.id, section.title, section.data) == ("some-id", "One line.", {"key": [1, 2]})
    assert section.labels["symptom"] == "seen over two lines"
    assert section.urls("holds for") == ["https://example.org/a", "https://example.org/b"]


@pytest.mark.parametrize(
    "text",
    [
        PAGE.replace("some-id", "Some Title"),
        PAGE.replace("```yaml", "```"),
        PAGE + PAGE[PAGE.index("## ") :],
        PAGE.replace("key: [1, 2]", "just text"),
    ],
)
def test_malformed_pages_are_refused(text):
    with pytest.raises(ValueError):
        parse(text)


def test_table(tmp_path, monkeypatch):
    monkeypatch.setattr(reference_pages, "data_dir", lambda name: tmp_path)
    (tmp_path / "p.md").write_text(
        "# T\n\n| other | x |\n|---|---|\n| 1 | 2 |\n\n| a | b c |\n|---|---|\n| `1` | 2 |\n| 3 | |\n\nend\n"
    )
    assert reference_pages.table("p.md", "a") == [{"a": "1", "b c": "2"}, {"a": "3", "b c": ""}]
    with pytest.raises(ValueError, match="no table"):
        reference_pages.table("p.md", "b")
    (tmp_path / "p.md").write_text("| a | b |\n|---|---|\n| 1 |\n")
    with pytest.raises(ValueError):
        reference_pages.table("p.md", "a")


def test_the_date_of_a_page():
    assert len(reference_pages.written("hardware-container.md")) == len("2026-11-22")
