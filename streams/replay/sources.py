"""Opens what a path leads to (files, directories, gzip, tar) as one run of streams; nothing is extracted to disk."""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

MAX_FILE_BYTES = 8 << 30
MAX_NESTING = 4
MAX_TAR_HEADER_BYTES = 1 << 20
# What reading a damaged or hostile file raises; RecursionError is tarfile's answer to a run of long-name headers.
READ_ERRORS = (OSError, EOFError, zlib.error, tarfile.TarError, RecursionError)
_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_TAR_AT, _TAR = 257, b"ustar"
_LONG_HEADERS = frozenset({tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, b"X"})


class TooLarge(OSError):
    """A file holds more text than one file may."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file, archive member or record that could not be read, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Other:
    """Something that is no log and does not pretend to be one, such as a README in an archive."""

    name: str
    why: str


class Stream:
    """Bytes in order, with a look ahead; never more than ``limit_bytes`` in all."""

    def __init__(self, read: Callable[[int], bytes], limit_bytes: int = MAX_FILE_BYTES) -> None:
        self._source = read
        self._ahead = b""
        self._left_bytes = limit_bytes

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only at the end; they stay unread."""
        while len(self._ahead) < size:
            chunk = self._pull(size - len(self._ahead))
            if not chunk:
                break
            self._ahead += chunk
        return self._ahead[:size]

    def read(self, size: int = 65_536) -> bytes:
        """Between 1 and ``size`` bytes, none at the end.

        Raises:
            TooLarge: beyond the limit.
        """
        if self._ahead:
            taken, self._ahead = self._ahead[:size], self._ahead[size:]
            return taken
        return self._pull(size)

    def _pull(self, size: int) -> bytes:
        chunk = self._source(size)
        self._left_bytes -= len(chunk)
        if self._left_bytes < 0:
            raise TooLarge(f"holds more than {MAX_FILE_BYTES >> 30} GiB of text: split it")
        return chunk


@dataclass(frozen=True, slots=True)
class Leaf:
    """One file's text; it must be read before the next one is asked for. ``named``: it stood on the command line."""

    name: str
    stream: Stream
    named: bool


def leaves(paths: Sequence[Path]) -> Iterator[Leaf | Unreadable | Other]:
    """Every file below the paths, directories in order of name, archives in their own order."""
    for path in paths:
        if path.is_dir():
            for entry in _walk(path):
                yield from _file(entry, named=False)
        else:
            yield from _file(path, named=True)


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        yield from (entry for name in sorted(files) if (entry := Path(parent, name)).is_file())


def explain(error: BaseException) -> str:
    """A damaged file's error as one short line."""
    if isinstance(error, RecursionError):
        return "an archive with a chain of long names"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join((text or type(error).__name__).split())[:200]


def _file(path: Path, *, named: bool) -> Iterator[Leaf | Unreadable | Other]:
    try:
        with path.open("rb") as raw:
            yield from _opened(str(path), Stream(raw.read, limit_bytes=1 << 62), 0, named=named)
    except READ_ERRORS as error:
        yield Unreadable(str(path), explain(error))


def _opened(name: str, stream: Stream, depth: int, *, named: bool) -> Iterator[Leaf | Unreadable | Other]:
    head = stream.peek(_TAR_AT + len(_TAR))
    if depth > MAX_NESTING:
        yield Unreadable(name, f"archives nested more than {MAX_NESTING} deep")
    elif head.startswith(_GZIP):
        unzipped = gzip.GzipFile(fileobj=cast("Any", _Exact(stream)))
        yield from _guarded(name, Stream(unzipped.read, limit_bytes=1 << 62), depth + 1, named=named)
    elif head[_TAR_AT:] == _TAR:
        yield from _members(name, stream, depth + 1)
    elif head.startswith(_ZIP):
        yield Unreadable(name, "a zip archive: repack it as tar or gzip")
    else:
        yield Leaf(name, Stream(stream.read), named)


def _guarded(name: str, stream: Stream, depth: int, *, named: bool) -> Iterator[Leaf | Unreadable | Other]:
    try:
        yield from _opened(name, stream, depth, named=named)
    except READ_ERRORS as error:
        yield Unreadable(name, explain(error))


def _members(name: str, stream: Stream, depth: int) -> Iterator[Leaf | Unreadable | Other]:
    exact = cast("Any", _Exact(stream))
    try:
        with tarfile.open(fileobj=exact, mode="r|", tarinfo=_StrictTarInfo) as archive:
            for member in archive:
                yield from _member(name, archive, member, depth)
                # tarfile remembers every member; an archive of millions must not fill the memory.
                archive.members = []  # type: ignore[attr-defined]
    except READ_ERRORS as error:
        yield Unreadable(name, explain(error))


def _member(
    name: str, archive: tarfile.TarFile, member: tarfile.TarInfo, depth: int
) -> Iterator[Leaf | Unreadable | Other]:
    label = f"{name}!{member.name}"
    if member.isdir():
        return
    if not member.isreg():
        yield Other(label, "a link or a device: not followed")
        return
    content = archive.extractfile(member)
    if content is not None:
        yield from _guarded(label, Stream(content.read, limit_bytes=1 << 62), depth, named=False)


class _Exact:
    """A file object for readers that expect ``read(n)`` to return n bytes until the end."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0 and (chunk := self._stream.read(min(size, 65_536))):
            parts.append(chunk)
            size -= len(chunk)
        return b"".join(parts)


class _StrictTarInfo(tarfile.TarInfo):
    """Says loudly what tarfile takes for the end of an archive, and refuses headers that would fill the memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise
            raise tarfile.ReadError(f"a damaged or cut archive ({error}): the rest of it was not read") from error
        if info.type in _LONG_HEADERS and info.size > MAX_TAR_HEADER_BYTES:
            raise tarfile.ReadError("an archive header of more than 1 MiB: the rest of it was not read")
        return info
