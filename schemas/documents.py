"""The server's own documents: controls, facts, the registry's entries, audit records and dead letters."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, field_validator

from stayhand.wire import FallbackMode, Hex, Label, Name, ObligationType, PendingAction

MAX_GRANTS = 8
MAX_HOLDS = 8
MAX_SPENT_KEYS = 32
MAX_REVIEWS = 16
MAX_FACTS_BYTES = 4_096
MAX_STATE_BYTES = 2_048

Pattern = Annotated[str, Field(min_length=1, max_length=256)]
Counter = Annotated[int, Field(ge=0, le=1 << 52)]
# What every reader of JSON takes for the same number (RFC 8259, section 6); the audit could not hold a larger one.
MAX_NUMBER = 1 << 53


class Document(BaseModel):
    """Frozen; a field that the contract does not know is a mistake of ours, so it is refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class PointKey(Document):
    """A key id of an enforcement point; the key itself is derived and never stored."""

    key_id: Name
    not_after_ms: int | None = None
    revoked: bool = False


class EnforcementPoint(Document):
    """A program that may ask, and its rights (`stayhand.global`, key ``point/<id>``).

    ``identities`` and ``actions`` are shell patterns (``fnmatch``, case-sensitive) over the identity and the action's
    name; ``fallbacks`` names what its SDK may do without an answer; ``obligations`` what it can carry out.
    """

    point: Name
    domain: Label = ""
    keys: Annotated[tuple[PointKey, ...], Field(strict=False, max_length=8)]
    identities: Annotated[tuple[Pattern, ...], Field(strict=False, max_length=64)]
    actions: Annotated[tuple[Pattern, ...], Field(strict=False, max_length=64)]
    reply_topics: Annotated[tuple[Name, ...], Field(strict=False, max_length=16)]
    rate_per_s: Annotated[int, Field(ge=1)] = 1_000
    new_identities_per_hour: Annotated[int, Field(ge=0)] = 100
    fallbacks: Annotated[tuple[FallbackMode, ...], Field(strict=False)] = ("closed",)
    fallback_lease_ms: Annotated[int, Field(ge=0)] = 3_600_000
    obligations: Annotated[tuple[ObligationType, ...], Field(strict=False)] = (
        "wait",
        "message",
        "approval",
        "reconfirm",
    )
    observe: bool = False


class PackDocument(Document):
    """A policy pack as published (key ``pack/<hash>``); ``source`` is its YAML text."""

    hash: Hex
    name: Name
    version: Name
    source: Annotated[str, Field(max_length=200_000)]
    by: Name


class ActivePolicy(Document):
    """Which pack decides, which is only recorded, and which one to roll back to (key ``policy``).

    ``activation`` is new each time a pack is activated. In each partition, of the first ``window`` asks decided after
    it, at most ``cap_percent`` more may be blocked than ``previous`` would have blocked; beyond that ``previous``
    decides again. 100 lets any number be blocked.
    """

    active: Hex
    shadow: Hex | None = None
    previous: Hex | None = None
    activation: Annotated[str, Field(pattern=r"^[0-9a-f]{0,32}$")] = ""
    cap_percent: Annotated[int, Field(ge=0, le=100)] = 5
    window: Annotated[int, Field(ge=1, le=100_000)] = 500
    by: Name
    why: Label = ""


class KillSwitch(Document):
    """Everything in this scope is blocked (key ``switch/<scope>/<name>``); a tombstone ends it."""

    scope: Literal["family", "point", "everything"]
    name: Label = ""
    by: Name
    why: Label = ""


class ObserveMode(Document):
    """Everything in this scope is decided and recorded, and permitted (key ``observe/<scope>/<name>``)."""

    scope: Literal["family", "gate"]
    name: Label = ""
    by: Name
    why: Label = ""


class _Control(Document):
    control_id: Hex
    by: Name
    why: Label = ""


class Register(_Control):
    """The identity is known, and whose it is."""

    kind: Literal["register"] = "register"
    owner: Label = ""
    group: Label = ""
    credential_issued_at_ms: Annotated[int, Field(ge=0, le=MAX_NUMBER)] | None = None


class Offboard(_Control):
    """The identity has left; whatever it asks is blocked."""

    kind: Literal["offboard"] = "offboard"


class Freeze(_Control):
    """Whatever the identity asks is blocked until it is unfrozen."""

    kind: Literal["freeze"] = "freeze"


class Unfreeze(_Control):
    """Ends a freeze."""

    kind: Literal["unfreeze"] = "unfreeze"


class GrantFact(Document):
    """An approval that ends by itself; ``action`` and ``resource`` are shell patterns (``resource`` over ``type:id``).

    ``uses_left`` None means any number until ``expires_at_ms``; an empty ``argument_digest`` binds no arguments.
    """

    grant_id: Hex
    action: Pattern
    resource: Pattern
    argument_digest: str = ""
    not_before_ms: int = 0
    expires_at_ms: int
    uses_left: Annotated[int, Field(ge=0)] | None = 1


class Grant(_Control):
    """Gives a grant."""

    kind: Literal["grant"] = "grant"
    grant: GrantFact

    @field_validator("grant")
    @classmethod
    def _whole(cls, grant: GrantFact) -> GrantFact:
        """Facts of earlier releases are read whatever they hold, so this is asked of what is new alone."""
        for name in ("not_before_ms", "expires_at_ms", "uses_left"):
            if not 0 <= (getattr(grant, name) or 0) <= MAX_NUMBER:
                raise ValueError(f"{name}: expected 0 to {MAX_NUMBER}")
        return grant


class Revoke(_Control):
    """Takes a grant back."""

    kind: Literal["revoke"] = "revoke"
    grant_id: Hex


class Approve(_Control):
    """Answers a hold with yes; the scorer checks everything again before it says so."""

    kind: Literal["approve"] = "approve"
    hold_id: Hex


class Deny(_Control):
    """Answers a hold with no."""

    kind: Literal["deny"] = "deny"
    hold_id: Hex


class Reset(_Control):
    """Forgets the baseline; facts stay."""

    kind: Literal["reset"] = "reset"


class Import(_Control):
    """Sets the baseline to one that was learned elsewhere: ``baseline`` is its body in base64."""

    kind: Literal["import"] = "import"
    baseline: Annotated[str, Field(max_length=4_096)]


class LessonFact(Document):
    """What the audit says that a decision saw and taught, for a review of it; codes and numbers only.

    ``keys`` are channel << 16 | code; ``epoch`` is where the action was learned to wait, 0 where it was not; ``habit``
    the epoch of habits that it was in, 0 for none, ``habitual`` whether it may become one; ``h`` (None without a
    profile) and ``total`` are the scores then, in 1/1024.
    """

    at_ms: Annotated[int, Field(ge=0, le=1 << 53)]
    keys: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=5 << 16)], ...], Field(strict=False, min_length=1, max_length=5)
    ]
    counters: Annotated[tuple[Counter, Counter, Counter], Field(strict=False)]
    epoch: Annotated[int, Field(ge=0, lt=1 << 32)] = 0
    habit: Annotated[int, Field(ge=0, lt=1 << 32)] = 0
    habitual: bool = False
    code: Annotated[int, Field(ge=0, lt=1 << 16)]
    h: Annotated[int, Field(ge=-(1 << 20), le=1 << 20)] | None = None
    total: Annotated[int, Field(ge=0, le=1 << 20)]


class Review(_Control):
    """A person's word on one decision: this was fine, or this was bad. ``lesson`` is what the audit says of it."""

    kind: Literal["review"] = "review"
    decision_id: Hex
    said: Literal["fine", "bad"]
    lesson: LessonFact


Control = Annotated[
    Register | Offboard | Freeze | Unfreeze | Grant | Revoke | Approve | Deny | Reset | Import | Review,
    Field(discriminator="kind"),
]
CONTROL: TypeAdapter[Control] = TypeAdapter(Control)


class HoldFact(Document):
    """An ask that waits for an approval, with all that is needed to score and answer it again."""

    hold_id: Hex
    actions_offset: int
    correlation_id: str
    reply_topic: str
    reply_partition: int | None
    point: str
    key_id: str
    expires_at_ms: int
    policy: str
    idempotency_key: str = ""
    action: Annotated[str, Field(max_length=128)]
    resource: Annotated[str, Field(max_length=256)]
    argument_digest: str = ""
    features: dict[str, JsonValue] = {}


class Frozen(Document):
    """Who froze the identity, when and why."""

    by: str
    why: str = ""
    at_ms: int


class Reviewed(NamedTuple):
    """A decision that a person reviewed: its time, the last 16 digits of its id, and the answer.

    ``epoch`` is where it waits, or waited, to be learned because of that; 0 where the answer taught nothing.
    """

    at_ms: int
    decision: str
    fine: bool
    epoch: int


class Facts(Document):
    """What is true of the identity now; at most 4,096 bytes as JSON.

    ``reviews`` are in the order of their decisions. The oldest yield to whatever else needs room; decisions up to
    ``reviewed_ms`` are not reviewed any more. ``called_bad_ms`` is when somebody last called one bad.
    """

    registered: bool = False
    owner: str = ""
    group: str = ""
    credential_issued_at_ms: int | None = None
    offboarded: bool = False
    frozen: Frozen | None = None
    first_seen_ms: int = 0
    grants: Annotated[tuple[GrantFact, ...], Field(strict=False, max_length=MAX_GRANTS)] = ()
    holds: Annotated[tuple[HoldFact, ...], Field(strict=False, max_length=MAX_HOLDS)] = ()
    spent_keys: Annotated[tuple[Hex, ...], Field(strict=False, max_length=MAX_SPENT_KEYS)] = ()
    reviews: Annotated[tuple[Reviewed, ...], Field(strict=False, max_length=MAX_REVIEWS)] = ()
    reviewed_ms: int = 0
    called_bad_ms: int | None = None


class Vector(Document):
    """The input vector: all that a decision depended on beside the action itself.

    Offsets are those of the last record processed (-1: none); ``prior`` is the hash of the shipped prior, ``profile``
    that of the peers' profile (empty: none, or the final answer of a hold, whose features are those of its ask).
    """

    actions_topic: str
    controls_topic: str
    partition: int
    actions: int
    controls: int
    globals: int
    policy: str = ""
    shadow: str = ""
    prior: str = ""
    profile: str = ""
    model: str


class AskRecord(Document):
    """Where an ask came from and where its answer goes."""

    ce_id: str
    ce_time: str
    point: str
    key_id: str
    correlation_id: str
    reply_topic: str
    reply_partition: int | None
    deadline_ms: int
    appended_at_ms: int
    read_at_ms: int
    late: bool
    traceparent: str = ""


class GuardRecord(Document):
    """What a partition has counted of a new policy.

    ``decided`` asks since the activation, of which the new pack blocked ``blocks`` and the one before it would have
    blocked ``blocks_before``. trial: it still counts. kept: the new pack decides from now on. returned: it blocked too
    much more, so that the one before it decides again and the new one is the shadow.
    """

    activation: str
    state: Literal["trial", "kept", "returned"]
    decided: int
    blocks: int
    blocks_before: int


class AuditRecord(Document):
    """One record of `stayhand.audit`; ``kind`` says which of the optional parts it has.

    decision: ask, action, features, scores, facts, decision, effects (and shadow; guard, after this decision, while a
    new policy is on trial or returned to shadow). final: the second answer of a hold.
    outcome: outcome, effects. control: control, effects. applied: a change of `stayhand.global` was applied.
    mark: a new owner took the partition over. gap: input that was gone before it could be read. returned: from here on
    the policy before decides again (guard; the hashes and limits in note).
    """

    kind: Literal["decision", "final", "outcome", "control", "applied", "mark", "gap", "returned"]
    term: int
    worker: str
    identity: str = ""
    at_ms: int
    vector: Vector
    ask: AskRecord | None = None
    action: PendingAction | None = None
    features: dict[str, Any] | None = None
    scores: dict[str, Any] | None = None
    facts: dict[str, Any] | None = None
    decision: dict[str, Any] | None = None
    shadow: dict[str, Any] | None = None
    outcome: dict[str, Any] | None = None
    control: dict[str, Any] | None = None
    effects: list[Any] = []
    waits: bool = False
    guard: GuardRecord | None = None
    note: dict[str, Any] | None = None


class DeadLetter(Document):
    """What could not be read or was not allowed; ``value`` is capped, and left out where it may hold a secret."""

    topic: str
    partition: int
    offset: int
    code: Name
    field: str = ""
    message: str
    point: str = ""
    size_bytes: int
    value: str | None = None
    truncated: bool = False
    headers: dict[str, str] = {}
