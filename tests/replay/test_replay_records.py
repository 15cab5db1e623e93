"""Records: however logs hold JSON, the values are the same; damaged lines cost themselves, memory is bounded."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.replay.records import Found, records
from streams.replay.sources import Leaf, Stream, Unreadable

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
EVENT = st.dictionaries(
    st.text(min_size=1).filter(lambda key: key not in {"Records", "kind"}), JSON, min_size=1, max_size=5
)


class Source:
    """Bytes that come in pieces of a given size."""

    def __init__(self, content: bytes, piece: int = 1 << 30) -> None:
        self.content, self.piece, self.at = content, piece, 0

    def read(self, size: int) -> bytes:
        """At most one piece."""
        taken = self.content[self.at : self.at + min(size, self.piece)]
        self.at += len(taken)
        return taken


def found_in(content: bytes, piece: int = 1 << 30, name: str = "x.json"):
    """Values and complaints of one file."""
    found = list(records(Leaf(name, Stream(Source(content, piece).read), named=True)))
    assert [f.position for f in found if isinstance(f, Found)] == list(range(sum(isinstance(f, Found) for f in found)))
    return [f.value for f in found if isinstance(f, Found)], [f for f in found if isinstance(f, Unreadable)]


@settings(deadline=None)
@given(st.lists(EVENT, min_size=1, max_size=6), st.integers(1, 40), st.sampled_from([None, 1]))
def test_every_packing_of_the_same_events_gives_the_same_events(events, piece, indent):
    lines = "\n".join(json.dumps(event) for event in events)
    delivery = json.dumps({"Records": events}, indent=indent)
    listed = json.dumps({"kind": "EventList", "items": events, "more": [1]}, indent=indent)
    array = json.dumps(events, indent=indent)
    for text in (lines, lines + "\n", delivery, listed, array, delivery + "\n" + delivery):
        expected = events * (2 if text == delivery + "\n" + delivery else 1)
        assert found_in(text.encode(), piece) == (expected, [])


@settings(deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_end_in_records_or_complaints_and_never_in_an_error(content, piece):
    found_in(content, piece)
    found_in(b'{"a": 1}\n' + content, piece)
    found_in(b'{"Records": [' + content, piece)


def test_a_damaged_line_costs_itself_and_is_named_by_its_number():
    values, unreadable = found_in(b'{"n": 1}\n{"n": \n\n{"n": 3}\n\xff\xfe\n{"n": 4}')
    assert values == [{"n": 1}, {"n": 3}, {"n": 4}]
    assert [complaint.name for complaint in unreadable] == ["x.json line 2", "x.json line 5"]


def test_a_damaged_first_line_costs_itself():
    values, unreadable = found_in(b'{"n": 1, "broken\n{"n": 2}\n{"n": 3}\n')
    assert values == [{"n": 2}, {"n": 3}]
    assert len(unreadable) == 1


@pytest.mark.parametrize(
    "rest", [b"", b'{"n": 2', b"nonsense]}", b'{"n": 2}; ]}', b'{"n": 2} {"n": 3}]}', b'"\xc3', b"[" * 100_000]
)
def test_a_damaged_document_keeps_what_stood_before_the_damage_and_says_where(rest):
    values, unreadable = found_in(b'{"Records": [{"n": 1}, ' + rest)
    assert values[0] == {"n": 1}
    assert len(unreadable) == 1
    assert "after record" in unreadable[0].name


def test_a_byte_order_mark_is_no_damage():
    assert found_in(b'\xef\xbb\xbf{"Records": [{"n": 1}]}') == ([{"n": 1}], [])
    assert found_in(b'\xef\xbb\xbf{"n": 1}\n{"n": 2}') == ([{"n": 1}, {"n": 2}], [])


def test_lines_with_other_text_between_them_are_found():
    values, unreadable = found_in(b'starting up\n{"n": 1}\n{"n": 2}\n')
    assert values == [{"n": 1}, {"n": 2}]
    assert [complaint.name for complaint in unreadable] == ["x.json line 1"]


@pytest.mark.parametrize("opening", [b'{"Records": [', b"[", b'{"kind":"EventList","items":['])
def test_an_array_of_any_length_takes_bounded_memory(opening):
    piece = b'{"padding": "' + b"x" * 4_000 + b'"},'
    left = iter([opening, *[piece] * 10_000, b"{}]" + (b"}" if opening[:1] == b"{" else b"")])
    rest = b""

    def read(size: int) -> bytes:
        nonlocal rest
        rest = rest or next(left, b"")
        taken, rest = rest[:size], rest[size:]
        return taken

    tracemalloc.start()
    count = sum(isinstance(found, Found) for found in records(Leaf("x", Stream(read), named=True)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 10_001
    assert peak < 4 << 20


def test_a_record_beyond_4_mib_is_refused_without_reading_the_rest():
    source = Source(b'{"Records": [{"a": "' + b"x" * (64 << 20))
    found = list(records(Leaf("x", Stream(source.read), named=True)))
    assert "4 MiB" in found[0].why
    assert source.at < 24 << 20


def test_an_object_of_many_small_keys_is_refused_too():
    body = b",".join(b'"%d": 1' % number for number in range(500_000))
    _, unreadable = found_in(b"{\n" + body + b"}")
    assert "4 MiB" in unreadable[0].why
