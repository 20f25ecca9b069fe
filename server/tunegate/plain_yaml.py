"""YAML of strangers: neither aliases, with which a few lines stand for gigabytes, nor numbers as long as a page.

YAML 1.1 reads 1:1:1:... as a number to the base of 60, which takes minutes for some hundred kB.
"""

from __future__ import annotations

import yaml

LONGEST_NUMBER = 100  # characters; a float64 and a 64-bit integer need a quarter of it


class PlainLoader(yaml.SafeLoader):
    """SafeLoader without aliases; a plain scalar longer than any number is text. Raises ConstructorError with the line."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(
                None, None, "YAML aliases are not allowed", self.peek_event().start_mark
            )
        return super().compose_node(parent, index)

    def resolve(self, kind, value, implicit):
        if kind is yaml.ScalarNode and implicit[0] and len(value) > LONGEST_NUMBER:
            implicit = (False, True)
        return super().resolve(kind, value, implicit)

    def short(self, node):
        """A scalar that is said to be a number, or a date, by a tag."""
        if isinstance(node, yaml.ScalarNode) and len(node.value) > LONGEST_NUMBER:
            told = f"a number of {len(node.value):,} characters"
            raise yaml.constructor.ConstructorError(None, None, told, node.start_mark)
        return yaml.SafeLoader.yaml_constructors[node.tag](self, node)


for _tag in ("int", "float", "timestamp"):
    PlainLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", PlainLoader.short)
