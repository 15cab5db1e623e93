"""The identity of a subject: ``type:id``, normalised once, so that one identity has exactly one key."""

from __future__ import annotations

import re
import unicodedata

from stayhand.errors import InvalidAction

MAX_IDENTITY_BYTES = 256
# An address of mail and a host name compare without regard to case (RFC 5321 section 2.4 for the domain, RFC 4343).
LOWERED_TYPES = frozenset({"email", "host"})
_TYPE = re.compile(r"[a-z][a-z0-9_.-]{0,31}")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def identity_of(subject_type: str, subject_id: str, field: str = "subject") -> str:
    """Normalise a subject to its identity; the result is the key of every keyed topic.

    Args:
        subject_type: 1 to 32 characters ``a-z 0-9 _ . -``, a letter first; no colon.
        subject_id: any text without control characters; colons are allowed (an ARN holds some).
        field: the name that an error shall use.

    Raises:
        InvalidAction: naming ``field.type`` or ``field.id``.
    """
    if not _TYPE.fullmatch(subject_type):
        raise InvalidAction(f"{field}.type", "expected 1 to 32 of a-z, 0-9, _ . -, a letter first, no colon")
    text = subject_id if subject_id.isascii() else unicodedata.normalize("NFC", subject_id)
    if not text or text != text.strip():
        raise InvalidAction(f"{field}.id", "expected text without white space around it")
    if _UNSAFE.search(text):
        raise InvalidAction(f"{field}.id", "expected text without control characters")
    if subject_type in LOWERED_TYPES:
        text = text.lower()
    identity = f"{subject_type}:{text}"
    if len(identity.encode()) > MAX_IDENTITY_BYTES:
        raise InvalidAction(f"{field}.id", f"expected an identity of at most {MAX_IDENTITY_BYTES} bytes")
    return identity


def parse_identity(text: str, field: str = "identity") -> str:
    """Normalise a written identity, split at its first colon.

    Raises:
        InvalidAction: where it is not ``type:id``.
    """
    subject_type, colon, subject_id = text.partition(":")
    if not colon:
        raise InvalidAction(field, "expected type:id, such as token:ci-deployer")
    return identity_of(subject_type, subject_id, field)
