"""Reading a record: the one good ask, each way in which one can be bad, and bytes that mean nothing."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.transition import Ask
from schemas.documents import EnforcementPoint, PointKey
from stayhand import signing
from stayhand.headers import TYPE_OUTCOME, TYPE_PENDING, AskHeaders, rfc3339
from stayhand.partition import partition_for
from stayhand.wire import MAX_ACTION_BYTES
from streams.keyring import KeyRing
from streams.limits import Limiter
from streams.ports import Record
from streams.reading import MAX_VERIFIED_BYTES, Reader, ReaderSettings, Report, decision_id
from streams.receipts import Receipts
from streams.refusal import Refusal

MASTER = b"m" * 32
NOW = 1_795_000_000_000
PARTITIONS = 8
TOPICS = {
    "stayhand.decisions": 4,
    "stayhand.decisions.ci": 2,
    "stayhand.decisions.hr": 8,
    "stayhand.audit": 8,
    "stayhand.decisionsx": 8,
}
IDENTITY = "token:ci-deployer"
SETTINGS = ReaderSettings(topic_id="AAAAAAAAAAAAAAAAAAAAAA", partitions=PARTITIONS)
POINT = EnforcementPoint(
    point="gateway",
    keys=(
        PointKey(key_id="k1"),
        PointKey(key_id="gone", revoked=True),
        PointKey(key_id="old", not_after_ms=NOW - 1),
        PointKey(key_id="last", not_after_ms=NOW),
    ),
    identities=("token:*", "agent:a?"),
    actions=("deploy.*", "token.use"),
    reply_topics=("stayhand.decisions", "stayhand.decisions.ci", "stayhand.audit", "stayhand.decisionsx", "x.gone"),
)
GONE = POINT.model_copy(update={"reply_topics": ("stayhand.decisions.gone",), "point": "gone-topic"})
BODY: dict[str, Any] = {
    "subject": {"type": "token", "id": "ci-deployer"},
    "action": {"name": "deploy.push", "properties": {"tool": "kubectl"}},
    "resource": {"type": "env", "id": "prod/eu-1"},
    "context": {"source": "10.0.0.1", "unknown": [1, 2]},
}
HEADERS = AskHeaders(
    ce_id="ask-1",
    ce_type=TYPE_PENDING,
    ce_source="/ci",
    ce_time=rfc3339(NOW - 40),
    point="gateway",
    key_id="k1",
    correlation_id=b"c" * 16,
    reply_topic="stayhand.decisions",
    reply_partition=3,
    deadline_ms=2_000,
)


class Points:
    """A registry of two points."""

    def __init__(self) -> None:
        self.points = {POINT.point: POINT, GONE.point: GONE}

    def point(self, point: str) -> EnforcementPoint | None:
        return self.points.get(point)


def reader(keys: KeyRing | None = None, settings: ReaderSettings = SETTINGS, points: Points | None = None) -> Reader:
    return Reader(points or Points(), keys or KeyRing(MASTER), Limiter(), Receipts(MASTER), TOPICS.get, settings)


def record(
    body: Any = BODY,
    headers: AskHeaders = HEADERS,
    key: bytes | None = IDENTITY.encode(),
    master: bytes = MASTER,
    **changed: Any,
) -> Record:
    """A record of the actions topic, signed as its headers say; ``body`` bytes stand as they are."""
    value = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
    secret = signing.point_key(master, headers.point, headers.key_id)
    signed = headers._replace(signature=signing.sign(secret, headers.signable(key or b"", value)))
    plain = Record("stayhand.actions", partition_for(key or b"", PARTITIONS), 7, NOW, key, value, signed.encode())
    return plain._replace(**changed)


def body(**changes: Any) -> dict[str, Any]:
    return {**BODY, **changes}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def refusal(bad: Record, using: Reader | None = None) -> Refusal:
    with pytest.raises(Refusal) as raised:
        (using or reader()).read(bad, NOW)
    return raised.value


def test_a_good_ask_is_read_in_full() -> None:
    ask = reader().read(record(), NOW + 2_000)
    assert isinstance(ask, Ask)
    assert (ask.identity, ask.at_ms, ask.ce_id, ask.actions_offset, ask.late) == (IDENTITY, NOW, "ask-1", 7, False)
    assert (ask.correlation_id, ask.reply_topic, ask.reply_partition) == (b"c" * 16, "stayhand.decisions", 3)
    assert (ask.point, ask.key_id, ask.action.action.name) == (POINT, "k1", "deploy.push")
    assert ask.decision_id == decision_id(SETTINGS.topic_id, record().partition, 7)
    assert len(ask.decision_id) == 32


def test_an_ask_is_late_once_its_deadline_has_passed_since_its_append() -> None:
    ask = reader().read(record(), NOW + 2_001)
    assert isinstance(ask, Ask)
    assert ask.late


def test_an_ask_may_leave_the_reply_partition_to_its_key_and_use_a_domain_topic() -> None:
    headers = HEADERS._replace(reply_partition=None, reply_topic="stayhand.decisions.ci")
    ask = reader().read(record(headers=headers), NOW)
    assert isinstance(ask, Ask)
    assert ask.reply_partition is None


def test_a_subject_that_is_written_otherwise_but_has_the_key_s_identity_is_read() -> None:
    point = POINT.model_copy(update={"identities": ("email:*",)})
    points = Points()
    points.points["gateway"] = point
    told = body(subject={"type": "email", "id": "Ann@Example.org"})
    ask = reader(points=points).read(record(told, key=b"email:ann@example.org"), NOW)
    assert isinstance(ask, Ask)
    assert ask.identity == "email:ann@example.org"


BAD_BODIES: list[tuple[str, Any, str, str]] = [
    ("text", b"this is no JSON", "bad-json", "value"),
    ("empty", b"", "bad-json", "value"),
    ("half", b'{"subject":', "bad-json", "value"),
    ("twice", b'{"subject":{},"subject":{}}', "bad-json", "value"),
    ("not UTF-8", b'{"subject":"\xff"}', "bad-json", "value"),
    ("NaN", b'{"subject":NaN}', "bad-json", "value"),
    ("wide integer", b'{"subject":9007199254740993}', "bad-json", "value"),
    ("endless nesting", b"[" * 8_000, "bad-json", "value"),
    ("list", [], "bad-shape", "value"),
    ("null", b"null", "bad-shape", "value"),
    ("no subject", {k: v for k, v in BODY.items() if k != "subject"}, "bad-shape", "subject"),
    ("number as name", body(action={"name": 3}), "bad-shape", "action.name"),
    ("control character", body(resource={"type": "env", "id": "a\nb"}), "bad-shape", "resource.id"),
    ("list as context", body(context=[]), "bad-shape", "context"),
    ("colon in type", body(subject={"type": "token:ci", "id": "deployer"}), "bad-shape", "subject.type"),
    ("other subject", body(subject={"type": "token", "id": "other"}), "key-mismatch", "subject"),
    ("other type", body(subject={"type": "agent", "id": "ci-deployer"}), "key-mismatch", "subject"),
    ("large context", body(context={"x": "y" * 8_190}), "over-limit", "context"),
    ("growing numbers", body(context={"x": [1e20] * 800}), "over-limit", "context"),
    (
        "large properties",
        body(action={"name": "deploy.x", "properties": {"x": "y" * 4_090}}),
        "over-limit",
        "action.properties",
    ),
    ("deep context", body(context={"x": nested(8)}), "over-limit", "context"),
    (
        "deep properties",
        body(resource={"type": "e", "id": "p", "properties": {"x": nested(8)}}),
        "over-limit",
        "resource.properties",
    ),
    ("other action", body(action={"name": "deploy"}), "action-not-allowed", "action.name"),
    ("other case", body(action={"name": "Deploy.push"}), "action-not-allowed", "action.name"),
    ("too large", body(context={"x": "y" * MAX_ACTION_BYTES}), "too-large", "value"),
]


@pytest.mark.parametrize(("value", "code", "field"), [case[1:] for case in BAD_BODIES], ids=[c[0] for c in BAD_BODIES])
def test_a_bad_body_from_a_verified_point_is_refused_by_name_and_may_be_answered(
    value: Any, code: str, field: str
) -> None:
    refused = refusal(record(value))
    assert (refused.code, refused.field, refused.reply_allowed, refused.point) == (code, field, True, POINT)
    assert refused.headers is not None
    assert refused.headers.correlation_id == b"c" * 16


BAD_HEADERS: list[tuple[str, dict[str, Any], str, str, bool]] = [
    ("version", {"ce_type": "stayhand.action.pending.v2"}, "unknown-version", "ce_type", True),
    ("type", {"ce_type": "stayhand.action.pondering.v1"}, "unknown-type", "ce_type", True),
    ("no version", {"ce_type": "stayhand.action.pending"}, "unknown-type", "ce_type", True),
    ("point", {"point": "nobody"}, "unknown-point", "stayhand_point", False),
    ("no point", {"point": ""}, "unknown-point", "stayhand_point", False),
    ("key id", {"key_id": "k2"}, "unknown-key", "stayhand_key_id", False),
    ("revoked", {"key_id": "gone"}, "revoked-key", "stayhand_key_id", False),
    ("expired", {"key_id": "old"}, "expired-key", "stayhand_key_id", False),
    ("past", {"ce_time": rfc3339(NOW - 300_001)}, "stale", "ce_time", True),
    ("future", {"ce_time": rfc3339(NOW + 300_001)}, "stale", "ce_time", True),
    ("no time", {"ce_time": "yesterday"}, "bad-headers", "ce_time", True),
    ("no offset", {"ce_time": "2026-11-25T12:00:00"}, "bad-headers", "ce_time", True),
    ("no deadline", {"deadline_ms": 0}, "bad-deadline", "stayhand_deadline_ms", True),
    ("long deadline", {"deadline_ms": 600_001}, "bad-deadline", "stayhand_deadline_ms", True),
    ("no reply topic", {"reply_topic": ""}, "no-reply-address", "kafka_replyTopic", False),
    ("no correlation", {"correlation_id": b""}, "no-reply-address", "kafka_correlationId", False),
    ("internal topic", {"reply_topic": "stayhand.audit"}, "reply-topic-not-allowed", "kafka_replyTopic", False),
    ("look-alike topic", {"reply_topic": "stayhand.decisionsx"}, "reply-topic-not-allowed", "kafka_replyTopic", False),
    ("foreign topic", {"reply_topic": "stayhand.decisions.hr"}, "reply-topic-not-allowed", "kafka_replyTopic", False),
    ("partition", {"reply_partition": 4}, "bad-reply-partition", "kafka_replyPartition", False),
    ("far partition", {"reply_partition": 2**31 - 1}, "bad-reply-partition", "kafka_replyPartition", False),
    (
        "vanished topic",
        {"point": "gone-topic", "reply_topic": "stayhand.decisions.gone"},
        "reply-topic-not-allowed",
        "kafka_replyTopic",
        False,
    ),
]


@pytest.mark.parametrize(
    ("changes", "code", "field", "reply"), [case[1:] for case in BAD_HEADERS], ids=[case[0] for case in BAD_HEADERS]
)
def test_a_bad_header_is_refused_by_name(changes: dict[str, Any], code: str, field: str, reply: bool) -> None:
    refused = refusal(record(headers=HEADERS._replace(**changes)))
    assert (refused.code, refused.field, refused.reply_allowed) == (code, field, reply)


def without(name: str) -> Callable[[Record], Record]:
    return lambda good: good._replace(headers=[header for header in good.headers if header[0] != name])


def with_header(name: str, value: bytes | None) -> Callable[[Record], Record]:
    return lambda good: good._replace(headers=[*without(name)(good).headers, (name, value)])


def changed(**fields: Any) -> Callable[[Record], Record]:
    return lambda good: good._replace(**fields)


SIGNATURE = "stayhand_signature"
BAD_RECORDS: list[tuple[str, Callable[[Record], Record], str, str]] = [
    ("no value", changed(value=None), "no-value", "value"),
    ("no append time", changed(timestamp_ms=-1), "no-append-time", "timestamp"),
    ("no key", changed(key=None), "bad-key", "key"),
    ("key without type", changed(key=b"ci-deployer"), "bad-key", "key"),
    ("key not UTF-8", changed(key=b"token:\xff"), "bad-key", "key"),
    ("key with control", changed(key=b"token:a\x00"), "bad-key", "key"),
    ("key not normal", changed(key=b"email:Ann@Example.org"), "bad-key", "key"),
    ("other partition", changed(partition=(record().partition + 1) % PARTITIONS), "wrong-partition", "partition"),
    ("no headers", changed(headers=[]), "bad-headers", "ce_specversion"),
    ("many headers", changed(headers=[(f"x{n}", b"") for n in range(65)]), "bad-headers", "headers"),
    ("no id", without("ce_id"), "bad-headers", "ce_id"),
    ("no type", without("ce_type"), "bad-headers", "ce_type"),
    ("old specification", with_header("ce_specversion", b"0.3"), "bad-headers", "ce_specversion"),
    ("header twice", lambda good: good._replace(headers=[*good.headers, ("ce_id", b"x")]), "bad-headers", "ce_id"),
    ("null header", with_header("stayhand_point", None), "bad-headers", "stayhand_point"),
    ("partition as text", with_header("kafka_replyPartition", b"3"), "bad-headers", "kafka_replyPartition"),
    ("negative partition", with_header("kafka_replyPartition", b"\xff" * 4), "bad-headers", "kafka_replyPartition"),
    ("negative deadline", with_header("stayhand_deadline_ms", b"-5"), "bad-headers", "stayhand_deadline_ms"),
    ("no signature", without("stayhand_signature"), "bad-signature", SIGNATURE),
    ("wrong signature", with_header("stayhand_signature", b"s" * 32), "bad-signature", SIGNATURE),
    ("changed value", lambda good: good._replace(value=(good.value or b"") + b" "), "bad-signature", SIGNATURE),
    ("longer deadline", with_header("stayhand_deadline_ms", b"2001"), "bad-signature", SIGNATURE),
    ("other reply topic", with_header("kafka_replyTopic", b"stayhand.decisions.ci"), "bad-signature", SIGNATURE),
    ("other reply partition", with_header("kafka_replyPartition", b"\x00\x00\x00\x02"), "bad-signature", SIGNATURE),
    ("other id", with_header("ce_id", b"ask-2"), "bad-signature", SIGNATURE),
    ("other time", with_header("ce_time", rfc3339(NOW).encode()), "bad-signature", SIGNATURE),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "code", "field"), [case[1:] for case in BAD_RECORDS], ids=[case[0] for case in BAD_RECORDS]
)
def test_a_bad_record_is_refused_and_answered_only_where_its_signature_is_right(
    change: Callable[[Record], Record], code: str, field: str
) -> None:
    refused = refusal(change(record()))
    assert (refused.code, refused.field) == (code, field)
    # Neither the partition nor the append time is signed, so the asker is known all the same.
    assert refused.reply_allowed == (code in {"wrong-partition", "no-append-time"})


def test_an_identity_that_the_point_may_not_speak_for_is_refused() -> None:
    told = body(subject={"type": "user", "id": "ann"})
    refused = refusal(record(told, key=b"user:ann"))
    assert (refused.code, refused.field, refused.reply_allowed) == ("identity-not-allowed", "key", True)


def test_a_signature_of_another_master_secret_is_refused() -> None:
    assert refusal(record(master=b"n" * 32)).code == "bad-signature"


def test_one_point_s_key_does_not_sign_for_another() -> None:
    stolen = HEADERS._replace(point="gone-topic", reply_topic="stayhand.decisions.gone")
    value = json.dumps(BODY).encode()
    signature = signing.sign(signing.point_key(MASTER, "gateway", "k1"), stolen.signable(IDENTITY.encode(), value))
    assert (
        refusal(record(value)._replace(headers=stolen._replace(signature=signature).encode())).code == "bad-signature"
    )


def test_a_key_holds_up_to_and_including_its_last_millisecond_by_append_time() -> None:
    headers = HEADERS._replace(key_id="last")
    assert isinstance(reader().read(record(headers=headers), NOW + 10**9), Ask)
    assert refusal(record(headers=headers, timestamp_ms=NOW + 1)).code == "expired-key"


def test_a_point_that_asks_too_often_is_refused_until_the_next_second_and_forgeries_do_not_count() -> None:
    points = Points()
    points.points["gateway"] = POINT.model_copy(update={"rate_per_s": 2})
    using = reader(points=points)
    for _ in range(5):
        assert refusal(with_header("stayhand_signature", b"s" * 32)(record()), using).code == "bad-signature"
    assert [type(using.read(record(), NOW)) for _ in range(2)] == [Ask, Ask]
    refused = refusal(record(), using)
    assert (refused.code, refused.reply_allowed) == ("rate-limited", True)
    assert isinstance(using.read(record(timestamp_ms=NOW + 1_000), NOW), Ask)


def test_rights_that_were_taken_back_are_gone_at_the_next_record() -> None:
    points = Points()
    using = reader(points=points)
    assert isinstance(using.read(record(), NOW), Ask)
    points.points["gateway"] = POINT.model_copy(update={"actions": ("token.use",)})
    assert refusal(record(), using).code == "action-not-allowed"
    points.points["gateway"] = POINT.model_copy(update={"identities": ("agent:*",)})
    assert refusal(record(), using).code == "identity-not-allowed"
    del points.points["gateway"]
    assert refusal(record(), using).code == "unknown-point"


def test_a_value_that_is_too_large_is_answered_only_as_long_as_its_signature_is_cheap_to_check() -> None:
    assert refusal(record(b"x" * MAX_VERIFIED_BYTES)).reply_allowed
    huge = refusal(record(b"x" * (MAX_VERIFIED_BYTES + 1)))
    assert (huge.code, huge.reply_allowed, huge.point) == ("too-large", False, None)


def test_unsigned_skips_the_signature_alone() -> None:
    using = reader(KeyRing(None))
    assert isinstance(using.read(without("stayhand_signature")(record()), NOW), Ask)
    assert refusal(record(headers=HEADERS._replace(point="nobody")), using).code == "unknown-point"
    assert refusal(record(headers=HEADERS._replace(key_id="gone")), using).code == "revoked-key"
    assert refusal(record(body(action={"name": "x"})), using).code == "action-not-allowed"
    assert (
        refusal(record(headers=HEADERS._replace(reply_topic="stayhand.audit")), using).code == "reply-topic-not-allowed"
    )


def test_the_unsigned_point_stands_for_asks_that_name_none_and_for_no_other() -> None:
    anyone = POINT.model_copy(update={"point": "unsigned"})
    using = reader(KeyRing(None), replace(SETTINGS, unsigned_point=anyone))
    ask = using.read(record(headers=HEADERS._replace(point="", key_id="")), NOW)
    assert isinstance(ask, Ask)
    assert ask.point is anyone
    assert refusal(record(headers=HEADERS._replace(point="nobody")), using).code == "unknown-point"


def test_an_unsigned_point_beside_a_master_secret_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no unsigned point"):
        reader(settings=replace(SETTINGS, unsigned_point=POINT))


def test_the_event_clock_takes_the_time_that_the_event_says_and_old_logs_are_fresh_on_demand() -> None:
    old = record(headers=HEADERS._replace(ce_time="2021-03-01T00:00:00Z"))
    ask = reader(settings=replace(SETTINGS, clock="event", freshness_ms=0)).read(old, NOW)
    assert isinstance(ask, Ask)
    assert ask.at_ms == 1_614_556_800_000
    kept = reader(settings=replace(SETTINGS, freshness_ms=0)).read(old, NOW)
    assert isinstance(kept, Ask)
    assert kept.at_ms == NOW


def outcome(receipt: str, decided: str = "ab" * 16, result: str = "done", **changes: Any) -> Record:
    told = {"receipt": receipt, "decision_id": decided, "result": result}
    plain = {
        "ce_type": TYPE_OUTCOME,
        "reply_topic": "",
        "reply_partition": None,
        "correlation_id": b"",
        "deadline_ms": 0,
    }
    return record(told, HEADERS._replace(**{**plain, **changes}))


def test_an_outcome_needs_no_reply_address_and_brings_back_what_was_taught() -> None:
    report = reader().read(outcome(Receipts(MASTER).seal("ab" * 16, IDENTITY, b"lesson"), result="cancelled"), NOW)
    assert report == Report(IDENTITY, "ab" * 16, "cancelled", b"lesson", NOW, 7, "ask-1", POINT)


@pytest.mark.parametrize(
    ("bad", "code", "field"),
    [
        (outcome(Receipts(MASTER).seal("ab" * 16, "token:other", b"")), "bad-receipt", "receipt"),
        (outcome(Receipts(b"n" * 32).seal("ab" * 16, IDENTITY, b"")), "bad-receipt", "receipt"),
        (outcome("not a receipt"), "bad-receipt", "receipt"),
        (outcome("x", reply_topic="stayhand.decisions", correlation_id=b"c"), "bad-receipt", "receipt"),
        (outcome(Receipts(MASTER).seal("cd" * 16, IDENTITY, b"")), "bad-receipt", "decision_id"),
        (outcome(Receipts(MASTER).seal("ab" * 16, IDENTITY, b""), result="won"), "bad-shape", "result"),
        (outcome("x", point="nobody"), "unknown-point", "stayhand_point"),
    ],
)
def test_an_outcome_that_cannot_be_trusted_is_refused_and_never_answered(bad: Record, code: str, field: str) -> None:
    refused = refusal(bad)
    assert (refused.code, refused.field, refused.reply_allowed) == (code, field, False)


def test_a_refusal_never_repeats_the_body() -> None:
    secret = "hunter2hunter2"
    for value in (secret.encode(), body(action={"name": secret + "\n"}), body(context={"source": [secret]})):
        refused = refusal(record(value))
        assert secret not in str(refused)


def _noise(source: random.Random) -> Record:
    """A record of random bytes, some of them good in parts, so that each check is reached."""
    good = record()
    noise = source.randbytes(source.randrange(0, 200))
    names = [name for name, _ in good.headers]
    match source.randrange(6):
        case 0:
            return good._replace(key=noise, value=noise, headers=[(source.choice(names), noise) for _ in range(5)])
        case 1:
            return record(noise)
        case 2:
            return with_header(source.choice(names), noise)(good)
        case 3:
            return good._replace(key=noise)
        case 4:
            text = bytearray(good.value or b"")
            text[source.randrange(len(text))] = source.randrange(256)
            return record(bytes(text))
        case _:
            return good._replace(timestamp_ms=source.randrange(-(2**63), 2**63), partition=source.randrange(-1, 9))


def test_ten_thousand_random_records_raise_nothing_but_refusals() -> None:
    source = random.Random(20_261_125)
    points = Points()
    points.points["gateway"] = POINT.model_copy(update={"rate_per_s": 1_000_000})
    using, seen = reader(points=points), set()
    for _ in range(10_000):
        try:
            using.read(_noise(source), NOW)
        except Refusal as refused:
            seen.add(refused.code)
    assert {"bad-json", "bad-headers", "bad-key", "bad-shape", "bad-signature", "stale", "wrong-partition"} <= seen


@given(
    st.binary(max_size=300), st.binary(max_size=64), st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=40)))
)
def test_bytes_that_mean_nothing_are_always_refused(value: bytes, key: bytes, headers: list[tuple[str, bytes]]) -> None:
    refused = refusal(Record("stayhand.actions", 0, 1, NOW, key, value, headers))
    assert not refused.reply_allowed


@given(st.binary(max_size=400))
def test_any_signed_value_is_read_or_refused_by_name(value: bytes) -> None:
    refused = refusal(record(value))
    assert refused.code in {"bad-json", "bad-shape"}
    assert refused.reply_allowed


def test_decision_ids_differ_by_topic_id_partition_and_offset() -> None:
    ids = {decision_id(topic, partition, offset) for topic in ("a", "b") for partition in (1, 11) for offset in (1, 11)}
    assert len(ids) == 8
