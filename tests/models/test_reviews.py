"""Reviews: a person's word teaches no faster than anything else, once, and the same from the log as live."""

from __future__ import annotations

import base64
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import epoch
from models.baseline import EMPTY, MATURE_AFTER_MS, Baseline, decode, encode, ripened
from models.effects import Apply, Effect, Key
from models.eventform import scores_json
from models.facts import ControlRefused, decode_facts, encode_facts, fits
from models.policy import compile_pack
from models.profiles import build_profile, counted
from models.reviews import lesson_of
from models.transition import NEW, Ask, State, World, control_effects, decide, effect_from_json, effect_json, settle
from schemas.documents import CONTROL, MAX_FACTS_BYTES, MAX_REVIEWS, LessonFact, Review
from stayhand import canonical
from tests.models.asks import START_MS, ask, audit, prior, world

law = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
NAMES = ["test.plain", "test.stop", "test.approve", "test.slow", "iam:PutUserPolicy"]
Said = Literal["fine", "bad"]


class Life:
    """One identity whose decisions are kept as the audit keeps them."""

    def __init__(self, here: World | None = None) -> None:
        self.state, self.at_ms, self.n = NEW, START_MS, 0
        self.here = here or world()
        self.records: list[dict[str, Any]] = []
        self.log: list[dict[str, Any]] = []

    def ask(self, name: str = "test.plain", after_ms: int = 1_000, **context: Any) -> Life:
        self.at_ms += after_ms
        self.n += 1
        given: Ask = ask(name, at_ms=self.at_ms, n=self.n, **context)
        ruling = decide(self.state, given, self.here)
        effects = [effect_json(effect) for effect in ruling.effects]
        self.records.append(
            through_json(audit(ruling, given) | {"scores": scores_json(ruling.scores), "effects": effects})
        )
        self._settle(effects)
        return self

    def say(self, said: Said, which: int = -1, after_ms: int = 1_000, **lesson: Any) -> Life:
        self.at_ms += after_ms
        self._settle(
            [
                effect_json(e)
                for e in control_effects(self.state, review(self.records[which], said, **lesson), self.at_ms)
            ]
        )
        return self

    def try_to_say(self, said: Said, which: int, after_ms: int = 1_000) -> str | None:
        """Say it, and give the code of the refusal where there is one."""
        try:
            self.say(said, which, after_ms)
        except ControlRefused as refused:
            return refused.code
        return None

    def _settle(self, effects: list[dict[str, Any]]) -> None:
        self.log += through_json(effects)
        self.state = settle(self.state, [effect_from_json(effect) for effect in through_json(effects)])

    @property
    def baseline(self) -> Baseline:
        return self.state.baseline


def review(record: dict[str, Any], said: Said, **lesson: Any) -> Review:
    found = lesson_of(record)
    assert found is not None
    body = {
        "kind": "review",
        "control_id": "ab" * 8,
        "by": "ann",
        "why": "asked by telephone",
        "decision_id": record["decision"]["decision_id"],
        "said": said,
        "lesson": found.model_dump(mode="json") | lesson,
    }
    control = CONTROL.validate_python(body)
    assert isinstance(control, Review)
    return control


def through_json(value: Any) -> Any:
    return canonical.loads(canonical.canonical(value))


def waits(b: Baseline) -> int:
    return sum(each.events for each in (b.open, b.waiting) if each is not None)


asked = st.tuples(st.just("ask"), st.sampled_from(NAMES), st.sampled_from([1, 1_000, 60_000, 400_000]))
told = st.tuples(st.sampled_from(["fine", "bad"]), st.integers(0, 30), st.sampled_from([1, 30_000, 700_000]))
stories = st.lists(asked | asked | told, min_size=5, max_size=40)


def lived(story: Any) -> Life:
    life = Life()
    for kind, what, after_ms in story:
        if kind == "ask":
            life.ask(what, after_ms)
        elif life.records:
            refused = life.try_to_say(kind, what % len(life.records), after_ms)
            assert refused in {None, "called-bad", "decision-too-old", "no-room"}
    return life


@law
@given(stories)
def test_live_fold_and_bytes_give_the_same_state(story: Any) -> None:
    life = lived(story)
    assert settle(NEW, [effect_from_json(effect) for effect in life.log]) == life.state
    assert decode(encode(life.baseline)) == life.baseline
    raw = encode_facts(life.state.facts)
    assert len(raw) <= MAX_FACTS_BYTES
    assert decode_facts(raw) == life.state.facts


@law
@given(stories, st.sampled_from(["fine", "bad"]), st.integers(0, 40), st.integers(1, 2_000_000))
def test_the_same_word_twice_is_the_word_once(story: Any, said: Said, which: int, later_ms: int) -> None:
    life = lived([("ask", "test.stop", 1_000), *story])
    which %= len(life.records)
    if life.try_to_say(said, which) is not None:
        return
    life.ask("test.plain", later_ms)
    for _ in range(40):
        life.ask("test.plain", 10)
    before = life.state
    assert life.try_to_say(said, which, later_ms) in {None, "decision-too-old"}
    assert life.state == before


@law
@given(stories, st.integers(1, 5_000_000), st.integers(0, MATURE_AFTER_MS - 1))
def test_a_word_matures_nothing_within_ten_minutes_of_itself(story: Any, before_ms: int, after_ms: int) -> None:
    silent, heard = lived([*story, ("ask", "test.stop", 1_000)]), lived([*story, ("ask", "test.stop", 1_000)])
    if heard.try_to_say("fine", -1, before_ms) is not None:
        return
    at = max(heard.at_ms + after_ms, silent.at_ms)
    one, other = ripened(silent.baseline, at), ripened(heard.baseline, at)
    assert other.matured <= one.matured
    for before, after in zip(one.tables, other.tables, strict=True):
        assert all(before.counts.get(code, 0) >= count for code, count in after.counts.items())
    assert epoch.ripened(other.habits, at).table == epoch.ripened(one.habits, at).table


def test_what_was_refused_and_called_fine_is_normal_afterwards_and_not_before() -> None:
    life = Life().ask("test.plain").ask("test.stop").say("fine", -1, 3_600_000)
    code = life.records[-1]["features"]["keys"][0]
    assert waits(life.baseline) == 1
    assert code not in ripened(life.baseline, life.at_ms + MATURE_AFTER_MS - 1).tables[0].counts
    life.ask("test.plain", MATURE_AFTER_MS + 1)
    assert life.baseline.tables[0].counts[code] == 1
    never = Life().ask("test.plain").ask("test.stop").ask("test.plain", 3_600_000 + MATURE_AFTER_MS + 1)
    assert code not in ripened(never.baseline, never.at_ms + 10 * MATURE_AFTER_MS).tables[0].counts


def test_a_word_moves_the_clock_and_neither_session_nor_pace_jump() -> None:
    life = Life()
    for _ in range(20):
        life.ask("test.stop", 500)
    calm = Life()
    for _ in range(20):
        calm.ask("test.stop", 500)
    life.say("fine", -1, 60_000).ask("test.plain", 60_000)
    calm.ask("test.plain", 120_000)
    one, other = life.records[-1]["features"], calm.records[-1]["features"]
    for a, b in zip([one["session"], *one["counters"]], [other["session"], *other["counters"]], strict=True):
        assert abs(a - b) <= 2


def test_bad_takes_back_what_waits_once_though_the_outcome_says_so_as_well() -> None:
    life = Life().ask("test.plain").ask("test.plain")
    assert waits(life.baseline) == 2
    life.say("bad")
    assert waits(life.baseline) == 1
    life.ask("test.plain").say("bad", 0)
    assert waits(life.baseline) == 1
    assert life.state.facts.called_bad_ms == life.at_ms


def test_bad_after_fine_takes_back_what_fine_taught_and_stands() -> None:
    life = Life().ask("test.plain").ask("test.stop").say("fine").say("bad")
    assert waits(life.baseline) == 1
    with pytest.raises(ControlRefused, match="called-bad"):
        life.say("fine")


def test_bad_closes_the_slow_way_back_in_for_another_hour() -> None:
    strict = World(compile_pack(STRICT), None, prior(), None, observe=False)
    silent, heard = Life(strict), Life(strict)
    for n in range(70):
        for life in (silent, heard):
            life.ask(f"odd.n{n}", 60_000, source=f"10.{n}.0.1", resource={"type": "host", "id": f"h{n}"})
        if n == 50:
            heard.say("bad", 0, 0)
    assert waits(silent.baseline) + silent.baseline.matured > 0
    assert waits(heard.baseline) + heard.baseline.matured == 0


def test_reviews_are_few_in_the_facts_and_one_that_was_forgotten_is_not_heard_again() -> None:
    life = Life()
    for _ in range(MAX_REVIEWS + 3):
        life.ask("test.stop", 700_000).say("fine")
    reviews = life.state.facts.reviews
    assert len(reviews) == MAX_REVIEWS
    assert life.state.facts.reviewed_ms < reviews[0].at_ms
    before = life.state
    for which in range(3):
        with pytest.raises(ControlRefused) as refusal:
            life.say("fine", which)
        assert (refusal.value.code, refusal.value.field) == ("decision-too-old", "decision_id")
    assert life.state == before


def test_reviews_yield_to_whatever_else_the_facts_must_hold() -> None:
    plain, life = Life(), Life()
    for each in (plain, life):
        for n in range(MAX_REVIEWS):
            each.ask("test.stop")
            if each is life:
                each.say("bad", n, 0)
        for _ in range(8):
            each.ask("test.approve")
        # Holds first, then an owner as long as the facts let him be: what is left of their room.
        owned = (each.state.facts.model_copy(update={"owner": "o" * n}) for n in range(1_024, 0, -1))
        each.state = State(each.baseline, next(facts for facts in owned if fits(facts)))
        keys: list[Effect] = [Key(f"{n:016x}") for n in range(32)]
        freeze = Apply(CONTROL.validate_python({"kind": "freeze", "control_id": "ab" * 8, "by": "b" * 90}), each.at_ms)
        each.state = settle(each.state, [*keys, freeze])
    for name in ("holds", "spent_keys", "frozen", "owner"):
        assert getattr(life.state.facts, name) == getattr(plain.state.facts, name)
    assert 0 < len(life.state.facts.reviews) < MAX_REVIEWS
    assert life.state.facts.reviewed_ms > 0
    raw = encode_facts(life.state.facts)
    assert len(raw) <= MAX_FACTS_BYTES
    assert decode_facts(raw) == life.state.facts


@pytest.mark.parametrize(
    ("lesson", "code", "field"),
    [
        ({"at_ms": START_MS}, "decision-unknown", "lesson.at_ms"),
        ({"at_ms": START_MS + 10_000_000}, "decision-unknown", "lesson.at_ms"),
        ({"keys": [1, 2]}, "invalid-lesson", "lesson.keys"),
        ({"keys": [(1 << 16) + 7]}, "invalid-lesson", "lesson.keys"),
    ],
)
def test_what_makes_no_sense_is_refused_and_the_field_is_named(lesson: Any, code: str, field: str) -> None:
    life = Life().ask("test.stop")
    with pytest.raises(ControlRefused) as refusal:
        life.say("fine", **lesson)
    assert (refusal.value.code, refusal.value.field) == (code, field)
    assert refusal.value.message.startswith(field)


def test_without_room_fine_is_refused_rather_than_lost() -> None:
    life = Life()
    for n in range(30):
        life.ask(f"test.plain{n}", 1_000, source=f"10.{n}.0.1", client=f"c{n}")
    life.ask("test.stop", 1_000, source="10.99.0.1", client="other")
    with pytest.raises(ControlRefused, match="no-room"):
        life.say("fine", -1, 0)


def test_an_identity_that_never_acted_has_nothing_to_be_reviewed() -> None:
    stranger = State(EMPTY, NEW.facts)
    with pytest.raises(ControlRefused, match="decision-unknown"):
        control_effects(stranger, review(Life().ask("test.stop").records[0], "fine"), START_MS)


def test_a_lesson_holds_codes_and_numbers_alone() -> None:
    life = Life().ask("iam:PutUserPolicy", source="198.51.100.77", client="sekret/1")
    lesson = lesson_of(life.records[0])
    assert isinstance(lesson, LessonFact)

    def flat(value: Any) -> list[Any]:
        if isinstance(value, dict):
            return [item for each in value.values() for item in flat(each)]
        return [item for each in value for item in flat(each)] if isinstance(value, list) else [value]

    assert all(value is None or isinstance(value, (int, bool)) for value in flat(lesson.model_dump(mode="json")))


STRICT = """
name: strict
version: "1"
bands:
  slow: {at: 0.001, obligations: {wait_ms: 1}, reason: {code: any, message: Everything.}}
"""
PROFILE = build_profile("others", [counted([f"other{n}" for n in range(200)], 100) for _ in range(3)])


def habits(epochs: int, theirs: int = 0, *, learn: bool = True) -> epoch.Habits:
    """So many epochs of one's own, one action each 7 s, then so many actions of somebody else's."""
    b, at = epoch.NO_HABITS, START_MS
    for place in range(epochs * epoch.EPOCH_EVENTS + theirs):
        at += 7_000
        own = place < epochs * epoch.EPOCH_EVENTS
        code = place % 7 if own else 1_000 + place % 50
        b = epoch.ripened(b, at)
        _, mark = epoch.judge(epoch.signs(b, code, PROFILE), code)
        b = epoch.observe(b, mark, at, learn=learn)
    return b


def finished(b: epoch.Habits) -> epoch.Habits:
    at = START_MS + 365 * 86_400_000
    while b.codes:
        code = 1_000 + len(b.codes) % 50
        _, mark = epoch.judge(epoch.signs(b, code, PROFILE), code)
        b = epoch.observe(b, mark, at, learn=True)
    return b


def test_an_epoch_that_looks_like_somebody_else_is_learned_where_a_person_vouched_for_it() -> None:
    b = habits(5, 50)
    alone = finished(b)
    assert (alone.refused, alone.epochs) == (1, b.epochs)
    vouched = finished(epoch.vouched(b, b.number, 1_000, habitual=True, suspected=True))
    assert (vouched.refused, vouched.epochs, vouched.said) == (0, b.epochs + 1, epoch.NOTHING)
    later = epoch.vouched(alone, alone.number - 1, 1_000, habitual=True, suspected=True)
    assert later.said == epoch.FINE
    unsuspected = epoch.vouched(b, b.number, 1_000, habitual=True, suspected=False)
    assert unsuspected is b


def test_an_epoch_that_looks_like_the_identity_is_not_learned_where_a_person_called_it_bad() -> None:
    own = habits(6)
    started = habits(6, 0)
    at = START_MS + 365 * 86_400_000
    kept, said = started, epoch.disowned(own_action(started, 0, at), started.number)
    for place in range(epoch.EPOCH_EVENTS):
        kept = own_action(kept, place, at)
        said = said if place == 0 else own_action(said, place, at)
    kept, said = (epoch.ripened(each, at + MATURE_AFTER_MS) for each in (kept, said))
    assert kept.epochs == own.epochs + 1
    assert (said.epochs, said.refused, said.number) == (own.epochs, 0, own.number + 1)


def own_action(b: epoch.Habits, place: int, at: int) -> epoch.Habits:
    _, mark = epoch.judge(epoch.signs(b, place % 7, PROFILE), place % 7)
    return epoch.observe(b, mark, at, learn=True)


def test_after_bad_the_next_actions_are_judged_as_an_intruders() -> None:
    b = habits(5, 50)
    watched = epoch.disowned(b, b.number)
    code = 1_000
    calm = epoch.judge(epoch.signs(habits(5, 50), code, PROFILE), code)[0].h
    assert watched.h >= epoch.WATCHED
    assert epoch.judge(epoch.signs(watched, code, PROFILE), code)[0].h >= calm
    assert all(sub.h >= epoch.WATCHED for sub in watched.subs)


def test_bad_drops_an_epoch_that_was_accepted_and_waits() -> None:
    b, at = habits(5), START_MS + 365 * 86_400_000
    for place in range(epoch.EPOCH_EVENTS):
        _, mark = epoch.judge(epoch.signs(b, place % 7, PROFILE), place % 7)
        b = epoch.observe(b, mark, at + place, learn=True)
    assert b.waits
    dropped = epoch.disowned(b, b.number)
    assert (dropped.waits, dropped.codes, dropped.number) == (False, (), b.number + 1)
    assert epoch.ripened(dropped, at + 10 * MATURE_AFTER_MS).epochs == b.epochs


def test_a_word_about_an_epoch_long_gone_changes_no_habits() -> None:
    b = habits(5, 50)
    for number in (0, b.number - 1, b.number + 1):
        assert epoch.vouched(b, number, 1, habitual=False, suspected=True) is b
        assert epoch.disowned(b, number) is b


def test_who_asks_under_a_decisions_id_does_not_feign_that_it_was_taken_back() -> None:
    """Decisions' ids are told to askers, and an asker chooses the ids of his asks."""
    life = Life().ask("test.plain").ask("test.plain")
    feigned = ask("test.plain", at_ms=life.at_ms + 1_000, n=9)._replace(
        ce_id=life.records[0]["decision"]["decision_id"]
    )
    life.state = settle(life.state, decide(life.state, feigned, life.here).effects)
    life.at_ms += 1_000
    before = waits(life.baseline)
    life.say("bad", 0)
    assert waits(life.baseline) == before - 1


def test_a_baseline_without_numbers_left_for_epochs_is_not_imported() -> None:
    """Its next epoch would have no number, and no checkpoint could write it down."""
    life = Life().ask("test.plain")
    full = encode(life.baseline._replace(next_epoch=(1 << 32) - 1))
    body = {"kind": "import", "control_id": "ab" * 8, "by": "ann", "baseline": base64.b64encode(full).decode()}
    with pytest.raises(ControlRefused, match="invalid-baseline"):
        control_effects(life.state, CONTROL.validate_python(body), life.at_ms)


made_up = st.fixed_dictionaries(
    {
        "keys": st.builds(
            lambda *codes: [channel << 16 | code for channel, code in enumerate(codes) if code is not None],
            st.integers(0, 0xFFFF),
            *[st.none() | st.integers(0, 0xFFFF)] * 4,
        ),
        "counters": st.tuples(*[st.sampled_from([0, 1, 65_536, 1 << 52])] * 3),
        "epoch": st.sampled_from([0, 1, 2, 3, (1 << 32) - 1]),
        "habit": st.sampled_from([0, 1, 2, (1 << 32) - 1]),
        "habitual": st.booleans(),
        "code": st.integers(0, 0xFFFF),
        "h": st.none() | st.sampled_from([-(1 << 20), 0, 1 << 20]),
        "total": st.sampled_from([0, 6_144, 1 << 20]),
    }
)


@law
@given(st.lists(st.tuples(st.sampled_from(["fine", "bad"]), st.integers(0, 30), made_up), min_size=1, max_size=12))
def test_whatever_a_lesson_claims_the_state_can_be_written_and_decided_on(told: Any) -> None:
    """Who writes controls may make lessons up: no worker may end because of one."""
    life = Life()
    for said, which, lesson in told:
        life.ask("test.plain", 200_000, source="10.0.0.1").ask("test.stop", 1)
        try:
            life.say(said, which % len(life.records), 1_000, **lesson)
        except ControlRefused:
            continue
        assert decode(encode(life.baseline)) == life.baseline
        assert decode_facts(encode_facts(life.state.facts)) == life.state.facts
    for _ in range(3):
        life.ask("test.plain", MATURE_AFTER_MS)
        assert decode(encode(life.baseline)) == life.baseline
