"""SEA's data (Schonlau et al. 2001): whose commands they are, block by block, and what the other users usually do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache, lru_cache
from multiprocessing import get_context
from multiprocessing.pool import Pool

import numpy as np

from bench.detection.data import folder
from bench.detection.ranking import Labels
from models import epoch
from models.profiles import Counted, Profile, build_profile, counted

USERS, OWN, BLOCK, BLOCKS = 50, 5_000, 100, 100
STEP_MS, START_MS = 7_000, 1_700_000_000_000
SHIFT = 50
EPISODES, EPISODE_GAP = 0.5, 100


def workers() -> Pool:
    """Processes to share the users among, at most two, milder than what else runs."""
    # Forked workers would share the threads of whatever else the bench has loaded.
    return get_context("spawn").Pool(max(1, min(2, os.cpu_count() or 1)), os.nice, (5,))


def masquerades() -> Labels:
    """By user and test block whether it is somebody else's."""
    rows = [line.split() for line in (folder("sea_masquerade") / "label.txt").read_text(encoding="ascii").splitlines()]
    return np.array([[cell == "1" for cell in row] for row in rows], dtype=np.bool_).T


@cache
def histories() -> tuple[tuple[str, ...], ...]:
    """The commands of each user in order."""
    data = folder("sea_masquerade")
    texts = [(data / f"User{user}").read_text(encoding="latin-1") for user in range(1, USERS + 1)]
    return tuple(tuple(line.strip() for line in text.splitlines()) for text in texts)


def profile_without(user: int, salt: int) -> Profile:
    """What the other users' first commands say."""
    return build_profile("sea", [counts for other, counts in enumerate(_counts(salt)) if other != user])


@lru_cache(maxsize=1)
def _counts(salt: int) -> list[Counted]:
    return [counted(salted(names[:OWN], salt), epoch.EPOCH_EVENTS) for names in histories()]


def salted(names: Sequence[str], salt: int) -> list[str]:
    """The same names under other hashes."""
    return [f"{salt}:{name}" for name in names]
