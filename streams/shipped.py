"""The policy pack that ships: in force wherever none was published, so that a new gate decides at once."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from models.policy import CompiledPack, compile_pack

DEFAULT_PACK = Path(__file__).resolve().parent.parent / "policies" / "default.yaml"


@lru_cache(maxsize=1)
def shipped_pack() -> CompiledPack:
    """``policies/default.yaml``, compiled."""
    return compile_pack(DEFAULT_PACK.read_text(encoding="utf-8"))
