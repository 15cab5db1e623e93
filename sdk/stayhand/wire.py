"""The wire types: what an enforcement point says and what it is told, as frozen pydantic models with their limits."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from stayhand import canonical
from stayhand.errors import InvalidAction
from stayhand.identity import identity_of

MAX_ACTION_BYTES = 16_384
MAX_CONTEXT_BYTES = 8_192
MAX_PROPERTIES_BYTES = 4_096
MAX_DEPTH = 8
MAX_MESSAGE = 1_024
# An ASCII character becomes at most six (\\u001f); integers beyond 2^53 are not exact in every JSON reader.
_ESCAPED_CHARS, _NUMBER_CHARS, _EXACT = 6, 20, 2**53

Verdict = Literal["permit", "slow", "guide", "block"]
FallbackMode = Literal["closed", "open", "local", "last-known"]
OutcomeResult = Literal["done", "failed", "cancelled", "unknown"]
ObligationType = Literal["wait", "message", "approval", "reconfirm"]

Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Label = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
Properties = dict[str, JsonValue]


class Severity(IntEnum):
    """The verdicts in order: the most severe one wins."""

    permit = 0
    slow = 1
    guide = 2
    block = 3


class _Wire(BaseModel):
    """Frozen, no coercion, unknown fields ignored (AuthZEN Authorization API 1.0, section 4)."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Subject(_Wire):
    """Who acts (AuthZEN section 5.1)."""

    type: Annotated[str, Field(min_length=1, max_length=32)]
    id: Annotated[str, Field(min_length=1, max_length=256)]
    properties: Properties = Field(default_factory=dict)


class Action(_Wire):
    """What is about to be done (AuthZEN section 5.3); the family is the name up to its first ``:``, ``.`` or ``/``."""

    name: Name
    properties: Properties = Field(default_factory=dict)


class Resource(_Wire):
    """What it is done to (AuthZEN section 5.2)."""

    type: Name
    id: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]+$")]
    properties: Properties = Field(default_factory=dict)


class SecretMatch(_Wire):
    """A secret that was found locally: its rule's name and a keyed fingerprint, never its text."""

    rule: Name
    fingerprint: Hex
    where: Label = ""


class Context(BaseModel):
    """Under which circumstances (AuthZEN section 5.4): the fields that the models know, and any others."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    source: Label = ""
    client: Label = ""
    session: Label = ""
    task: Label = ""
    environment: Label = ""
    idempotency_key: Label = ""
    argument_digest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    credential_id: Label = ""
    credential_issued_at_ms: Annotated[int, Field(ge=0)] | None = None
    bytes_out: Annotated[int, Field(ge=0)] | None = None
    secrets: Annotated[tuple[SecretMatch, ...], Field(max_length=32, strict=False)] = ()


class PendingAction(_Wire):
    """An action that waits for its decision: AuthZEN's subject, action, resource and context.

    At most 16,384 bytes as JSON, its context at most 8,192, properties at most 4,096 each, nesting at most 8 deep.
    """

    subject: Subject
    action: Action
    resource: Resource
    context: Context = Field(default_factory=Context)

    @property
    def identity(self) -> str:
        """The normalised ``type:id`` of the subject.

        Raises:
            InvalidAction: where type or id break the rules.
        """
        return identity_of(self.subject.type, self.subject.id)


class Outcome(_Wire):
    """What became of an action: ``done``, ``failed``, ``cancelled``, or ``unknown`` where its process died."""

    receipt: Annotated[str, Field(min_length=1, max_length=512)]
    decision_id: Hex
    result: OutcomeResult


class Wait(_Wire):
    """Wait before acting."""

    type: Literal["wait"] = "wait"
    wait_ms: Annotated[int, Field(ge=0, le=600_000)]


class Message(_Wire):
    """Show a person this text."""

    type: Literal["message"] = "message"
    text: Annotated[str, Field(max_length=MAX_MESSAGE)]


class Approval(_Wire):
    """Wait for an approval; the final decision comes to the same reply address, or the hold ends closed."""

    type: Literal["approval"] = "approval"
    hold_id: Hex
    expires_at_ms: int


class Reconfirm(_Wire):
    """Have the scope confirmed again at run time; what must be confirmed stands in ``text``."""

    type: Literal["reconfirm"] = "reconfirm"
    text: Annotated[str, Field(max_length=MAX_MESSAGE)]


Obligation = Annotated[Wait | Message | Approval | Reconfirm, Field(discriminator="type")]


class Reason(_Wire):
    """Why: a stable code, a sentence for a person (no numbers), and references such as ``NHI5:2025``."""

    code: Name
    message: Annotated[str, Field(max_length=MAX_MESSAGE)]
    references: Annotated[tuple[str, ...], Field(strict=False)] = ()


class PolicyRef(_Wire):
    """The policy pack that decided; ``hash`` is SHA-256 over its canonical JSON."""

    name: str
    version: str
    hash: str


class FallbackLease(_Wire):
    """Which fallbacks the point may use for this kind of action, and until when; none known means closed."""

    modes: Annotated[tuple[FallbackMode, ...], Field(strict=False)] = ("closed",)
    expires_at_ms: int = 0


class Decision(_Wire):
    """The answer to a pending action.

    ``would_be`` is the verdict that observe mode held back. ``receipt`` and ``origin`` are not part of the body:
    the receipt travels in a header, the origin tells a fallback of the SDK from a decision of the gate.
    """

    decision_id: Hex
    verdict: Verdict
    would_be: Verdict | None = None
    final: bool = True
    obligations: Annotated[tuple[Obligation, ...], Field(strict=False)] = ()
    reasons: Annotated[tuple[Reason, ...], Field(strict=False)] = ()
    policy: PolicyRef
    fallback: FallbackLease = FallbackLease()
    receipt: str = Field(default="", exclude=True)
    origin: Literal["gate", "fallback"] = Field(default="gate", exclude=True)

    @property
    def allowed(self) -> bool:
        """Whether the action may go on once the obligations are met (AuthZEN's boolean decision)."""
        return self.verdict in {"permit", "slow"}


class Rejection(_Wire):
    """The gate's answer to an ask that it refused; the action must not happen."""

    code: Name
    message: Annotated[str, Field(max_length=MAX_MESSAGE)]
    field: str = ""


class Fallback(_Wire):
    """What a point decided by itself, and why: a claim, not a fact."""

    point: str
    action: str
    resource: str
    mode: FallbackMode
    verdict: Verdict
    cause: Literal["deadline", "unavailable", "circuit-open", "rejected"]
    at_ms: int
    action_digest: Hex


def pending_action(value: Mapping[str, Any]) -> PendingAction:
    """Validate an action from plain data, with its limits.

    Raises:
        InvalidAction: naming the first field that is wrong and what was expected.
    """
    action = shaped_action(value)
    identity_of(action.subject.type, action.subject.id)
    return action


def shaped_action(value: Mapping[str, Any]) -> PendingAction:
    """The same without a look at the identity, for whoever asks for that next.

    Raises:
        InvalidAction: naming the first field that is wrong and what was expected.
    """
    try:
        action = PendingAction.model_validate(value)
    except ValidationError as error:
        raise invalid(error) from error
    check_limits(value)
    return action


def invalid(error: ValidationError) -> InvalidAction:
    """The first complaint of pydantic as field and expectation; the input itself is not repeated."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "value"
    return InvalidAction(field, first["msg"])


def check_limits(value: Mapping[str, Any]) -> None:
    """Refuse what is too deep or too large by part.

    Raises:
        InvalidAction: naming the part.
    """
    for part in ("subject", "action", "resource"):
        holder = value.get(part)
        properties: Any = holder.get("properties") if isinstance(holder, Mapping) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        if properties:
            _bounded(properties, f"{part}.properties", MAX_PROPERTIES_BYTES)
    if value.get("context"):
        _bounded(value["context"], "context", MAX_CONTEXT_BYTES)


def _bounded(value: Any, field: str, limit: int) -> None:
    if _surely_bounded(value, limit):
        return
    if _depth(value) > MAX_DEPTH:
        raise InvalidAction(field, f"expected nesting of at most {MAX_DEPTH}")
    try:
        size = len(canonical.canonical(value))
    except canonical.InvalidJson as error:
        raise InvalidAction(field, f"expected plain JSON: {error}") from error
    if size > limit:
        raise InvalidAction(field, f"expected at most {limit} bytes as JSON, got {size}")


def _surely_bounded(value: Any, limit: int) -> bool:
    """Whether this is a flat object, too short to break a limit: nearly all are, and writing JSON to see it is slow."""
    if type(value) is not dict:
        return False
    size, flat = 2, cast("dict[object, object]", value)
    for name, item in flat.items():
        for text in (name, item):
            if type(text) is str:
                if not text.isascii():
                    return False
                size += _ESCAPED_CHARS * len(text) + 3
            elif text is name or not (item is None or type(item) is bool or (type(item) is int and abs(item) < _EXACT)):
                return False
            else:
                size += _NUMBER_CHARS
    return size <= limit


def _depth(value: Any) -> int:
    depth = 0
    layer: list[Any] = [value]
    while layer and depth <= MAX_DEPTH:
        layer = [
            inner
            for item in layer
            if isinstance(item, (dict, list, tuple))
            for inner in (item.values() if isinstance(item, dict) else item)  # pyright: ignore[reportUnknownVariableType]
        ]
        depth += 1
    return depth
