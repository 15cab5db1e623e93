"""Finds the JSON records in a stream: JSON lines, one document, or an array of any length, in bounded memory."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from streams.replay.sources import READ_ERRORS, Leaf, Other, Stream, Unreadable, explain

MAX_RECORD_BYTES = 4 << 20
_HEAD_BYTES = 256 << 10
_CHUNK_BYTES = 64 << 10
_BOM = b"\xef\xbb\xbf"
_LOG_NAMES = (".json", ".jsonl", ".ndjson", ".log")
_SPACE = " \t\r\n"
_DECODER = json.JSONDecoder()


class Malformed(ValueError):
    """The text is not JSON, or one record of it is too long."""


@dataclass(frozen=True, slots=True)
class Found:
    """One record: its place in its file, counted from 0, and its value."""

    name: str
    position: int
    value: Any


def records(leaf: Leaf) -> Iterator[Found | Unreadable | Other]:
    """The records of one file in order; what cannot be read is said and counted, and never fatal.

    A damaged line costs itself; a damage inside a document, or a record of more than 4 MiB, costs the rest of its file.
    """
    position = 0
    try:
        for value in _values(leaf):
            if isinstance(value, (Unreadable, Other)):
                yield value
                continue
            for inner in wrapped(value):
                yield Found(leaf.name, position, inner)
                position += 1
    except (Malformed, *READ_ERRORS) as error:
        yield Unreadable(f"{leaf.name} after record {position}", explain(error))


def wrapped(value: Any) -> list[Any]:
    """The events in a delivery: CloudTrail's ``Records``, Kubernetes' ``EventList``; else the value itself."""
    if isinstance(value, dict):
        if isinstance(value.get("Records"), list):
            return list(value["Records"])
        if value.get("kind") == "EventList" and isinstance(value.get("items"), list):
            return list(value["items"])
    return [value]


def _values(leaf: Leaf) -> Iterator[Any]:
    head = leaf.stream.peek(_HEAD_BYTES).removeprefix(_BOM)
    if not head.strip():
        if leaf.stream.peek(_HEAD_BYTES + 1)[_HEAD_BYTES:]:
            yield Unreadable(leaf.name, "only white space at its beginning")
        return
    shape = _shape(head)
    if shape == "lines":
        yield from _lines(leaf)
    elif shape == "document":
        yield from Document(leaf.stream).values()
    elif leaf.named or leaf.name.removesuffix(".gz").endswith(_LOG_NAMES):
        yield Unreadable(leaf.name, "holds no JSON")
    else:
        yield Other(leaf.name, "holds no JSON")


def _shape(head: bytes) -> str:
    """``lines``, ``document`` or nothing, from the first 256 KiB."""
    text = head.lstrip()
    lines = text.split(b"\n")
    if text[:1] == b"[":
        return "document"
    if text[:1] != b"{":
        return "lines" if any(_is_object(line) for line in lines[:1_000]) else ""
    if len(lines) == 1 or _is_object(lines[0]):
        return "document" if len(lines) == 1 else "lines"
    opens_more = lines[0].rstrip().endswith((b"{", b"[", b","))
    return "lines" if not opens_more and _is_object(lines[1]) else "document"


def _is_object(line: bytes) -> bool:
    try:
        return line.lstrip()[:1] == b"{" and isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def _lines(leaf: Leaf) -> Iterator[Any]:
    for number, line in enumerate(_split(leaf.stream), start=1):
        text = line.removeprefix(_BOM).strip() if number == 1 else line.strip()
        if not text:
            continue
        try:
            yield orjson.loads(text)
        except orjson.JSONDecodeError as error:
            yield Unreadable(f"{leaf.name} line {number}", f"not JSON: {error.msg}")


def _split(stream: Stream) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(_CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
        if len(rest) > MAX_RECORD_BYTES:
            raise Malformed("a line of more than 4 MiB: the rest of the file was not read")
    if rest:
        yield rest


class Document:
    """Reads JSON values piece by piece; holds one record at a time, at most 4 Mi characters of it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._text = ""
        self._at = 0
        self._dropped = 0
        self._ended = False

    def values(self) -> Iterator[Any]:
        """The values at the top, an array's elements and a ``Records`` array's elements one by one.

        Raises:
            Malformed: where the text stops being JSON.
        """
        while character := self._next():
            if character == "[":
                yield from self._elements()
            elif character == "{":
                yield from self._object()
            else:
                raise Malformed("expected an object or an array")

    def _object(self) -> Iterator[Any]:
        start = self._dropped + self._at
        self._at += 1
        held: dict[str, Any] = {}
        streamed = False
        while (character := self._next()) != "}":
            if held or streamed:
                self._expect(character, ",")
                self._next()
            key = self._value()
            if not isinstance(key, str):
                raise Malformed("not JSON: expected a key in quotes")
            self._expect(self._next(), ":")
            if self._next() == "[" and _holds_events(key, held):
                streamed = True
                yield from self._elements()
                start = self._dropped + self._at
            else:
                held[key] = self._value()
            if self._dropped + self._at - start > MAX_RECORD_BYTES:
                raise Malformed("a record of more than 4 MiB: the rest of the file was not read")
        self._at += 1
        if not streamed:
            yield held

    def _elements(self) -> Iterator[Any]:
        self._at += 1
        first = True
        while (character := self._next()) != "]":
            if not first:
                self._expect(character, ",")
            first = False
            yield self._value()
        self._at += 1

    def _expect(self, character: str, wanted: str) -> None:
        if character != wanted:
            raise Malformed(f"not JSON: expected {wanted!r}" + ("" if character else ", found the end of the file"))
        self._at += 1

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if self._ended:
                    raise Malformed(f"not JSON: {getattr(error, 'msg', 'too long or too deep')}") from error
            else:
                # A number at the very end of what was read may go on in what comes next.
                if end < len(self._text) or self._ended:
                    self._at = end
                    return value
            if len(self._text) - self._at > MAX_RECORD_BYTES:
                raise Malformed("not JSON, or a record of more than 4 MiB: the rest of the file was not read")
            self._more()

    def _next(self) -> str:
        """The next character that is not white space, still unread; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if self._ended:
                return ""
            self._more()

    def _more(self) -> None:
        """Read on, as much again as is held: a record of n characters is tried log n times."""
        self._dropped += self._at
        self._text, self._at = self._text[self._at :], 0
        wanted = max(_CHUNK_BYTES, len(self._text))
        parts = [self._text]
        while wanted > 0 and not self._ended:
            chunk = self._stream.read(min(wanted, _CHUNK_BYTES))
            self._ended = not chunk
            parts.append(self._decode(chunk, self._ended))
            wanted -= len(chunk)
        self._text = "".join(parts)


def _holds_events(key: str, held: dict[str, Any]) -> bool:
    return key == "Records" or (key == "items" and held.get("kind") == "EventList")
