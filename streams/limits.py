"""How much an enforcement point may ask: asks in a second and new identities in an hour, by the records' own time."""

from __future__ import annotations

from collections import OrderedDict

from schemas.documents import EnforcementPoint

SECOND_MS = 1_000
HOUR_MS = 3_600_000
MAX_WINDOWS = 65_536


class Limiter:
    """Counts what each point asked, on this worker; no clock, so the same records are admitted each time.

    A worker that catches up reads its partitions one after another, so record times go back and forth by as much as
    it was behind. A bucket that refills as time passes would refuse the second partition's records for the first one's
    sake. Therefore each second (hour) of record time has a count of its own: how many of a second's asks are admitted
    does not depend on the order in which they are read. A point may use up a second's allowance at once.
    """

    __slots__ = ("_asks", "_new")

    def __init__(self, windows_max: int = MAX_WINDOWS) -> None:
        """Remember at most ``windows_max`` seconds and as many hours, over all points; the oldest counts go first."""
        self._asks = _Windows(SECOND_MS, windows_max)
        self._new = _Windows(HOUR_MS, windows_max)

    def admit(self, point: EnforcementPoint, at_ms: int) -> bool:
        """Whether the point may ask once more in this second (``rate_per_s``); counts it if so."""
        return self._asks.take(point.point, at_ms, point.rate_per_s)

    def admit_new(self, point: EnforcementPoint, at_ms: int) -> bool:
        """Whether the point may bring one more new identity in this hour; counts it if so.

        For the caller that found no state under the identity.
        """
        return self._new.take(point.point, at_ms, point.new_identities_per_hour)


class _Windows:
    """Counts by (name, window of fixed width), bounded: the window that began to count first is forgotten first."""

    __slots__ = ("_counts", "_max", "_width_ms")

    def __init__(self, width_ms: int, windows_max: int) -> None:
        self._width_ms = width_ms
        self._max = windows_max
        self._counts: OrderedDict[tuple[str, int], int] = OrderedDict()

    def take(self, name: str, at_ms: int, limit: int) -> bool:
        window = (name, at_ms // self._width_ms)
        count = self._counts.get(window, 0)
        if count >= limit:
            return False
        self._counts[window] = count + 1
        if len(self._counts) > self._max:
            self._counts.popitem(last=False)
        return True
