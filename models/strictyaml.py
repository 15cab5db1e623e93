"""YAML read strictly: no aliases or tags, no key twice, nothing unknown, and each mistake with its line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import yaml

MAX_SOURCE = 200_000
MAX_NESTING = 12
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"-?[0-9]{1,12}")
_DECIMAL = re.compile(r"-?[0-9]{1,6}(\.[0-9]{1,6})?")


class InvalidPack(Exception):
    """A policy pack is wrong.

    Attributes:
        line: the line in its source, counted from 1.
        field: where, as a dotted path (``rules.2.when``).
        expected: what would have been right.
    """

    def __init__(self, line: int, field: str, expected: str) -> None:
        """Name the line, the field and what was expected there."""
        super().__init__(f"line {line}: {field}: {expected}")
        self.line = line
        self.field = field
        self.expected = expected


class Node:
    """A YAML node with its path; every reader raises InvalidPack with this node's line."""

    __slots__ = ("_node", "path")

    def __init__(self, node: Any, path: str) -> None:
        """Wrap a node of PyYAML."""
        self._node = node
        self.path = path

    def wrong(self, expected: str) -> InvalidPack:
        """The error that names this node."""
        return InvalidPack(self._node.start_mark.line + 1, self.path or "pack", expected)

    def fields(self, required: str, optional: str = "") -> dict[str, Node]:
        """A mapping's values by key; the arguments list the allowed keys, separated by spaces."""
        if not isinstance(self._node, yaml.MappingNode):
            raise self.wrong("expected a mapping")
        found: dict[str, Node] = {}
        allowed = [*required.split(), *optional.split()]
        for key, node in self._pairs():
            if key not in allowed:
                raise Node(node, self._below(key)).wrong(f"expected one of {', '.join(allowed)}")
            found[key] = node if isinstance(node, Node) else Node(node, self._below(key))
        for key in required.split():
            if key not in found:
                raise self.wrong(f"expected the key {key}")
        return found

    def mapping(self) -> dict[str, Node]:
        """A mapping with any keys."""
        if not isinstance(self._node, yaml.MappingNode):
            raise self.wrong("expected a mapping")
        return {key: Node(node, self._below(key)) for key, node in self._pairs()}

    def items(self, most: int, least: int = 1) -> list[Node]:
        """A sequence's items, ``least`` to ``most`` of them."""
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.wrong("expected a list")
        if not least <= len(self._node.value) <= most:
            raise self.wrong(f"expected {least} to {most} items")
        return [Node(node, self._below(str(position))) for position, node in enumerate(self._node.value)]

    def text(self, most: int, pattern: str | None = None) -> str:
        """A scalar as it is written (``no`` and ``1`` are text here), printable throughout."""
        if not isinstance(self._node, yaml.ScalarNode):
            raise self.wrong("expected text")
        value = str(self._node.value).strip()
        if not 0 < len(value.encode("utf-8", "surrogatepass")) <= most:
            raise self.wrong(f"expected text of 1 to {most} bytes")
        if not value.replace("\n", "").isprintable():
            raise self.wrong("expected printable text, without control or invisible characters")
        if pattern is not None and not re.fullmatch(pattern, value):
            raise self.wrong(f"expected text like {pattern}")
        return value

    def choice(self, allowed: tuple[str, ...]) -> str:
        """One of some words."""
        value = self.text(64)
        if value not in allowed:
            raise self.wrong(f"expected one of {', '.join(allowed)}")
        return value

    def flag(self) -> bool:
        """``true`` or ``false``."""
        return self.choice(("true", "false")) == "true"

    def integer(self, least: int, most: int) -> int:
        """A whole number."""
        value = self.text(16)
        if not _INTEGER.fullmatch(value) or not least <= int(value) <= most:
            raise self.wrong(f"expected a whole number from {least} to {most}")
        return int(value)

    def score(self) -> int:
        """A score in nats, such as 12 or 12.5, as whole 1/1024."""
        value = self.text(16)
        if not _DECIMAL.fullmatch(value) or not 0 < Decimal(value) <= 10_000:
            raise self.wrong("expected a score in nats above 0, such as 12 or 12.5")
        return int((Decimal(value) * 1024).to_integral_value())

    def each(self, most: int, read: Callable[[Node], str]) -> tuple[str, ...]:
        """A list of distinct texts."""
        values: list[str] = []
        for item in self.items(most):
            values.append(read(item))
            if values[-1] in values[:-1]:
                raise item.wrong("expected no item twice")
        return tuple(values)

    def _below(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _pairs(self) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for key_node, node in self._node.value:
            key = Node(key_node, self._below("key")).text(128)
            if key in seen:
                raise Node(key_node, self._below(key)).wrong("expected each key once")
            seen.add(key)
            yield key, node


def read_yaml(source: str) -> Node:
    """Compose one document.

    Raises:
        InvalidPack: for what is not YAML, too large, too deep, aliased or tagged.
    """
    if len(source) > MAX_SOURCE:
        raise InvalidPack(1, "pack", f"expected at most {MAX_SOURCE} characters")
    try:
        _survey(source)
        node = yaml.compose(source, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        line: int = getattr(error.problem_mark, "line", 0) + 1
        raise InvalidPack(line, "pack", f"expected YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise InvalidPack(1, "pack", f"expected YAML: {str(error).splitlines()[0]}") from None
    if node is None:
        raise InvalidPack(1, "pack", "expected a mapping, found nothing")
    return Node(node, "")


def _survey(source: str) -> None:
    depth = 0
    for event in yaml.parse(source, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        line: int = getattr(event.start_mark, "line", 0) + 1
        if depth > MAX_NESTING:
            raise InvalidPack(line, "pack", f"expected nesting of at most {MAX_NESTING}")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise InvalidPack(line, "pack", "expected no anchors or aliases")
        if getattr(event, "tag", None):
            raise InvalidPack(line, "pack", "expected no tags")
