"""The local copy of the state: what counts, what is forgotten, and what a crash may leave behind."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stayhand.errors import ConfigurationError
from streams.store import RocksStore, StateDir

TOPIC, OTHER = bytes(range(16)), bytes(range(1, 17))
AGE_MAX_MS = 1_000
Open = Callable[..., RocksStore]


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reopen(tmp_path: Path, clock: Clock) -> Iterator[Open]:
    """Open the store anew: whatever was open before is closed."""
    opened: list[RocksStore] = []

    def make(topic_id: bytes = TOPIC) -> RocksStore:
        for store in opened:
            store.close()
        opened.append(RocksStore(tmp_path / "db", topic_id, now_ms=clock, age_max_ms=AGE_MAX_MS, cache_bytes=1 << 20))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


def test_what_was_written_is_there_after_a_restart_byte_for_byte(reopen: Open) -> None:
    store = reopen()
    values = {b"k%d" % number: os.urandom(number * 7) for number in range(50)}
    store.write(3, list(values.items()), 77)
    for _ in range(2):
        assert store.get(3, [*values, b"none"]) == [*values.values(), None]
        assert store.changelog_next(3) == 77
        assert store.get(3, []) == []
        store = reopen()


def test_partitions_do_not_see_each_other(reopen: Open) -> None:
    store = reopen()
    for partition in (0, 1, 255, 256, 65_536):
        store.write(partition, [(b"k", b"%d" % partition)], partition + 1)
    store.wipe(1)
    for partition in (0, 255, 256, 65_536):
        assert (store.get(partition, [b"k"]), store.changelog_next(partition)) == ([b"%d" % partition], partition + 1)
    assert (store.get(1, [b"k"]), store.changelog_next(1)) == ([None], 0)


def test_a_restore_applies_records_in_order_and_tombstones_too(reopen: Open) -> None:
    store = reopen()
    store.restore(2, iter([(b"a", b"1"), (b"b", b"2"), (b"a", None), (b"b", b"3"), (b"c", b"4")]), 9)
    assert (store.get(2, [b"a", b"b", b"c"]), store.changelog_next(2)) == ([None, b"3", b"4"], 9)


def test_a_copy_of_another_topic_is_wiped(reopen: Open) -> None:
    reopen().write(0, [(b"k", b"v")], 5)
    other = reopen(OTHER)
    assert (other.get(0, [b"k"]), other.changelog_next(0)) == ([None], 0)
    back = reopen()
    assert (back.get(0, [b"k"]), back.changelog_next(0)) == ([None], 0)


@pytest.mark.parametrize(("age_ms", "counts"), [(AGE_MAX_MS, True), (AGE_MAX_MS + 1, False)])
def test_a_copy_older_than_the_changelogs_tombstones_is_wiped(
    reopen: Open, clock: Clock, age_ms: int, counts: bool
) -> None:
    reopen().write(0, [(b"k", b"v")], 5)
    clock.now_ms += age_ms
    store = reopen()
    assert (store.get(0, [b"k"]), store.changelog_next(0)) == (([b"v"], 5) if counts else ([None], 0))


def test_a_copy_that_grows_old_while_another_worker_owns_it_does_not_count_any_more(reopen: Open, clock: Clock) -> None:
    store = reopen()
    store.write(0, [(b"k", b"v")], 5)
    clock.now_ms += AGE_MAX_MS + 1
    assert (store.changelog_next(0), store.get(0, [b"k"])) == (0, [None])


class _Crash(Exception):
    pass


def _breaking_off(records: int) -> Iterator[tuple[bytes, bytes | None]]:
    for number in range(records):
        yield b"k%d" % number, b"new"
    raise _Crash


def test_a_restore_that_breaks_off_is_done_again_from_where_it_began(reopen: Open) -> None:
    store = reopen()
    store.write(0, [(b"k0", b"old"), (b"gone", b"old")], 5)
    with pytest.raises(_Crash):
        store.restore(0, _breaking_off(5_000), 9_000)
    store = reopen()
    assert store.changelog_next(0) == 5
    store.restore(0, [*((b"k%d" % number, b"new") for number in range(5_000)), (b"gone", None)], 9_000)
    assert (store.get(0, [b"k0", b"k4999", b"gone"]), store.changelog_next(0)) == ([b"new", b"new", None], 9_000)


@pytest.mark.parametrize("topic_id", [TOPIC, OTHER])
def test_what_a_broken_first_restore_left_behind_never_counts_for_another_topic(reopen: Open, topic_id: bytes) -> None:
    with pytest.raises(_Crash):
        reopen().restore(0, _breaking_off(5_000), 9_000)
    store = reopen(topic_id)
    assert store.changelog_next(0) == 0
    assert store.get(0, [b"k0"]) == ([b"new"] if topic_id == TOPIC else [None])


def test_a_broken_restore_does_not_make_an_old_copy_young(reopen: Open, clock: Clock) -> None:
    reopen().write(0, [(b"k", b"v")], 5)
    clock.now_ms += AGE_MAX_MS - 1
    with pytest.raises(_Crash):
        reopen().restore(0, _breaking_off(10), 9_000)
    clock.now_ms += 2
    assert reopen().changelog_next(0) == 0


Writes = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.lists(st.tuples(st.binary(min_size=1, max_size=4), st.binary(max_size=8)), max_size=5),
    ),
    max_size=8,
)


@settings(max_examples=20, deadline=None)
@given(Writes)
def test_a_store_restored_from_all_that_was_written_equals_the_one_that_wrote(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[int, list[tuple[bytes, bytes]]]]
) -> None:
    folder, clock = tmp_path_factory.mktemp("stores"), Clock()
    wrote, restored = (
        RocksStore(folder / name, TOPIC, now_ms=clock, age_max_ms=AGE_MAX_MS, cache_bytes=1 << 20) for name in "wr"
    )
    log: dict[int, list[tuple[bytes, bytes]]] = {0: [], 1: [], 2: []}
    for partition, records in writes:
        log[partition] += records
        wrote.write(partition, records, len(log[partition]))
    for partition, records in log.items():
        restored.restore(partition, records, len(records))
        keys = sorted({key for key, _ in records})
        assert restored.get(partition, keys) == wrote.get(partition, keys)
        assert restored.changelog_next(partition) == wrote.changelog_next(partition) == len(records)
    wrote.close()
    restored.close()


_WRITER = """
import os, sys
from streams.store import RocksStore
store = RocksStore(__import__("pathlib").Path(sys.argv[1]), bytes(range(16)), now_ms=lambda: 1, age_max_ms=10)
for number in range(1, 10_000):
    store.write(0, [(b"a", b"%d" % number), (b"b", b"%d" % number)], number)
    if number == 500:
        print("far enough", flush=True)
"""


def test_a_killed_writer_leaves_records_and_offset_that_fit_each_other(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "db")]
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "sdk")])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"far enough\n"
        writer.kill()
    store = RocksStore(tmp_path / "db", TOPIC, now_ms=lambda: 1, age_max_ms=10, cache_bytes=1 << 20)
    reached = store.changelog_next(0)
    assert reached >= 500
    assert store.get(0, [b"a", b"b"]) == [b"%d" % reached] * 2
    store.close()


def test_a_closed_store_has_no_size_and_closes_again(reopen: Open) -> None:
    store = reopen()
    store.write(0, [(b"k", b"v")], 1)
    assert store.records_estimate() > 0
    assert store.memory_bytes() > 0
    store.close()
    store.close()
    assert (store.records_estimate(), store.disk_bytes()) == (0, 0)


def test_a_topic_id_has_sixteen_bytes(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        RocksStore(tmp_path / "db", b"short", now_ms=clock, age_max_ms=1)


def test_a_store_that_is_damaged_is_said_to_be_in_one_line(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "db").write_text("not a folder")
    with pytest.raises(ConfigurationError, match="restored from Kafka") as told:
        RocksStore(tmp_path / "db", TOPIC, now_ms=clock, age_max_ms=1)
    assert "\n" not in str(told.value)


def test_a_state_directory_keeps_its_workers_name(tmp_path: Path) -> None:
    first = StateDir(tmp_path / "s")
    first.close()
    again, other = StateDir(tmp_path / "s"), StateDir(tmp_path / "t")
    assert again.worker == first.worker != other.worker
    assert first.worker.isascii()
    again.close()
    other.close()


def test_a_state_directory_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    first = StateDir(tmp_path)
    with pytest.raises(ConfigurationError, match="--state-dir"):
        StateDir(tmp_path)
    first.close()
    StateDir(tmp_path).close()


def test_another_versions_state_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    StateDir(tmp_path).close()
    (tmp_path / "VERSION").write_text("99\n")
    with pytest.raises(ConfigurationError, match="format '99'"):
        StateDir(tmp_path)
    assert (tmp_path / "VERSION").read_text() == "99\n"


def test_a_state_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot use the state directory"):
        StateDir(tmp_path / "file" / "s")
