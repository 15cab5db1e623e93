"""The transition, law by law, where one example says it best."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from models import baseline
from models.effects import Apply, Key, Observe, Spend, TakeBack, Unhold
from models.facts import NO_FACTS, InvalidFacts, key_digest, resource_name
from models.transition import (
    NEW,
    BrokenEffect,
    ControlRefused,
    State,
    WrongPack,
    answer_hold,
    control_effects,
    decide,
    decode_facts,
    effect_from_json,
    encode_facts,
    find_hold,
    redecide,
    report,
    settle,
)
from schemas.documents import CONTROL, MAX_FACTS_BYTES, MAX_SPENT_KEYS, Approve, Facts, GrantFact
from stayhand import canonical
from tests.models.asks import PACK, START_MS, ask, audit, codes, default_pack, pack, point, world


def control(kind: str, **fields: Any) -> Any:
    return CONTROL.validate_python({"kind": kind, "control_id": "ab" * 8, "by": "ann", **fields})


def applied(state: State, kind: str, at_ms: int = START_MS, **fields: Any) -> State:
    return settle(state, control_effects(state, control(kind, **fields), at_ms))


def grant(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "grant_id": f"{number:08x}",
        "action": "test.grant",
        "resource": "*",
        "expires_at_ms": START_MS + 1_000_000,
        **changes,
    }


def test_settling_nothing_gives_the_same_state() -> None:
    assert settle(NEW, []) is NEW
    assert settle(NEW, report(NEW, "ab" * 16, "done", b"", START_MS)) is NEW


def test_a_record_that_comes_again_is_blocked_and_changes_nothing() -> None:
    first = decide(NEW, ask(n=1), world())
    state = settle(NEW, first.effects)
    again = decide(state, ask(n=1, at_ms=START_MS + 1), world())
    assert (again.decision["verdict"], codes(again), again.effects) == ("block", ["repeated"], [])
    assert decide(state, ask(n=2, at_ms=START_MS + 1), world()).decision["verdict"] == "permit"


def test_a_cancelled_action_is_taken_back_and_a_done_one_is_not() -> None:
    ruling = decide(NEW, ask(), world())
    assert ruling.taught is not None
    state = settle(NEW, ruling.effects)
    decision_id = ruling.decision["decision_id"]
    for outcome in ("done", "unknown"):
        assert report(state, decision_id, outcome, ruling.taught, START_MS) == []
    for outcome in ("failed", "cancelled"):
        effects = report(state, decision_id, outcome, ruling.taught, START_MS)
        assert effects == [TakeBack(ruling.taught, decision_id, START_MS)]
        assert settle(state, effects).baseline.open != state.baseline.open


def test_a_receipt_takes_back_once() -> None:
    ruling = decide(NEW, ask(), world())
    decision_id = ruling.decision["decision_id"]
    state = settle(NEW, ruling.effects)
    state = settle(state, report(state, decision_id, "cancelled", ruling.taught or b"", START_MS))
    assert report(state, decision_id, "cancelled", ruling.taught or b"", START_MS) == []


def test_an_outcome_with_a_damaged_lesson_is_refused() -> None:
    with pytest.raises(ValueError, match="taught"):
        report(NEW, "ab" * 16, "failed", b"xy", START_MS)


def test_what_is_blocked_or_guided_is_not_learned() -> None:
    for name, learned in (("plain", True), ("slow", True), ("warn", False), ("approve", False), ("stop", False)):
        ruling = decide(NEW, ask(f"test.{name}"), world())
        first = ruling.effects[0]
        assert isinstance(first, Observe)
        assert first.lesson.learn == learned, name
        assert (ruling.taught is not None) == (learned or first.lesson.habit > 0), name


def test_the_second_permit_of_one_approval_does_not_exist() -> None:
    state = settle(NEW, decide(NEW, ask("test.approve"), world()).effects)
    yes = control("approve", hold_id=state.facts.holds[0].hold_id)
    first = answer_hold(state, yes, START_MS + 1, "a" * 32, world(), "token:ci", point())
    assert first is not None
    assert first.decision["verdict"] == "permit"
    state = settle(state, first.effects)
    assert answer_hold(state, yes, START_MS + 2, "b" * 32, world(), "token:ci", point()) is None
    with pytest.raises(ControlRefused, match="hold-unknown"):
        control_effects(state, yes, START_MS + 2)


def test_a_hold_keeps_where_its_answer_goes_and_a_repeat_moves_it() -> None:
    asked = ask("test.approve", n=4, idempotency_key="k")
    ruling = decide(NEW, asked, world())
    state = settle(NEW, ruling.effects)
    hold_id = ruling.decision["obligations"][0]["hold_id"]
    hold = find_hold(state.facts, hold_id)
    assert hold is not None
    assert (hold.actions_offset, hold.correlation_id) == (4, asked.correlation_id.hex())
    again = ask("test.approve", n=5, at_ms=START_MS + 9, idempotency_key="k")
    moved = decide(state, again, world())
    assert moved.decision["obligations"] == ruling.decision["obligations"]
    state = settle(state, moved.effects)
    assert [(h.hold_id, h.actions_offset, h.correlation_id) for h in state.facts.holds] == [
        (hold_id, 5, again.correlation_id.hex())
    ]


def test_holds_that_do_not_fit_are_blocks_and_the_others_stay() -> None:
    state, verdicts = NEW, []
    for number in range(10):
        ruling = decide(state, ask("test.approve", n=number, at_ms=START_MS + number), world())
        verdicts.append((ruling.decision["verdict"], ruling.decision["final"]))
        state = settle(state, ruling.effects)
    held = len(state.facts.holds)
    assert held >= 3
    assert verdicts == [("guide", False)] * held + [("block", True)] * (10 - held)
    last = decide(state, ask("test.approve", n=99, at_ms=START_MS + 600_000), world())
    assert last.decision["verdict"] == "guide", "the first hold has lapsed, so there is room"


def test_a_repeat_that_makes_its_hold_too_large_is_a_block() -> None:
    asked = ask("test.approve", idempotency_key="k")
    state = settle(NEW, decide(NEW, asked, world()).effects)
    huge = asked._replace(ce_id="other", correlation_id=b"x" * 4_000)
    ruling = decide(state, huge, world())
    assert (ruling.decision["verdict"], codes(ruling)) == ("block", ["holds-full", "approve"])
    assert settle(state, ruling.effects).facts == state.facts


CHANGES = [
    ("", "permit", "approved"),
    ("when: context.x == 1", "block", "policy-changed"),
    ("when: facts.holds > 0", "block", "new"),
    ("when: facts.holds > 5", "permit", "approved"),
    ("unless_grant: true", "block", "policy-changed"),
]


@pytest.mark.parametrize(("more", "verdict", "code"), CHANGES)
def test_rules_that_changed_while_an_ask_was_held_are_looked_at_again(more: str, verdict: str, code: str) -> None:
    state = settle(NEW, decide(NEW, ask("test.approve"), world()).effects)
    yes = control("approve", hold_id=state.facts.holds[0].hold_id)
    added = f"  - {{id: new, actions: ['*'], {more}, verdict: block, reason: {{code: new, message: m}}}}\n"
    now = pack(PACK + added) if more else pack()
    ruling = answer_hold(state, yes, START_MS + 1, "a" * 32, world(now), "token:ci", point())
    assert ruling is not None
    assert (ruling.decision["verdict"], codes(ruling)) == (verdict, [code])


def test_a_decision_is_not_made_again_with_another_pack() -> None:
    asked = ask()
    record = audit(decide(NEW, asked, world()), asked)
    assert redecide(record, pack()) == canonical.canonical(record["decision"])
    with pytest.raises(WrongPack):
        redecide(record, default_pack())


def test_a_changed_fact_in_the_record_changes_the_decision() -> None:
    asked = ask()
    record = audit(decide(NEW, asked, world()), asked)
    record["facts"] = {**record["facts"], "frozen": {"by": "x", "why": "", "at_ms": 1}}
    assert redecide(record, pack()) != canonical.canonical(record["decision"])


def test_a_number_means_the_same_whether_written_as_1_or_as_1_0() -> None:
    rule = "{id: r, actions: ['*'], when: context.level + 1 > 2, verdict: block, reason: {code: r, message: m}}"
    source = f"name: p\nversion: '1'\nrules:\n  - {rule}\n"
    for level in (1, 1.0):
        asked = ask(level=level)
        ruling = decide(NEW, asked, world(pack(source)))
        assert ruling.decision["verdict"] == "permit"
        record = canonical.loads(canonical.canonical(audit(ruling, asked)))
        assert redecide(record, pack(source)) == canonical.canonical(ruling.decision)


def test_the_fallback_lease_runs_from_the_append_time() -> None:
    lease = decide(NEW, ask(by=point(fallbacks=("open",), fallback_lease_ms=5)), world()).decision["fallback"]
    assert lease == {"modes": ["open"], "expires_at_ms": START_MS + 5}


def test_first_seen_survives_a_forgotten_baseline() -> None:
    state = settle(NEW, decide(NEW, ask(), world()).effects)
    state = applied(state, "reset", at_ms=START_MS + 5)
    assert state.baseline == baseline.EMPTY
    assert state.facts.first_seen_ms == START_MS
    ruling = decide(state, ask(n=1, at_ms=START_MS + 9_000), world())
    assert ruling.facts["first_seen_ms"] == START_MS


def test_a_baseline_learned_elsewhere_can_be_brought_in() -> None:
    learned = settle(NEW, decide(NEW, ask(), world()).effects).baseline
    text = base64.b64encode(baseline.encode(learned)).decode()
    assert applied(NEW, "import", baseline=text).baseline == learned
    with pytest.raises(ControlRefused, match="invalid-baseline"):
        applied(NEW, "import", baseline="!!!!")
    with pytest.raises(ControlRefused, match="invalid-baseline"):
        applied(NEW, "import", baseline=base64.b64encode(b"nonsense").decode())


def test_a_freeze_and_all_spent_keys_fit_into_facts_that_are_full() -> None:
    state = NEW
    for number in range(1, 9):
        state = _if_it_fits(state, "grant", grant=grant(number, action="x" * 200, resource="y" * 128))
    for length in range(0, 256, 5):
        state = _if_it_fits(state, "register", owner="o" * length)
    full = len(encode_facts(state.facts))
    assert full > 3_000
    for number in range(MAX_SPENT_KEYS + 3):
        state = settle(state, [Key(key_digest(str(number)))])
    worst = control("freeze", why='"' * 256).model_copy(update={"by": '"' * 128})
    state = settle(state, [Apply(worst, START_MS)])
    assert state.facts.frozen is not None
    assert len(state.facts.spent_keys) == MAX_SPENT_KEYS
    assert full < len(encode_facts(state.facts)) <= MAX_FACTS_BYTES


def _if_it_fits(state: State, kind: str, **fields: Any) -> State:
    try:
        return applied(state, kind, **fields)
    except ControlRefused:
        return state


def test_spent_keys_take_no_room_from_grants() -> None:
    empty, used = NEW, settle(NEW, [Key(key_digest(str(number))) for number in range(MAX_SPENT_KEYS)])
    for number in range(1, 9):
        empty, used = (
            _if_it_fits(state, "grant", grant=grant(number, action="x" * 200, resource="y" * 200))
            for state in (empty, used)
        )
    assert 1 < len(used.facts.grants) == len(empty.facts.grants) < 8


def test_what_has_ended_is_dropped_when_the_next_event_settles() -> None:
    state = applied(NEW, "grant", grant=grant())
    state = settle(state, decide(state, ask("test.approve"), world()).effects)
    assert (len(state.facts.grants), len(state.facts.holds)) == (1, 1)
    later = ask(n=1, at_ms=START_MS + 1_000_000)
    assert settle(state, decide(state, later, world()).effects).facts == NO_FACTS


def test_of_several_duties_the_strictest_counts() -> None:
    two = "name: p\nversion: '1'\nrules:\n" + "".join(
        f"  - {{id: r{n}, actions: ['*'], verdict: guide, obligations: {{wait_ms: {wait}, message: same,"
        f" approval: {{timeout_s: {seconds}}}}}, reason: {{code: r{n}, message: m}}}}\n"
        for n, wait, seconds in ((1, 10, 60), (2, 20, 30), (3, 5, 90))
    )
    ruling = decide(NEW, ask(), world(pack(two)))
    wait, message, approval = ruling.decision["obligations"]
    assert wait == {"type": "wait", "wait_ms": 20}
    assert message == {"type": "message", "text": "same"}
    assert approval["expires_at_ms"] == START_MS + 30_000
    assert codes(ruling) == ["r1", "r2", "r3"]


def test_what_reaches_the_slow_band_is_slowed_and_not_learned() -> None:
    band = "{at: 0.5, obligations: {wait_ms: 5}, reason: {code: band, message: m}}"
    touchy = pack(f"name: p\nversion: '1'\nbands:\n  slow: {band}\n")
    ruling = decide(NEW, ask("iam:CreateAccessKey"), world(touchy))
    assert (ruling.decision["verdict"], codes(ruling)[0], ruling.taught) == ("slow", "band", None)
    assert decide(NEW, ask("iam:CreateAccessKey"), world()).taught is not None


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        ("grant", {"grant": grant(expires_at_ms=START_MS)}, "grant-without-use"),
        ("grant", {"grant": grant(uses_left=0)}, "grant-without-use"),
        ("grant", {"grant": grant(not_before_ms=START_MS + 2_000_000)}, "grant-without-use"),
        ("grant", {"grant": grant(7)}, "grant-exists"),
        ("revoke", {"grant_id": "99999999"}, "grant-unknown"),
        ("approve", {"hold_id": "99999999"}, "hold-unknown"),
    ],
)
def test_a_control_without_sense_is_refused_and_says_why(kind: str, fields: dict[str, Any], code: str) -> None:
    state = applied(NEW, "grant", grant=grant(7))
    with pytest.raises(ControlRefused) as caught:
        control_effects(state, control(kind, **fields), START_MS)
    assert caught.value.code == code


@pytest.mark.parametrize(("kind", "fields"), [("register", {"owner": "x"}), ("grant", {"grant": grant()})])
def test_an_identity_that_has_left_does_not_come_back(kind: str, fields: dict[str, Any]) -> None:
    state = applied(NEW, "offboard")
    with pytest.raises(ControlRefused, match="offboarded"):
        control_effects(state, control(kind, **fields), START_MS)


@pytest.mark.parametrize(
    "effects",
    [
        [Spend("0000000a")],
        [effect_from_json({"do": "apply", "control": control("revoke", grant_id="0000000a").model_dump(), "at_ms": 1})],
    ],
)
def test_an_effect_that_does_not_fit_its_state_is_a_broken_invariant(effects: list[Any]) -> None:
    with pytest.raises(BrokenEffect):
        settle(NEW, effects)


@pytest.mark.parametrize(
    "value",
    [{}, {"do": "spend"}, {"do": "nothing"}, {"do": "spend", "grant_id": "a", "more": 1}, {"do": "unhold", "at": 1}],
)
def test_what_is_no_effect_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="effects"):
        effect_from_json(value)


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b'{"registered": 1}', b'{"colour": 1}', b'{"owner":"a","owner":"b"}', b" " * 5_000]
)
def test_what_are_no_facts_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidFacts):
        decode_facts(raw)


def test_no_facts_take_no_room() -> None:
    assert encode_facts(NO_FACTS) == b"{}"
    assert decode_facts(b"{}") == NO_FACTS == Facts()


def test_two_long_resources_have_two_names() -> None:
    one, two = (ask(resource={"type": "t", "id": "x" * 900 + end}).action for end in "ab")
    assert resource_name(one) != resource_name(two)
    assert max(len(resource_name(one)), len(resource_name(two))) <= 256


def test_unholding_what_is_gone_changes_nothing() -> None:
    assert settle(NEW, [Unhold("0000000a")]).facts == NO_FACTS


def test_types_of_answers_are_what_the_contract_says() -> None:
    assert isinstance(control("approve", hold_id="0000000a"), Approve)
    assert GrantFact.model_validate(grant()).uses_left == 1
