"""Laws of the transition that hold for every story: random asks, controls, answers and outcomes of one identity."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.policy import compile_pack
from models.transition import (
    NEW,
    Ask,
    ControlRefused,
    Effect,
    Ruling,
    State,
    World,
    answer_hold,
    control_effects,
    decide,
    decode_facts,
    effect_from_json,
    effect_json,
    encode_facts,
    redecide,
    redecide_shadow,
    report,
    settle,
)
from schemas.documents import CONTROL, MAX_FACTS_BYTES, MAX_HOLDS, MAX_SPENT_KEYS, KillSwitch
from stayhand import canonical
from stayhand.wire import Decision, Severity
from tests.models.asks import PACK, START_MS, ask, audit, default_pack, no_floats, pack, point, world

# Stories are long, and the machine may be busy: slow generation is no failure of a law.
law = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
ACTIONS = ["plain", "approve", "grant", "both", "sees", "slow", "approve", "grant", "warn", "confirm", "stop"]
SKILLS = ["wait", "message", "approval", "reconfirm"]
SWITCH = KillSwitch(scope="everything", by="ann")
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=120)

rarely = st.sampled_from([False] * 9 + [True])
asks = st.fixed_dictionaries(
    {
        "name": st.sampled_from(ACTIONS),
        "late": rarely,
        "observe": rarely,
        "switch": rarely,
        "skills": st.sampled_from([SKILLS, SKILLS, SKILLS, SKILLS[:1], SKILLS[1:], SKILLS[:2], []]),
        "key": st.sampled_from(["", "", "k1", "k2"]),
        "resource": st.sampled_from(["a", "b"]),
    }
)
grants = st.fixed_dictionaries(
    {
        "kind": st.just("grant"),
        "uses": st.sampled_from([1, 1, 2, 3, None]),
        "action": st.sampled_from(["test.*", "test.grant", "*"]),
        "lives_ms": st.sampled_from([100_000, 4_000_000, 40_000_000]),
        "resource": st.sampled_from(["*", "host:a", "host:?" + "*" * 200]),
    }
)
others = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(
            ["unfreeze", "freeze", "unfreeze", "register", "revoke", "reset", "register", "offboard"]
        ),
        "text": TEXT,
    }
)
steps = st.one_of(
    st.tuples(st.just("ask"), asks),
    st.tuples(st.just("ask"), asks),
    st.tuples(st.just("ask"), asks),
    st.tuples(st.just("control"), grants | others),
    st.tuples(st.just("control"), grants),
    st.tuples(st.just("answer"), st.sampled_from(["approve", "approve", "deny"])),
    st.tuples(st.just("outcome"), st.sampled_from(["done", "failed", "cancelled", "unknown"])),
)
stories = st.lists(st.tuples(st.sampled_from([1, 1_000, 60_000, 300_000]), steps), min_size=12, max_size=40)


@dataclass
class Life:
    """One identity through a story; it keeps what a log would."""

    state: State = NEW
    at_ms: int = START_MS
    number: int = 0
    log: list[tuple[State, list[Effect]]] = field(default_factory=list)
    uses: dict[str, int | None] = field(default_factory=dict)
    rulings: list[tuple[State, Ask | None, World, Ruling]] = field(default_factory=list)
    taught: bytes | None = None

    def live(self, story: list[tuple[int, tuple[str, Any]]]) -> Life:
        for wait_ms, (kind, what) in story:
            self.at_ms += wait_ms
            self.number += 1
            getattr(self, f"_{kind}")(what)
        return self

    def settle(self, effects: list[Effect]) -> None:
        self.log.append((self.state, effects))
        self.state = settle(self.state, effects)

    def _ask(self, what: dict[str, Any]) -> None:
        asked = ask(
            f"test.{what['name']}",
            at_ms=self.at_ms,
            n=self.number,
            late=what["late"],
            resource={"type": "host", "id": what["resource"]},
            by=point(obligations=tuple(what["skills"])),
            idempotency_key=what["key"],
        )
        switch = SWITCH if what["switch"] else None
        here = world(shadow=default_pack(), switch=switch, observe=what["observe"])
        ruling = decide(self.state, asked, here)
        self.rulings.append((self.state, asked, here, ruling))
        self.taught = ruling.taught
        self.settle(ruling.effects)

    def _control(self, what: dict[str, Any]) -> None:
        body: dict[str, Any] = {"kind": what["kind"], "control_id": f"{self.number:016x}", "by": "ann"}
        if what["kind"] == "grant":
            body["grant"] = {
                "grant_id": f"{self.number:08x}",
                "action": what["action"],
                "resource": what["resource"],
                "expires_at_ms": self.at_ms + what["lives_ms"],
                "uses_left": what["uses"],
            }
        elif what["kind"] == "revoke":
            body["grant_id"] = next((g.grant_id for g in self.state.facts.grants), "00000000")
        elif what["kind"] == "register":
            body["owner"] = body["group"] = what["text"]
        else:
            body["why"] = what["text"]
        try:
            effects = control_effects(self.state, CONTROL.validate_python(body), self.at_ms)
        except ControlRefused:
            return
        if what["kind"] == "grant":
            self.uses[body["grant"]["grant_id"]] = what["uses"]
        self.settle(effects)

    def _answer(self, kind: str) -> None:
        if not self.state.facts.holds:
            return
        hold = self.state.facts.holds[-1]
        control = CONTROL.validate_python({"kind": kind, "control_id": "ab" * 8, "by": "bob", "hold_id": hold.hold_id})
        here = world()
        ruling = answer_hold(self.state, control, self.at_ms, f"{self.number:032x}", here, "token:ci", point())
        assert ruling is not None
        self.rulings.append((self.state, None, here, ruling))
        self.settle(ruling.effects)

    def _outcome(self, result: Any) -> None:
        self.settle(report(self.state, f"{self.number:032x}", result, self.taught or b"", self.at_ms))


def through_json(value: Any) -> Any:
    return canonical.loads(canonical.canonical(value))


@law
@given(stories)
def test_state_is_the_fold_of_the_effects_as_the_log_carries_them(story: Any) -> None:
    life = Life().live(story)
    told = [[effect_json(effect) for effect in effects] for _, effects in life.log]
    read = [[effect_from_json(effect) for effect in through_json(effects)] for effects in told]
    assert read == [effects for _, effects in life.log]
    folded = NEW
    for effects in read:
        folded = settle(folded, effects)
    assert folded == life.state
    assert settle(NEW, [effect for effects in read for effect in effects]) == life.state


@law
@given(stories)
def test_facts_stay_inside_their_limits_and_survive_their_bytes(story: Any) -> None:
    life = Life().live(story)
    for state in [*(before for before, _ in life.log), life.state]:
        raw = encode_facts(state.facts)
        assert len(raw) <= MAX_FACTS_BYTES
        assert len(state.facts.holds) <= MAX_HOLDS
        assert len(state.facts.spent_keys) <= MAX_SPENT_KEYS
        assert decode_facts(raw) == state.facts


@law
@given(stories)
def test_a_grant_is_spent_no_more_often_than_it_has_uses(story: Any) -> None:
    life = Life().live(story)
    spent = Counter(
        told["grant_id"] for _, effects in life.log for told in map(effect_json, effects) if told["do"] == "spend"
    )
    for grant_id, times in spent.items():
        uses = life.uses[grant_id]
        assert uses is not None
        assert times <= uses


@law
@given(stories)
def test_every_decision_can_be_made_again_from_its_record_alone(story: Any) -> None:
    for before, asked, here, ruling in Life().live(story).rulings:
        record = through_json(audit(ruling, asked, "final" if asked is None else "decision"))
        assert redecide(record, here.pack) == canonical.canonical(ruling.decision)
        if asked is not None:
            assert decide(before, asked, here) == ruling
            assert here.shadow is not None
            assert redecide_shadow(record, here.shadow) == ruling.shadow


@law
@given(stories)
def test_a_stop_of_an_operator_blocks_in_every_mode(story: Any) -> None:
    for before, _, here, ruling in Life().live(story).rulings:
        facts = before.facts
        if facts.frozen is not None or facts.offboarded or here.switch is not None:
            assert ruling.decision["verdict"] == "block"
            assert ruling.decision["fallback"]["modes"] == ["closed"]
            assert not ruling.waits
        elif here.observe:
            assert ruling.decision["verdict"] == "permit"
            assert {effect_json(effect)["do"] for effect in ruling.effects} <= {"observe"}


@law
@given(stories)
def test_a_decision_asks_of_a_point_only_what_it_can_do(story: Any) -> None:
    for _, asked, _, ruling in Life().live(story).rulings:
        decision = Decision.model_validate(through_json(ruling.decision))
        assert no_floats(ruling.decision)
        assert no_floats(ruling.facts)
        if asked is None:
            continue
        assert {duty.type for duty in decision.obligations} <= set(asked.point.obligations)
        assert decision.final == all(duty.type != "approval" for duty in decision.obligations)
        if decision.verdict == "slow":
            assert [duty.type for duty in decision.obligations if duty.type == "wait"] == ["wait"]
        if decision.verdict == "guide":
            assert decision.obligations


@law
@given(stories)
def test_a_late_ask_teaches_and_changes_nothing_else(story: Any) -> None:
    for _, asked, _, ruling in Life().live(story).rulings:
        if asked is not None and asked.late:
            assert [effect_json(effect)["do"] for effect in ruling.effects] == ["observe"]
            assert ruling.decision["final"]
            assert not ruling.waits


@law
@given(stories)
def test_what_waits_for_the_commit_is_what_spends(story: Any) -> None:
    for _, asked, _, ruling in Life().live(story).rulings:
        spends = any(effect_json(effect)["do"] == "spend" for effect in ruling.effects)
        allowed = ruling.decision["verdict"] in {"permit", "slow"}
        assert ruling.waits == (spends if asked is not None else allowed)


@law
@given(stories)
def test_a_shadow_pack_changes_neither_the_decision_nor_the_state(story: Any) -> None:
    for before, asked, here, ruling in Life().live(story).rulings:
        if asked is None:
            continue
        alone = decide(before, asked, World(here.pack, None, here.prior, here.switch, here.observe))
        assert alone.shadow is None
        assert (alone.decision, alone.effects, alone.facts) == (ruling.decision, ruling.effects, ruling.facts)


@law
@given(asks, st.sampled_from(["slow", "guide", "block"]), st.booleans())
def test_one_more_rule_never_makes_a_verdict_milder(what: dict[str, Any], verdict: str, always: bool) -> None:
    duty = {"slow": "{wait_ms: 1}", "guide": "{message: m}", "block": "{}"}[verdict]
    when = "true" if always else "context.nowhere == 1"
    more = compile_pack(
        PACK + f"  - {{id: more, actions: ['*'], when: {when}, verdict: {verdict}, obligations: {duty},"
        " reason: {code: more, message: m}}\n"
    )
    asked = ask(f"test.{what['name']}", by=point(obligations=tuple(what["skills"])), late=what["late"])
    before = decide(NEW, asked, world(pack())).decision["verdict"]
    after = decide(NEW, asked, world(more)).decision["verdict"]
    assert Severity[after] >= max(Severity[before], Severity[verdict])


@law
@given(asks, st.sampled_from(SKILLS))
def test_a_point_that_can_do_less_gets_no_milder_verdict(what: dict[str, Any], missing: str) -> None:
    skills = tuple(what["skills"])
    fewer = tuple(skill for skill in skills if skill != missing)
    name = f"test.{what['name']}"
    able = decide(NEW, ask(name, by=point(obligations=skills)), world()).decision["verdict"]
    unable = decide(NEW, ask(name, by=point(obligations=fewer)), world()).decision["verdict"]
    assert Severity[unable] >= Severity[able]
