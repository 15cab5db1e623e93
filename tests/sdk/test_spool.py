"""The spool: what was put survives the process, is told once, and is never held by two."""

import multiprocessing
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stayhand import ConfigurationError
from stayhand._spool import COMPACT_BYTES, JOURNAL, Entry, Spool, SpoolRefused, read_journal

SIZE_MAX = 1_048_576


def permit(name: str, *, receipt: str = "r") -> Entry:
    return Entry(name, "permit", "token:ci", 1, decision_id="ab" * 8, receipt=receipt)


def fallback(name: str) -> Entry:
    return Entry(name, "fallback", "token:ci", 1, value={"mode": "open", "cause": "deadline"})


def spool(root: Path, size_max: int = SIZE_MAX) -> Spool:
    return Spool(root / "spool", "stayhand", "p1", size_max)


def crash(of: Spool) -> None:
    """What a killed process leaves: the files as they are, and no lock."""
    os.close(of._fd)
    os.close(of._lock_fd)


def test_a_new_process_takes_over_what_a_dead_one_left(tmp_path: Path) -> None:
    dead = spool(tmp_path)
    dead.put(permit("p"))
    dead.put(permit("q"))
    dead.put(fallback("f"))
    dead.put(fallback("g"))
    dead.finish("q", "failed")
    dead.done("g")
    crash(dead)
    heir = spool(tmp_path)
    assert heir.adopt() == 3
    assert {entry.entry_id: entry.result for entry in heir.due()} == {"p": "unknown", "q": "failed", "f": ""}
    assert not dead.path.exists()
    assert heir.adopt() == 0


def test_what_was_taken_over_survives_the_heirs_death_too(tmp_path: Path) -> None:
    dead = spool(tmp_path)
    dead.put(fallback("f"))
    crash(dead)
    heir = spool(tmp_path)
    heir.adopt()
    crash(heir)
    last = spool(tmp_path)
    assert last.adopt() == 1
    assert last.due() == [fallback("f")]


def test_a_living_process_keeps_its_directory(tmp_path: Path) -> None:
    alive, other = spool(tmp_path), spool(tmp_path)
    alive.put(fallback("f"))
    assert other.adopt() == 0
    assert alive.due() == [fallback("f")]
    assert alive.path != other.path
    assert alive.path.exists()


def _hold(root: str, ready: "multiprocessing.synchronize.Event", end: "multiprocessing.synchronize.Event") -> None:
    held = spool(Path(root))
    held.put(fallback("of-another-process"))
    ready.set()
    end.wait(60)


def test_no_two_processes_hold_one_directory(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, end = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), ready, end))
    process.start()
    assert ready.wait(60)
    mine = spool(tmp_path)
    assert mine.adopt() == 0
    process.kill()
    process.join(60)
    assert mine.adopt() == 1


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_last_line_that_was_cut_off_is_passed_over(tmp_path: Path, cut: int) -> None:
    dead = spool(tmp_path)
    dead.put(fallback("whole"))
    dead.put(fallback("cut"))
    crash(dead)
    journal = dead.path / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-cut])
    heir = spool(tmp_path)
    assert heir.adopt() == 1
    assert [entry.entry_id for entry in heir.due()] == ["whole"]


def test_lines_that_are_no_entries_are_passed_over(tmp_path: Path) -> None:
    journal = tmp_path / JOURNAL
    lines = [
        "not json",
        "[1]",
        '{"kind": "later", "entry_id": "x"}',
        '{"entry_id": "y"}',
        '{"kind": "permit", "key": 7}',
    ]
    journal.write_text("\n".join(lines) + "\n")
    assert read_journal(journal) == []


def test_a_result_counts_once_and_only_what_is_due_is_told(tmp_path: Path) -> None:
    mine = spool(tmp_path)
    mine.put(permit("p"))
    assert mine.due() == []
    assert mine.finish("p", "done") == replace(permit("p"), result="done")
    assert mine.finish("p", "failed") is None
    assert mine.finish("nobody", "done") is None
    assert [entry.result for entry in mine.due()] == ["done"]
    mine.done("p")
    assert len(mine) == 0


def test_the_files_are_the_users_alone(tmp_path: Path) -> None:
    mine = spool(tmp_path)
    mine.put(fallback("f"))
    for path in (tmp_path / "spool", mine.path.parent, mine.path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in mine.path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool").chmod(0o777)
    with pytest.raises(ConfigurationError, match="spool_dir: give a folder"):
        spool(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file stands here")
    with pytest.raises(ConfigurationError, match="spool_dir: make"):
        spool(tmp_path)


def test_a_full_spool_refuses_and_has_room_again_when_something_was_delivered(tmp_path: Path) -> None:
    mine = spool(tmp_path, 4_096)
    for number in range(1_000):
        try:
            mine.put(fallback(f"f{number}"))
        except SpoolRefused:
            break
    assert 0 < len(mine) < 1_000
    assert (mine.path / JOURNAL).stat().st_size <= 4_096
    for entry in mine.due():
        mine.done(entry.entry_id)
    mine.put(fallback("again"))
    assert mine.due() == [fallback("again")]


def test_the_journal_does_not_grow_with_what_was_delivered(tmp_path: Path) -> None:
    mine = spool(tmp_path)
    mine.put(permit("stays"))
    for number in range(3_000):
        mine.put(permit(f"p{number}", receipt="r" * 200))
        mine.finish(f"p{number}", "done")
        mine.done(f"p{number}")
    assert (mine.path / JOURNAL).stat().st_size < 2 * COMPACT_BYTES
    crash(mine)
    assert read_journal(mine.path / JOURNAL) == [permit("stays")]


def test_an_empty_spool_leaves_nothing_behind_and_a_full_one_stays(tmp_path: Path) -> None:
    empty, full = spool(tmp_path), spool(tmp_path)
    full.put(fallback("f"))
    empty.close()
    full.close()
    full.close()
    assert not empty.path.exists()
    assert read_journal(full.path / JOURNAL) == [fallback("f")]
    with pytest.raises(SpoolRefused):
        full.put(fallback("g"))


NAME = st.sampled_from(["a", "b", "c", "d"])
STEP = st.tuples(st.sampled_from(["permit", "fallback", "finish", "done"]), NAME)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEP, max_size=40))
def test_what_a_crash_leaves_is_exactly_what_was_not_done(
    steps: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    mine = spool(tmp_path_factory.mktemp("spool"))
    expected: dict[str, Entry] = {}
    for what, name in steps:
        if what in ("permit", "fallback"):
            entry = permit(name) if what == "permit" else fallback(name)
            mine.put(entry)
            expected[name] = entry
        elif what == "finish":
            mine.finish(name, "done")
            if name in expected and not expected[name].result:
                expected[name] = replace(expected[name], result="done")
        else:
            mine.done(name)
            expected.pop(name, None)
    crash(mine)
    assert {entry.entry_id: entry for entry in read_journal(mine.path / JOURNAL)} == expected
