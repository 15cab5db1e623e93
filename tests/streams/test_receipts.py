"""Receipts open for the identity that they were made for, unchanged, and under the same master secret alone."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.receipts import MAX_RECEIPT_CHARS, MAX_TAUGHT_BYTES, InvalidReceipt, Receipts

MASTER = b"m" * 32
DECISIONS = st.binary(min_size=4, max_size=32).map(bytes.hex)
IDENTITIES = st.text(min_size=1, max_size=64).map(lambda text: f"token:{text}".encode("utf-8", "replace").decode())
TAUGHT = st.binary(max_size=MAX_TAUGHT_BYTES)


@given(DECISIONS, IDENTITIES, TAUGHT)
def test_what_was_sealed_is_opened_and_the_same_input_gives_the_same_text(
    decided: str, who: str, taught: bytes
) -> None:
    text = Receipts(MASTER).seal(decided, who, taught)
    assert Receipts(MASTER).open(text, who) == (decided, taught)
    assert text == Receipts(MASTER).seal(decided, who, taught)
    assert len(text) <= MAX_RECEIPT_CHARS


@given(DECISIONS, TAUGHT, st.data())
def test_a_receipt_in_which_one_character_changed_does_not_open(
    decided: str, taught: bytes, data: st.DataObject
) -> None:
    text = Receipts(MASTER).seal(decided, "token:a", taught)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda c: c != text[at]))
    with pytest.raises(InvalidReceipt):
        Receipts(MASTER).open(text[:at] + other + text[at + 1 :], "token:a")


@pytest.mark.parametrize("taught", [b"", b"1", b"12"])
def test_a_receipt_has_one_way_of_being_written(taught: bytes) -> None:
    text = Receipts(MASTER).seal("ab" * 16, "token:a", taught)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    opened = []
    for last in alphabet:
        with contextlib.suppress(InvalidReceipt):
            opened.append(Receipts(MASTER).open(text[:-1] + last, "token:a"))
    assert opened == [("ab" * 16, taught)]
    for other in (text + "=", text + "==", text + "\n", " " + text):
        with pytest.raises(InvalidReceipt):
            Receipts(MASTER).open(other, "token:a")


@given(st.one_of(st.text(max_size=80), st.text(alphabet="ABCabc012-_", max_size=600)))
def test_a_text_that_was_never_sealed_does_not_open(text: str) -> None:
    with pytest.raises(InvalidReceipt):
        Receipts(MASTER).open(text, "token:a")


def test_a_receipt_opens_for_no_other_identity_and_under_no_other_secret() -> None:
    text = Receipts(MASTER).seal("ab" * 16, "token:a", b"lesson")
    for receipts, who in ((Receipts(MASTER), "token:b"), (Receipts(b"n" * 32), "token:a"), (Receipts(None), "token:a")):
        with pytest.raises(InvalidReceipt):
            receipts.open(text, who)


def test_every_unsigned_worker_opens_the_receipts_of_the_others() -> None:
    assert Receipts(None).open(Receipts(None).seal("ab" * 16, "token:a", b"x"), "token:a") == ("ab" * 16, b"x")


@pytest.mark.parametrize(
    ("decided", "taught"), [("ab", b""), ("xy" * 16, b""), ("ab" * 33, b""), ("ab" * 16, b"x" * 257)]
)
def test_what_would_not_fit_is_not_sealed(decided: str, taught: bytes) -> None:
    with pytest.raises(ValueError, match=r"expected|non-hexadecimal"):
        Receipts(MASTER).seal(decided, "token:a", taught)
