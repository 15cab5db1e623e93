"""From what identities learned to the profiles of their peers: who is counted where, and how many it takes.

Habits hold 128 actions of an identity with logarithmic counts, and the order of the actions of its open epoch alone: so
shares are right within some percent, and pairs of actions are a sample.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from models.epoch import Habits
from models.profiles import Member, Profile, peer_profile
from models.sketch import COUNTS, EPOCHS
from schemas.profiles import Scope

# Fewer identities would mostly be compared with themselves, and any of them could say what is usual.
LEAST_IDENTITIES, LEAST_EPOCHS = 5, 20
Place = tuple[Scope, str]
EVERYBODY: Place = ("everybody", "")


class Built(NamedTuple):
    """One group of peers: how much of it there is, and its profile; None where that is too little."""

    scope: Scope
    name: str
    identities: int
    events: int
    epochs: int
    profile: Profile | None


def member(habits: Habits) -> Member | None:
    """What these habits add to a profile; None before their first whole epoch is learned."""
    if not habits.epochs:
        return None
    values = {code: (round(COUNTS[n]), round(EPOCHS[e])) for code, (n, e, _) in habits.table.entries.items()}
    learned = [code if habits.learn >> place & 1 else None for place, code in enumerate(habits.codes)]
    pairs = Counter((one, two) for one, two in pairwise(learned) if one is not None and two is not None)
    return Member(values, habits.events, habits.epochs, pairs, habits.histogram)


def places(identity: str, group: str) -> list[Place]:
    """Where an identity is counted: with everybody, with its type, and with its group if it has one."""
    found: list[Place] = [EVERYBODY, ("type", identity[: identity.find(":")])]
    if group:
        found.append(("group", group))
    return found


def enough(identities: int, epochs: int) -> bool:
    """Whether so much tells what is usual among peers."""
    return identities >= LEAST_IDENTITIES and epochs >= LEAST_EPOCHS


def built(version: str, found: Iterable[tuple[str, str, Member]]) -> list[Built]:
    """The profiles of all places from (identity, group, member): everybody first, then types and groups by name."""
    gathered: defaultdict[Place, list[Member]] = defaultdict(list)
    gathered[EVERYBODY] = []
    for identity, group, one in found:
        for place in places(identity, group):
            gathered[place].append(one)
    return [_built(version, place, gathered[place]) for place in sorted(gathered, key=_in_order)]


def _built(version: str, place: Place, members: list[Member]) -> Built:
    events, epochs = sum(each.events for each in members), sum(each.epochs for each in members)
    profile = peer_profile(version, members) if enough(len(members), epochs) else None
    return Built(*place, len(members), events, epochs, profile)


def _in_order(place: Place) -> tuple[int, str]:
    return ("everybody", "type", "group").index(place[0]), place[1]
