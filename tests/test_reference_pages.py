from __future__ import annotations

import pytest

from tunegate.reference_pages import parse

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
