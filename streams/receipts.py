"""Receipts: what a decision taught, sealed for the asker, who brings it back with the outcome."""

from __future__ import annotations

import base64
import binascii
import hmac

from stayhand.signing import receipt_key, sign

MAX_RECEIPT_CHARS = 512
MAX_TAUGHT_BYTES = 256
MAC_BYTES = 16
_VERSION = 1
_HEAD_BYTES = 2
# Without a master secret nothing is verified; the seal then only finds damage, and every worker makes the same one.
_UNSIGNED = b"stayhand/unsigned".ljust(32, b"\x00")


class InvalidReceipt(ValueError):
    """The receipt was not sealed by a scorer of this master secret, or for another identity."""


class Receipts:
    """Seals and opens receipts: HMAC-SHA256 cut to 16 bytes (RFC 2104 section 5), base64url without padding.

    The seal covers decision id, identity and what was taught; the identity is not in the text. The same input gives
    the same text, so a new owner sends the same answer again.
    """

    __slots__ = ("_key",)

    def __init__(self, master: bytes | None) -> None:
        """Derive the key from the master secret; None (running unsigned) lets anybody forge a receipt."""
        self._key = receipt_key(_UNSIGNED if master is None else master)

    def seal(self, decision_id: str, identity: str, taught: bytes) -> str:
        """The receipt, at most 512 characters.

        Raises:
            ValueError: when ``taught`` has more than 256 bytes, or the decision id is not 8 to 64 hexadecimal digits.
        """
        named = bytes.fromhex(decision_id)
        if not 4 <= len(named) <= 32 or len(taught) > MAX_TAUGHT_BYTES:
            raise ValueError(f"expected a decision id of 8 to 64 digits and at most {MAX_TAUGHT_BYTES} bytes taught")
        body = bytes((_VERSION, len(named))) + named + taught
        return base64.urlsafe_b64encode(body + self._mac(body, identity)).rstrip(b"=").decode("ascii")

    def open(self, text: str, identity: str) -> tuple[str, bytes]:
        """The decision id and what was taught.

        Raises:
            InvalidReceipt: when the text is not a receipt of this identity.
        """
        raw = _decoded(text)
        body, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
        if len(body) < _HEAD_BYTES or body[0] != _VERSION or not hmac.compare_digest(self._mac(body, identity), mac):
            raise InvalidReceipt("expected the receipt of a decision about this identity")
        end = _HEAD_BYTES + body[1]
        return body[_HEAD_BYTES:end].hex(), body[end:]

    def _mac(self, body: bytes, identity: str) -> bytes:
        return sign(self._key, (body, identity.encode()))[:MAC_BYTES]


def _decoded(text: str) -> bytes:
    if len(text) > MAX_RECEIPT_CHARS:
        raise InvalidReceipt(f"expected at most {MAX_RECEIPT_CHARS} characters")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidReceipt("expected base64url") from error
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") != text:
        raise InvalidReceipt("expected base64url without padding")
    return raw
