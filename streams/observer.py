"""What a worker tells whoever watches it: one method for each thing worth counting, and a watcher that ignores all."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Receives what happened; called from the worker's main thread, so it must be quick and never raise."""

    def decided(self, verdict: str, waited_ms: int, took_s: float, *, late: bool) -> None:
        """An action was decided, ``waited_ms`` after its append, with ``took_s`` of work from decide to reply."""

    def refused(self, code: str) -> None:
        """A record went to the dead letters."""

    def reported(self, result: str) -> None:
        """An outcome was taken in."""

    def controlled(self, kind: str) -> None:
        """A control was applied."""

    def checkpointed(self, took_s: float, records: int) -> None:
        """A checkpoint was committed."""

    def restored(self, partition: int, records: int, took_s: float) -> None:
        """A partition was taken over; ``records`` came from the changelog."""

    def owns(self, partitions: int) -> None:
        """How many partitions this worker owns now."""

    def returned(self, partitions: int) -> None:
        """In how many of them the pack before decides, because the active one blocked too much."""


class Silent:
    """An observer that ignores everything."""

    def decided(self, verdict: str, waited_ms: int, took_s: float, *, late: bool) -> None:
        """Ignore."""

    def refused(self, code: str) -> None:
        """Ignore."""

    def reported(self, result: str) -> None:
        """Ignore."""

    def controlled(self, kind: str) -> None:
        """Ignore."""

    def checkpointed(self, took_s: float, records: int) -> None:
        """Ignore."""

    def restored(self, partition: int, records: int, took_s: float) -> None:
        """Ignore."""

    def owns(self, partitions: int) -> None:
        """Ignore."""

    def returned(self, partitions: int) -> None:
        """Ignore."""
