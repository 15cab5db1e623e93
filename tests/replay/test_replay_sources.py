"""Sources: every file below the paths is read or named, and a hostile archive costs no memory and no disk."""

import gzip
import io
import json
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from streams.replay import sources
from streams.replay.records import Found, records
from streams.replay.sources import Leaf, Unreadable, leaves

LINE = b'{"a": 1}\n'


def read_all(*paths: Path):
    """Everything that the paths lead to: values, and the names of what could not be read or is no log."""
    values, unreadable, others = [], [], []
    for leaf in leaves(paths):
        for found in records(leaf) if isinstance(leaf, Leaf) else [leaf]:
            if isinstance(found, Found):
                values.append(found.value)
            elif isinstance(found, Unreadable):
                unreadable.append(f"{found.name}: {found.why}")
            else:
                others.append(found.name)
    return values, unreadable, others


def tar_of(path: Path, members, mode="w"):
    """A tar archive of (name or TarInfo, bytes) pairs."""
    with tarfile.open(path, mode) as archive:
        for member, content in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_a_directory_is_read_in_order_of_name_whatever_its_depth(tmp_path):
    for name, content in (("b.json", {"n": 2}), ("a.json", {"n": 1}), ("sub/c.json", {"n": 3})):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(content))
    assert read_all(tmp_path) == ([{"n": 1}, {"n": 2}, {"n": 3}], [], [])


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_yields_what_its_members_hold_gzipped_or_not(tmp_path, mode):
    members = [("x/one.json.gz", gzip.compress(b'{"Records": [{"n": 1}, {"n": 2}]}')), ("x/two.json", b'{"n": 3}')]
    assert read_all(tar_of(tmp_path / "logs.tar", members, mode)) == ([{"n": 1}, {"n": 2}, {"n": 3}], [], [])


def test_an_archive_inside_an_archive_is_read_and_endless_nesting_is_named(tmp_path):
    inner = tar_of(tmp_path / "inner.tar", [("a.json", LINE)])
    for _ in range(sources.MAX_NESTING - 1):
        deeper = tmp_path / "deeper.tar"
        inner = tar_of(deeper, [("inner.tar", inner.read_bytes())]).rename(tmp_path / "inner.tar")
    assert read_all(inner)[0] == [{"a": 1}]
    too_deep = tar_of(tmp_path / "deep.tar", [("inner.tar", inner.read_bytes())])
    values, unreadable, _ = read_all(too_deep)
    assert values == []
    assert "nested more than" in unreadable[0]


def test_links_and_devices_are_not_followed_and_paths_upwards_write_nothing(tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_bytes(LINE)
    link = tarfile.TarInfo("link.json")
    link.type, link.linkname = tarfile.SYMTYPE, str(secret)
    hard = tarfile.TarInfo("hard.json")
    hard.type, hard.linkname = tarfile.LNKTYPE, "../secret.json"
    device = tarfile.TarInfo("device.json")
    device.type = tarfile.CHRTYPE
    folder = tmp_path / "in"
    folder.mkdir()
    archive = tar_of(folder / "a.tar", [(link, b""), (hard, b""), (device, b""), ("../../up.json", b'{"b": 2}')])
    before = sorted(tmp_path.rglob("*"))
    values, unreadable, others = read_all(archive)
    assert (values, unreadable, len(others)) == ([{"b": 2}], [], 3)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_huge_sparse_member_is_named_and_the_next_one_is_read(tmp_path):
    path = tmp_path / "sparse.tar"
    bomb = tarfile.TarInfo("huge.json")
    bomb.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(bomb.tobuf(tarfile.GNU_FORMAT))
    header[386 : 386 + 24] = b"%011o\0%011o\0" % (0, 0)
    header[483:495] = b"%011o\0" % (7 << 30)
    header[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(header))[0]
    path.write_bytes(bytes(header) + tar_of(tmp_path / "tail.tar", [("ok.json", LINE)]).read_bytes())
    values, unreadable, _ = read_all(path)
    assert values == [{"a": 1}], unreadable
    assert len(unreadable) == 1
    assert "huge.json" in unreadable[0]


def test_a_line_without_end_costs_its_file_and_little_memory(tmp_path):
    path = tmp_path / "bomb.json.gz"
    with gzip.open(path, "wb", compresslevel=1) as out:
        out.write(LINE + LINE)
        for _ in range(64):
            out.write(b" " * (1 << 20))
    tracemalloc.start()
    values, unreadable, _ = read_all(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert values == [{"a": 1}] * 2
    assert "more than 4 MiB" in unreadable[0]
    assert peak < 24 << 20


def test_a_file_beyond_its_limit_is_cut_with_a_clear_message(tmp_path, monkeypatch):
    monkeypatch.setattr(sources.Stream.__init__, "__defaults__", (1_000_000,))
    path = tmp_path / "long.jsonl"
    path.write_bytes(LINE * 200_000)
    values, unreadable, _ = read_all(path)
    assert 0 < len(values) < 200_000
    assert "split it" in unreadable[0]


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path):
    info = tarfile.TarInfo("x" * 200)
    archive = bytearray(tar_of(tmp_path / "a.tar", [(info, LINE)]).read_bytes())
    archive[124:136] = b"%011o\0" % (2 << 20)
    archive[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(archive[:512]))[0]
    path = tmp_path / "b.tar"
    path.write_bytes(archive)
    _, unreadable, _ = read_all(path)
    assert "header of more than 1 MiB" in unreadable[0]


@pytest.mark.parametrize("cut", [700, 1_600, 2_048], ids=["in a member", "in a header", "before the end mark"])
def test_a_cut_archive_is_named_and_what_stood_before_the_cut_is_read(tmp_path, cut):
    whole = tar_of(tmp_path / "a.tar", [("a.json", b'{"n": 1}'), ("b.json", b'{"n": 2}' + b" " * 400)])
    path = tmp_path / "cut.tar"
    path.write_bytes(whole.read_bytes()[:cut])
    values, unreadable, _ = read_all(path)
    assert values[:1] == [{"n": 1}]
    assert unreadable
    assert str(path) in unreadable[-1]


def test_a_damaged_header_in_the_middle_is_no_silent_end(tmp_path):
    whole = bytearray(tar_of(tmp_path / "a.tar", [("a.json", LINE), ("b.json", LINE)]).read_bytes())
    whole[1_024 + 10] ^= 0xFF
    path = tmp_path / "damaged.tar"
    path.write_bytes(whole)
    values, unreadable, _ = read_all(path)
    assert values == [{"a": 1}], unreadable
    assert "bad checksum" in unreadable[0]


def test_a_damaged_gzip_member_is_named_and_the_others_are_read(tmp_path):
    good = gzip.compress(LINE)
    bad = good[:12] + b"\xff\xff" + good[14:]
    path = tar_of(tmp_path / "a.tar", [("bad.json.gz", bad), ("cut.json.gz", good[:-9]), ("good.json.gz", good)])
    values, unreadable, _ = read_all(path)
    assert {"a": 1} in values
    assert len(unreadable) == 2
    assert "bad.json.gz" in unreadable[0]
    assert "cut.json.gz" in unreadable[1]


def test_what_is_no_log_is_set_aside_and_what_claims_to_be_one_is_named(tmp_path):
    path = tar_of(tmp_path / "a.tar", [("README.md", b"# Logs\n"), ("x.json", b"not json"), ("empty.json", b"")])
    values, unreadable, others = read_all(path)
    assert values == []
    assert [name.rpartition("!")[2] for name in others] == ["README.md"]
    assert len(unreadable) == 1
    assert "x.json" in unreadable[0]


def test_a_file_that_was_named_is_never_set_aside(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("nothing here")
    assert read_all(path)[1] == [f"{path}: holds no JSON"]
    assert read_all(tmp_path / "missing")[1] == [f"{tmp_path / 'missing'}: No such file or directory"]
