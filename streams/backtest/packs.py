"""The pack to try: read from its YAML, with single values of it changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from models.policy import CompiledPack, InvalidPack, compile_pack


class InvalidChange(ValueError):
    """A change of a pack's value cannot be made; the message is one line."""


def changed(source: str, changes: Iterable[str]) -> CompiledPack:
    """Compile a pack's YAML with changes such as ``bands.slow.at=5`` or ``rules.deploy-pauses.verdict=guide``.

    A rule is named by its id. What a change leads to is checked as any pack is; the pack's hash is that of the changed
    content.

    Raises:
        InvalidPack: with the line of the source.
        InvalidChange: where the path leads nowhere, or what it leads to is wrong.
    """
    wanted = list(changes)
    original = compile_pack(source)
    if not wanted:
        return original
    root: Any = yaml.compose(source, Loader=yaml.SafeLoader)
    for change in wanted:
        path, found, value = change.partition("=")
        if not found:
            raise InvalidChange(f"--set {change!r}: expected PATH=VALUE, such as bands.slow.at=5")
        leaf = _leaf(root, path, path)
        # Quoted, it stays the scalar that was typed, whatever characters it has; a pack reads all scalars as text.
        leaf.value, leaf.tag, leaf.style = value, "tag:yaml.org,2002:str", '"'
    try:
        return compile_pack(yaml.serialize(root, Dumper=yaml.SafeDumper, allow_unicode=True))
    except InvalidPack as error:
        raise InvalidChange(f"--set: {error.field}: {error.expected}") from error


def _leaf(node: Any, path: str, whole: str) -> Any:
    """The scalar that a dotted path leads to; keys and ids may hold dots themselves, so the longest that fits wins."""
    if not path:
        if not isinstance(node, yaml.ScalarNode):
            raise InvalidChange(f"--set {whole}: expected the path of a single value")
        return node
    below = [(name, child) for name, child in _children(node) if f"{path}.".startswith(f"{name}.")]
    if not below:
        known = ", ".join(name for name, _ in _children(node))
        raise InvalidChange(f"--set {whole}: expected one of {known or 'nothing more'} at {path!r}")
    name, child = max(below, key=_length)
    return _leaf(child, path[len(name) + 1 :], whole)


def _length(found: tuple[str, Any]) -> int:
    return len(found[0])


def _children(node: Any) -> list[tuple[str, Any]]:
    if isinstance(node, yaml.MappingNode):
        return [(str(key.value), child) for key, child in node.value]
    if isinstance(node, yaml.SequenceNode):
        ids = [(dict(_children(child)).get("id"), child) for child in node.value]
        return [(str(found.value), child) for found, child in ids if isinstance(found, yaml.ScalarNode)]
    return []
