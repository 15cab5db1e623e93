"""The guards of this process: closed when it ends, disowned where it was forked."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Protocol

EXIT_TIMEOUT_MS = 1_000


class Owned(Protocol):
    """What belongs to one process."""

    def close(self, timeout_ms: int) -> None:
        """End in an orderly way. Idempotent."""

    def disown(self) -> None:
        """Let go of another process's resources."""


_OWNED: weakref.WeakSet[Owned] = weakref.WeakSet()


def own(owned: Owned) -> None:
    """Close it when the interpreter ends, disown it in a forked child."""
    _OWNED.add(owned)


def _close_all() -> None:
    for owned in list(_OWNED):
        owned.close(EXIT_TIMEOUT_MS)


def _disown_all() -> None:
    for owned in list(_OWNED):
        owned.disown()
    _OWNED.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_disown_all)
