"""The local copy of the state: one RocksDB for all partitions of a worker, in a folder that one process holds."""

from __future__ import annotations

import fcntl
import os
import struct
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rocksdict import BlockBasedOptions, Cache, DbClosedError, Options, Rdict, WriteBatch

from stayhand.errors import ConfigurationError

FORMAT_VERSION = "1"
CACHE_BYTES = 256 * 1024 * 1024
WRITE_BUFFER_BYTES = 32 * 1024 * 1024
_BLOOM_BITS = 10
_RESTORE_BATCH = 2_000
_PARTITION = struct.Struct(">I")
_META = struct.Struct(">16sqq")
# Sorts before every partition's keys: their partition has no leading FF.
_META_PREFIX = b"\xff\xff\xff\xff"
_PARTITIONS_MAX = 0xFFFF_FFFE


class StateDir:
    """A worker's folder: held by one process at a time, with a format version and the worker's lasting name.

    Files: ``LOCK``, ``VERSION``, ``WORKER`` and the folder ``rocksdb``.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder if need be, and lock it until ``close``.

        Raises:
            ConfigurationError: it cannot be made, another process holds it, or it has another version's format.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(path / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(f"cannot use the state directory {path}: {error.strerror}") from error
        try:
            self._hold()
            self._check_version()
            self.worker = self._once("WORKER", f"w-{uuid.uuid4().hex}")
        except BaseException:
            self.close()
            raise

    def _hold(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"another process uses the state directory {self.path}; give each worker its own with --state-dir"
            ) from error

    def _check_version(self) -> None:
        found = self._once("VERSION", FORMAT_VERSION)
        if found != FORMAT_VERSION:
            raise ConfigurationError(
                f"the state directory {self.path} has format {found[:16]!r}, expected {FORMAT_VERSION}; "
                "remove it, its content is restored from Kafka"
            )

    def _once(self, name: str, content: str) -> str:
        """The file's text; written whole or not at all where there is none."""
        target = self.path / name
        if not target.exists():
            fresh = self.path / f".{name}.new"
            fresh.write_text(f"{content}\n")
            fresh.replace(target)
        return target.read_text().strip()

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._lock)


@dataclass(frozen=True, slots=True)
class _Meta:
    """What a partition's copy is of: the changelog's topic id, where the copy ends in it, when it got there."""

    topic_id: bytes
    changelog_next: int
    written_ms: int

    def pack(self) -> bytes:
        return _META.pack(self.topic_id, self.changelog_next, self.written_ms)


class RocksStore:
    """Implements ``ports.Store`` over RocksDB.

    A partition's copy counts only while it is of the changelog topic named by ``topic_id`` and was written less than
    ``age_max_ms`` ago: the changelog forgets its tombstones after ``delete.retention.ms``, so that an older copy could
    bring back what was deleted meanwhile.

    The write-ahead log is not flushed to the disk with each write: after a power cut the copy ends earlier, and the
    changelog fills it, for records and the offset that they reach are written together.
    """

    def __init__(
        self,
        path: Path,
        topic_id: bytes,
        *,
        now_ms: Callable[[], int],
        age_max_ms: int,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Open or make the database; copies that do not count are wiped.

        Raises:
            ConfigurationError: the folder cannot be opened.
            ValueError: a topic id that has not 16 bytes.
        """
        if len(topic_id) != 16:
            raise ValueError("topic id: expected 16 bytes")
        self._topic_id, self._now_ms, self._age_max_ms = topic_id, now_ms, age_max_ms
        self._cache = Cache(cache_bytes)
        try:
            self._db = Rdict(str(path), _options(self._cache))
        except Exception as error:  # rocksdict raises nothing narrower
            raise ConfigurationError(
                f"cannot open the state store {path}: {str(error).splitlines()[0]}; "
                "remove it, its content is restored from Kafka"
            ) from error
        self._wipe_what_does_not_count()

    def get(self, partition: int, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """The records under these keys, in their order; one read for all, without the interpreter's lock."""
        prefix = _PARTITION.pack(partition)
        found = self._db.get([prefix + key for key in keys])
        assert isinstance(found, list), "a read of several keys gives a list"
        return found

    def changelog_next(self, partition: int) -> int:
        """Where the copy ends in the changelog; 0 where there is none that counts, and then it is wiped."""
        meta = self._meta(partition)
        if meta is None:
            return 0
        if not self._counts(meta):
            self.wipe(partition)
            return 0
        return meta.changelog_next

    def restore(self, partition: int, records: Iterable[tuple[bytes, bytes | None]], changelog_next: int) -> None:
        """Apply changelog records in bounded batches, and remember how far they reach at the end.

        A restore that breaks off leaves a newer copy that claims the older offset: then the same records are applied
        again. What it claims stands before the first record, so that no record is without a topic id and a time.
        """
        meta = self._meta(partition) or _Meta(self._topic_id, 0, self._now_ms())
        self._db.put(_META_PREFIX + _PARTITION.pack(partition), meta.pack())
        prefix = _PARTITION.pack(partition)
        left = iter(records)
        while batch := list(islice(left, _RESTORE_BATCH)):
            writes = WriteBatch(raw_mode=True)
            for key, value in batch:
                if value is None:
                    writes.delete(prefix + key)
                else:
                    writes.put(prefix + key, value)
            self._db.write(writes)
        self.write(partition, (), changelog_next)

    def write(self, partition: int, records: Sequence[tuple[bytes, bytes]], changelog_next: int) -> None:
        """Write records and how far they reach, all or nothing."""
        prefix = _PARTITION.pack(partition)
        writes = WriteBatch(raw_mode=True)
        for key, value in records:
            writes.put(prefix + key, value)
        meta = _Meta(self._topic_id, changelog_next, self._now_ms())
        writes.put(_META_PREFIX + prefix, meta.pack())
        self._db.write(writes)

    def wipe(self, partition: int) -> None:
        """Forget the partition, all or nothing."""
        if not 0 <= partition < _PARTITIONS_MAX:
            raise ValueError(f"partition {partition}: expected 0 to {_PARTITIONS_MAX - 1}")
        writes = WriteBatch(raw_mode=True)
        writes.delete_range(_PARTITION.pack(partition), _PARTITION.pack(partition + 1))
        writes.delete(_META_PREFIX + _PARTITION.pack(partition))
        self._db.write(writes)

    def records_estimate(self) -> int:
        """About how many records there are, over all partitions."""
        return self._property("rocksdb.estimate-num-keys")

    def disk_bytes(self) -> int:
        """What the live files take."""
        return self._property("rocksdb.live-sst-files-size")

    def memory_bytes(self) -> int:
        """Block cache and write buffers."""
        return self._cache.get_usage() + self._property("rocksdb.cur-size-all-mem-tables")

    def _property(self, name: str) -> int:
        """One of RocksDB's numbers; 0 once it is closed, for whoever watches may ask later than that."""
        try:
            return self._db.property_int_value(name) or 0
        except DbClosedError:
            return 0

    def close(self) -> None:
        """Flush and release. Idempotent."""
        with suppress(DbClosedError):
            self._db.close()

    def _meta(self, partition: int) -> _Meta | None:
        raw = self._db.get(_META_PREFIX + _PARTITION.pack(partition))
        return None if raw is None else _Meta(*_META.unpack(raw))

    def _counts(self, meta: _Meta) -> bool:
        return meta.topic_id == self._topic_id and self._now_ms() - meta.written_ms <= self._age_max_ms

    def _wipe_what_does_not_count(self) -> None:
        for key in list(self._db.keys(from_key=_META_PREFIX)):
            assert isinstance(key, bytes)
            self.changelog_next(_PARTITION.unpack(key[len(_META_PREFIX) :])[0])


def _options(cache: Cache) -> Options:
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_bloom_filter(_BLOOM_BITS, False)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(table)
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_optimize_filters_for_hits(False)
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(2)
    return options
