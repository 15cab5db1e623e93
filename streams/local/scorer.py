"""A scorer as our child process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from streams.local.child import Child


class ScorerProcess(Child):
    """``python -m streams scorer``; ``module`` may name a variant of it that a test needs."""

    def __init__(self, settings: Mapping[str, str], log: Path, module: str = "streams", *, tied: bool = True) -> None:
        """Start it with these settings in its environment."""
        super().__init__(module, ("scorer",), log, settings, tied=tied)
