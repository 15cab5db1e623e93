"""The exceptions that a program which asks Stayhand can meet: one for each outcome, all below StayhandError."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stayhand.wire import Decision, Reason


class StayhandError(Exception):
    """The root of every exception that this package raises."""


class ConfigurationError(StayhandError):
    """A setting is missing or wrong; the message is one line that says how to mend it."""


class InvalidAction(StayhandError):
    """An action, outcome or identity breaks the contract; nothing was published.

    Attributes:
        field: where, as a dotted path (``context.session``).
        expected: what would have been right.
    """

    def __init__(self, field: str, expected: str) -> None:
        """Name the field and what was expected there."""
        super().__init__(f"{field}: {expected}")
        self.field = field
        self.expected = expected


class Rejected(StayhandError):
    """The gate read the ask and refused it (rights, signature, shape); it is in the dead letters.

    Attributes:
        code: the machine-readable cause, such as ``identity-not-allowed``.
    """

    def __init__(self, code: str, message: str) -> None:
        """Carry the gate's own code and sentence."""
        super().__init__(f"{code}: {message}")
        self.code = code


class Blocked(StayhandError):
    """The action must not happen: a block, an obligation that was not met, or a closed fallback.

    Attributes:
        decision: the decision that stopped it.
        reasons: why, for a person.
    """

    def __init__(self, decision: Decision, why: str | None = None) -> None:
        """Explain by ``why``, or by the decision's own reasons."""
        told = why or "; ".join(reason.message for reason in decision.reasons) or "blocked"
        super().__init__(told)
        self.decision = decision

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The decision's reasons, most severe first."""
        return self.decision.reasons


class GuardClosed(StayhandError):
    """The guard was closed, or belongs to another process (it does not survive a fork)."""


class Unavailable(StayhandError):
    """Kafka could not be reached where an answer was needed and no fallback applies."""
