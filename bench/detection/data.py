"""Where the public data sets lie: the folder that STAYHAND_DATA names, or ``../shared/data`` beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

from bench.errors import BenchFailed
from bench.figures import ROOT


def folder(name: str) -> Path:
    """The folder of one set.

    Raises:
        BenchFailed: where it is absent.
    """
    found = Path(os.environ.get("STAYHAND_DATA") or ROOT.parent / "shared" / "data") / name
    if not found.is_dir():
        raise BenchFailed(f"{found} is not there: set STAYHAND_DATA to the folder that holds {name}")
    return found
