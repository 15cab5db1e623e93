"""The master secret on the scorer's side: reads its file and derives the keys of enforcement points from it."""

from __future__ import annotations

import os
import stat
from functools import lru_cache
from pathlib import Path

from stayhand.errors import ConfigurationError
from stayhand.signing import MASTER_BYTES_MIN, point_key

MAX_SECRET_BYTES = 4_096
MAX_KEYS = 4_096


class KeyRing:
    """Derives the keys of enforcement points; without a master secret it verifies nothing and says ``unsigned``.

    Keys are cached, at most 4,096 of them. Neither the secret nor a key shows in ``repr``.
    """

    __slots__ = ("_derive", "unsigned")

    def __init__(self, master: bytes | None) -> None:
        """Take the master secret, at least 32 bytes, or None to run unsigned.

        Raises:
            ConfigurationError: when the secret is too short.
        """
        if master is not None and len(master) < MASTER_BYTES_MIN:
            raise ConfigurationError(_too_short("the master secret"))
        self.unsigned = master is None

        @lru_cache(maxsize=MAX_KEYS)
        def derive(point: str, key_id: str) -> bytes:
            if master is None:
                raise ConfigurationError("no master secret: this scorer runs unsigned and has no keys")
            return point_key(master, point, key_id)

        self._derive = derive

    def key(self, point: str, key_id: str) -> bytes:
        """The 32-byte key of a point; whether the key id is registered is the registry's to say.

        Raises:
            ConfigurationError: when running unsigned.
        """
        return self._derive(point, key_id)


def load_secret(path: Path) -> bytes:
    """Read a master secret; line ends after it do not belong to it, as editors and shells add them.

    Raises:
        ConfigurationError: one line that says how to mend a file that is missing, too short, too long, not a regular
            file, or readable by others than its owner.
    """
    try:
        secret = _contents(path).rstrip(b"\r\n")
    except OSError as error:
        raise ConfigurationError(f"cannot read the master secret file {path}: {error.strerror}") from error
    if len(secret) < MASTER_BYTES_MIN:
        raise ConfigurationError(_too_short(f"the master secret file {path}"))
    if len(secret) > MAX_SECRET_BYTES:
        raise ConfigurationError(f"the master secret file {path} holds more than {MAX_SECRET_BYTES} bytes")
    return secret


def _contents(path: Path) -> bytes:
    """The file's first bytes, one more than allowed; the mode that is checked is that of the file that is read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _check_mode(path, os.fstat(descriptor).st_mode)
        return os.read(descriptor, MAX_SECRET_BYTES + len(b"\r\n") + 1)
    finally:
        os.close(descriptor)


def _check_mode(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ConfigurationError(f"the master secret file {path} is not a regular file")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        shown = f"{stat.S_IMODE(mode):04o}"
        raise ConfigurationError(
            f"the master secret file {path} is open to others (mode {shown}); run: chmod 600 {path}"
        )


def _too_short(what: str) -> str:
    return f"{what} holds less than {MASTER_BYTES_MIN} bytes; make one with: openssl rand -hex 32"
