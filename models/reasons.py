"""The gate's own reasons: what the guards, the score's terms and the obligations say to a person, without numbers."""

from __future__ import annotations

from typing import Any

ReasonBody = dict[str, Any]


def reason(code: str, message: str, *references: str) -> ReasonBody:
    """A reason as it stands in a decision's body; shared between decisions, so never changed in place."""
    body: ReasonBody = {"code": code, "message": message}
    if references:
        body["references"] = list(references)
    return body


FROZEN = reason("frozen", "This identity is frozen; nothing goes on until an operator unfreezes it.", "RS.MI-01")
OFFBOARDED = reason("offboarded", "This identity has left and may not act any more.", "NHI1:2025", "PR.AA-01")
STOPPED = reason("stopped", "An operator has stopped actions of this kind for now.", "RS.MI-01")
REPEATED = reason("repeated", "This request was already judged once; it is not judged again.")
KEY_SPENT = reason("idempotency-key-spent", "The approval behind this request was already used; ask for a new one.")
KEY_REUSED = reason(
    "idempotency-key-reused", "Another action waits for its approval under the same key; use a key of its own."
)
HOLDS_FULL = reason(
    "holds-full", "Too many requests of this identity already wait for an approval; answer or let lapse some of them."
)
TOO_LATE = reason("too-late", "The request came too late to wait for an approval.")
CANNOT_OBEY = reason(
    "point-cannot-obey", "This program cannot carry out what the rules ask for here, so the action is stopped."
)
APPROVED = reason("approved", "The request was approved.")
GRANTED = reason("granted", "An approval that was given before covers this, and one use of it is spent.")
DENIED = reason("approval-denied", "The request was looked at and refused.")
LAPSED = reason("approval-lapsed", "The approval came after the request had lapsed; ask again.")
POLICY_CHANGED = reason("policy-changed", "The rules changed while the request waited; ask again.")
POINT_GONE = reason("point-gone", "The program that asked is not registered any more.")

_TERMS = {
    "action": reason("unusual-action", "This identity rarely or never does this."),
    "resource": reason("unusual-resource", "This identity rarely or never touches this resource."),
    "source": reason("unusual-source", "The request comes from a place that is unusual for this identity."),
    "client": reason("unusual-client", "The request comes from a program that is unusual for this identity."),
    "hour": reason("unusual-hour", "This identity is rarely active at this time of day."),
    "rate": reason("unusual-rate", "This identity acts much faster than it usually does."),
    "impact": reason("high-impact", "This action can do much harm and is not routine for this identity."),
    "session": reason("unusual-session", "Several recent actions of this identity were unusual."),
}


def term_reason(term: str) -> ReasonBody | None:
    """The sentence for a term of the score by its name (``rate_10s`` counts as ``rate``); None for an unknown one."""
    return _TERMS.get(term) or _TERMS.get(term.partition("_")[0])
