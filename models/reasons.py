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
    "epoch": reason("unusual-lately", "What this identity did lately looks as if somebody else did it."),
    "drift": reason("unusual-drift", "What this identity does has slowly become something else than it used to be."),
}

_AGENT_TERMS = {
    "argument-unknown": reason("argument-unknown", "Nobody can tell where the target of this call came from.", "ASI01"),
    "argument-foreign": reason(
        "argument-foreign",
        "The target of this call stands in a third party's text, not in the task.",
        "ASI01",
    ),
    "argument-from-outside": reason(
        "argument-from-outside", "The text that names the target of this call could be written by anybody.", "ASI01"
    ),
    "argument-source-unnamed": reason(
        "argument-source-unnamed",
        "The task did not name the source that this call's target was taken from.",
        "ASI01",
    ),
    "argument-address": reason("argument-address", "The target of this call is an address from somebody else's text."),
    "argument-steered": reason(
        "argument-steered", "The target of this call was found by following what a third party's text said.", "ASI01"
    ),
    "argument-unlinked": reason("argument-unlinked", "Nothing links the target of this call to the task."),
    "argument-third-party": reason(
        "argument-third-party", "The target of this call is somebody who wrote to this agent, not named in the task."
    ),
    "argument-instead-of-own": reason(
        "argument-instead-of-own", "The task gives a target of this kind itself, and the call uses another.", "ASI01"
    ),
    "content-foreign-address": reason(
        "content-foreign-address", "What is about to be sent carries an address from somebody else's text."
    ),
    "selector-foreign": reason(
        "selector-foreign", "What is about to be read was named by a third party's text, not by the task.", "ASI01"
    ),
    "selector-from-outside": reason(
        "selector-from-outside", "The text that names what is about to be read could be written by anybody.", "ASI01"
    ),
    "selector-fetched": reason("selector-fetched", "Fetching this address tells its owner that it was followed."),
    "family-not-in-task": reason("family-not-in-task", "The task does not call for a tool of this kind.", "ASI02"),
    "family-not-declared": reason(
        "family-not-declared", "Tools of this kind are not among those that the task's owner declared.", "ASI02"
    ),
    "irreversible-not-declared": reason(
        "irreversible-not-declared", "This cannot be taken back, and the task's owner did not declare it.", "ASI02"
    ),
}


def agent_reason(term: str) -> ReasonBody:
    """The sentence for a term of an agent's points.

    Raises:
        KeyError: where there is no such term.
    """
    return _AGENT_TERMS[term]


def term_reason(term: str) -> ReasonBody | None:
    """The sentence for a term of the score by its name (``rate_10s`` counts as ``rate``); None for an unknown one."""
    return _TERMS.get(term) or _TERMS.get(term.partition("_")[0])
