"""The blast-radius guard: a change of policy that blocks too much more than the pack before it returns to shadow.

After an activation each partition decides its next ``window`` asks with the new pack, and looks at what the pack before
would have said. Once the new one has blocked more than ``cap_percent`` of the window beyond that, the one before rules
again and the new one is only recorded, until an operator activates anew. What was counted stands in every audit record
of that time and beside the committed offsets, so whoever takes the partition over goes on where it stood.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from models.policy import CompiledPack
from schemas.documents import ActivePolicy

State = Literal["trial", "kept", "returned"]
_STATES: dict[str, State] = {state: state for state in get_args(State)}
_SEPARATOR = ":"


@dataclass(frozen=True, slots=True)
class Trial:
    """An activation that the guard watches: what it compares, and how much more may be blocked."""

    activation: str
    active: CompiledPack
    before: CompiledPack
    cap_percent: int
    window: int


@dataclass(frozen=True, slots=True)
class Guard:
    """What one partition has counted of an activation.

    ``decided`` asks, of which the new pack blocked ``blocks`` and the one before would have blocked ``blocks_before``.
    """

    activation: str = ""
    state: State = "kept"
    decided: int = 0
    blocks: int = 0
    blocks_before: int = 0

    @property
    def returned(self) -> bool:
        """Whether the pack before decides again."""
        return self.state == "returned"


NO_GUARD = Guard()


def activation_of(policy: ActivePolicy) -> str:
    """What tells one activation from another: its own id, or the pack's hash where it has none."""
    return policy.activation or policy.active[:32]


def opened(guard: Guard, trial: Trial | None) -> Guard:
    """The guard of what is on trial now: the same one while the activation is, else one that has counted nothing."""
    if trial is None:
        return NO_GUARD
    return guard if guard.activation == trial.activation else Guard(trial.activation, "trial")


def counted(guard: Guard, trial: Trial, *, blocked: bool, blocked_before: bool) -> Guard:
    """The guard after one more ask; once it is decided either way it counts no more."""
    if guard.state != "trial":
        return guard
    blocks, before = guard.blocks + blocked, guard.blocks_before + blocked_before
    after = replace(guard, decided=guard.decided + 1, blocks=blocks, blocks_before=before)
    if 100 * (blocks - before) > trial.cap_percent * trial.window:
        return replace(after, state="returned")
    return replace(after, state="kept") if after.decided >= trial.window else after


def guard_json(guard: Guard) -> dict[str, Any]:
    """The guard as an audit record has it (``schemas.documents.GuardRecord``)."""
    return asdict(guard)


def recorded(body: dict[str, Any], guard: Guard) -> Guard:
    """The guard after an audit record of a decision; the same one where the record says nothing of it."""
    told = body.get("guard")
    if told is None:
        return guard
    return Guard(told["activation"], told["state"], told["decided"], told["blocks"], told["blocks_before"])


def encode(guard: Guard) -> str:
    """The guard as text of a committed offset's metadata, without ``|``."""
    return _SEPARATOR.join(map(str, asdict(guard).values()))


def decode(text: str) -> Guard:
    """Read what `encode` wrote.

    Raises:
        ValueError: where it is not that.
    """
    activation, state, decided, blocks, before = text.split(_SEPARATOR)
    if state not in _STATES:
        raise ValueError(f"guard: expected one of {', '.join(_STATES)}, not {state[:32]!r}")
    return Guard(activation, _STATES[state], int(decided), int(blocks), int(before))
