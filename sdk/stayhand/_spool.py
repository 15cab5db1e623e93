"""The spool: what Kafka must still hear, kept in small local files so that a crash or an outage loses nothing."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from stayhand.errors import ConfigurationError

Kind = Literal["permit", "fallback"]
COMPACT_BYTES = 262_144
JOURNAL = "journal.jsonl"
LOCK = "lock"
_UNBORN = ".new-"
_UNBORN_AGE_S = 3_600
_log = logging.getLogger("stayhand.spool")


class SpoolRefused(Exception):
    """Nothing more can be kept: the spool is full, closed, or its disk fails."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that Kafka must hear: a permit that was acted on, later with its result, or a fallback.

    ``entry_id`` becomes the event's id, so that it counts once however often it is sent.
    """

    entry_id: str
    kind: Kind
    key: str
    at_ms: int
    decision_id: str = ""
    receipt: str = ""
    result: str = ""
    value: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def due(self) -> bool:
        """Whether it can be sent: a permit waits for its result."""
        return self.kind == "fallback" or self.result != ""


_ENTRY = TypeAdapter(Entry)


class Spool:
    """One append-only journal in a directory of its own, under a lock that ends with the process. Thread-safe.

    ``<root>/<prefix>/<point>/<id>/`` holds ``journal.jsonl`` (a line for each event) and ``lock``. A directory whose
    lock is free belonged to a process that ended; the next Guard of the same point takes its entries over.
    """

    def __init__(self, root: Path, prefix: str, point: str, size_max: int) -> None:
        """Make the directory and lock it.

        Raises:
            ConfigurationError: when no private folder can be made there.
        """
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._size_max = size_max
        self._live_bytes = 0
        self._size = 0
        self._dirty = False
        self._torn = False
        self._home = _private(root, root / prefix / (quote(point, safe="@") or "unsigned"))
        try:
            self._path, self._lock_fd = _claim(self._home)
            self._fd = _open_journal(self._path / JOURNAL)
        except OSError as error:
            raise ConfigurationError(f"spool_dir: make {self._home} writable ({error.strerror})") from error

    @property
    def path(self) -> Path:
        """This spool's own directory."""
        return self._path

    def put(self, entry: Entry, *, durable: bool = False) -> None:
        """Keep an entry; it survives the process at once, and the machine too if ``durable`` or after ``sync``.

        Raises:
            SpoolRefused: it is not kept.
        """
        with self._lock:
            self._append(asdict(entry))
            self._entries[entry.entry_id] = entry
            self._live_bytes += _length(entry)
        if durable:
            self.sync()

    def finish(self, entry_id: str, result: str) -> Entry | None:
        """Note a permit's result; None if it has one or is unknown.

        Raises:
            SpoolRefused: the result is known now but not kept; it is still sent while the process lives.
        """
        with self._lock:
            entry = self._entries.get(entry_id)
            if entry is None or entry.result:
                return None
            finished = replace(entry, result=result)
            self._entries[entry_id] = finished
            self._live_bytes += _length(finished) - _length(entry)
            self._append({"entry_id": entry_id, "result": result})
            return finished

    def done(self, entry_id: str) -> None:
        """Kafka has it: forget it."""
        with self._lock:
            entry = self._entries.pop(entry_id, None)
            if entry is None:
                return
            self._live_bytes -= _length(entry)
            try:
                self._append({"entry_id": entry_id, "done": True})
            except SpoolRefused as error:
                _log.warning("%s was delivered and may be delivered again: %s", entry_id, error)

    def due(self) -> list[Entry]:
        """What can be sent now, oldest first."""
        with self._lock:
            return [entry for entry in self._entries.values() if entry.due]

    def __contains__(self, entry_id: str) -> bool:
        """Whether Kafka must still hear this entry."""
        return entry_id in self._entries

    def __len__(self) -> int:
        """How many entries are kept, due or not."""
        return len(self._entries)

    def sync(self) -> None:
        """Make all that was put so far survive a crash of the machine.

        Raises:
            SpoolRefused: the disk does not confirm it.
        """
        with self._lock:
            if not self._dirty or self._fd < 0:
                return
            self._dirty = False
            descriptor = os.dup(self._fd)
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise SpoolRefused(f"the spool's disk failed: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def adopt(self) -> int:
        """Take over the entries of processes that ended; how many. A permit without result becomes ``unknown``."""
        return sum(self._adopt(path) for path in sorted(self._home.iterdir()) if path != self._path)

    def close(self) -> None:
        """Let go of the lock; what is left waits for the next process, an empty directory goes."""
        with self._lock:
            if self._fd < 0:
                return
            if self._entries:
                os.fsync(self._fd)
            else:
                shutil.rmtree(self._path, ignore_errors=True)
            self._release()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's files without a word on disk; takes no lock."""
        if self._fd >= 0:
            self._release()

    def _release(self) -> None:
        os.close(self._fd)
        os.close(self._lock_fd)
        self._fd = self._lock_fd = -1

    def _append(self, line: dict[str, Any]) -> None:
        if self._fd < 0:
            raise SpoolRefused("the spool is closed")
        raw = b"\n" * self._torn + _encode(line)
        if self._size + len(raw) > self._size_max or self._size > COMPACT_BYTES + 2 * self._live_bytes:
            self._compact()
        if self._size + len(raw) > self._size_max:
            raise SpoolRefused("the spool is full")
        try:
            _write_all(self._fd, raw)
        except OSError as error:
            self._torn = True
            raise SpoolRefused(f"the spool's disk failed: {error.strerror}") from error
        self._torn = False
        self._size += len(raw)
        self._dirty = True

    def _compact(self) -> None:
        """Write what is live to a new file and put it in the old one's place."""
        target = self._path / f"{JOURNAL}.new"
        try:
            target.unlink(missing_ok=True)
            descriptor = _open_journal(target)
            raw = b"".join(_encode(asdict(entry)) for entry in self._entries.values())
            _write_all(descriptor, raw)
            os.fsync(descriptor)
            target.replace(self._path / JOURNAL)
            _sync_directory(self._path)
        except OSError as error:
            raise SpoolRefused(f"the spool's disk failed: {error.strerror}") from error
        os.close(self._fd)
        self._fd, self._size, self._live_bytes, self._torn = descriptor, len(raw), len(raw), False

    def _adopt(self, path: Path) -> int:
        if path.name.startswith(_UNBORN):
            _remove_unborn(path)
            return 0
        descriptor = _try_lock(path / LOCK)
        if descriptor is None:
            return 0
        try:
            entries = [_orphaned(entry) for entry in read_journal(path / JOURNAL)]
            for entry in entries:
                self.put(entry)
            self.sync()
            shutil.rmtree(path, ignore_errors=True)
        except (SpoolRefused, OSError) as error:
            _log.warning("the spool %s could not be taken over now: %s", path, error)
            return 0
        finally:
            os.close(descriptor)
        return len(entries)


def read_journal(path: Path) -> list[Entry]:
    """The entries that were not done; a line that was cut off at the end, or is no entry, is passed over."""
    entries: dict[str, Entry] = {}
    for line in _lines(path):
        entry_id = str(line.get("entry_id", ""))
        known = entries.get(entry_id)
        if line.get("done") is True:
            entries.pop(entry_id, None)
        elif "kind" in line:
            try:
                entries[entry_id] = _ENTRY.validate_python(line)
            except ValidationError:
                _log.warning("%s holds an entry that is none: %s", path, entry_id)
        elif known is not None and isinstance(line.get("result"), str):
            entries[entry_id] = replace(known, result=line["result"])
    return list(entries.values())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return
    *whole, _cut_off = raw.split(b"\n")
    for line in filter(None, whole):
        try:
            value = json.loads(line)
        except ValueError:
            _log.warning("%s holds a line that is not JSON; it is passed over", path)
            continue
        if isinstance(value, dict):
            yield value


def _orphaned(entry: Entry) -> Entry:
    return entry if entry.due else replace(entry, result="unknown")


def _encode(line: dict[str, Any]) -> bytes:
    return json.dumps({name: value for name, value in line.items() if value not in ("", {})}).encode() + b"\n"


def _length(entry: Entry) -> int:
    return len(_encode(asdict(entry)))


def _write_all(descriptor: int, raw: bytes) -> None:
    while raw:
        raw = raw[os.write(descriptor, raw) :]


def _open_journal(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _private(root: Path, home: Path) -> Path:
    """Make the folder for this user alone, and refuse one that another user could have prepared."""
    try:
        for path in (root, home.parent, home):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = path.stat()
            if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ConfigurationError(f"spool_dir: give a folder that only this user can write to, not {path}")
    except OSError as error:
        raise ConfigurationError(f"spool_dir: make {root} writable, or name another ({error.strerror})") from error
    return home


def _claim(home: Path) -> tuple[Path, int]:
    """A new directory, locked before others can see it."""
    name = f"{os.getpid()}-{os.urandom(6).hex()}"
    unborn = home / f"{_UNBORN}{name}"
    unborn.mkdir(mode=0o700)
    descriptor = os.open(unborn / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return unborn.rename(home / name), descriptor


def _try_lock(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_unborn(path: Path) -> None:
    try:
        if time.time() - path.stat().st_mtime > _UNBORN_AGE_S:
            shutil.rmtree(path, ignore_errors=True)
    except OSError as error:
        _log.debug("%s could not be removed: %s", path, error)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
