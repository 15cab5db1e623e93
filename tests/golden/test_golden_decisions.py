"""Golden cases: each YAML case is a story of steps, with what every decision and its audit record must say."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.effects import Observe
from models.eventform import scores_json
from models.policy import CompiledPack, compile_pack
from models.reviews import lesson_of
from models.transition import (
    NEW,
    ControlRefused,
    Ruling,
    State,
    World,
    answer_hold,
    control_effects,
    decide,
    effect_from_json,
    effect_json,
    encode_facts,
    redecide,
    redecide_shadow,
    settle,
)
from schemas.documents import CONTROL, MAX_FACTS_BYTES, KillSwitch
from stayhand import canonical
from stayhand.wire import Decision
from tests.models.asks import POLICIES, START_MS, ask, audit, no_floats, pack, point, prior

FILES = sorted(Path(__file__).parent.glob("*.yaml"))
CASES = [(path.stem, case) for path in FILES for case in yaml.safe_load(path.read_text(encoding="utf-8"))]
CHECKED = {
    "verdict",
    "would_be",
    "final",
    "reasons",
    "obligations",
    "effects",
    "waits",
    "facts",
    "shadow",
    "modes",
    "learn",
}


@pytest.mark.parametrize(("file", "case"), CASES, ids=[f"{file}: {case['name']}" for file, case in CASES])
def test_golden(file: str, case: dict[str, Any]) -> None:
    story = Story(case)
    told = 0
    for step in case["steps"]:
        told += story.take(step)
    assert told, f"{file}: a case must expect something"


class Story:
    """One identity's life through the steps of a case."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case
        self.state: State = NEW
        self.at_ms = START_MS
        self.number = 0
        self.holds: list[str] = []
        self.records: list[dict[str, Any]] = []

    def take(self, step: dict[str, Any]) -> bool:
        self.number += 1
        self.at_ms += step.get("after_ms", 1_000)
        if "history" in step:
            self._history(**step["history"])
            return False
        if "control" in step:
            return self._control(step["control"], step)
        ruling = self._answer(step["answer"], step) if "answer" in step else self._ask(step["ask"], step)
        self.state = self._settled(ruling)
        expected = dict(step["expect"])
        assert set(expected) <= CHECKED
        got = summary(ruling)
        facts = expected.pop("facts", {})
        assert {name: got[name] for name in expected} == expected
        self._learned(step)
        assert {name: ruling.facts.get(name) for name in facts} == facts
        return True

    def _world(self, step: dict[str, Any]) -> World:
        switch = step.get("switch")
        return World(
            pack=named(step.get("pack") or self.case.get("pack", "default")),
            shadow=named(self.case["shadow"]) if "shadow" in self.case else None,
            prior=prior(),
            switch=KillSwitch(**switch) if switch else None,
            observe=step.get("observe", False),
        )

    def _ask(self, given: dict[str, Any], step: dict[str, Any]) -> Ruling:
        asked = ask(
            given["action"],
            at_ms=self.at_ms,
            n=self.number,
            late=step.get("late", False),
            resource=given.get("resource"),
            by=point(**{name: tuple(v) if isinstance(v, list) else v for name, v in step.get("point", {}).items()}),
            **given.get("context", {}),
        )
        world = self._world(step)
        ruling = decide(self.state, asked, world)
        assert decide(self.state, asked, world) == ruling
        record = through_json(audit(ruling, asked))
        told = {"scores": scores_json(ruling.scores), "effects": [effect_json(effect) for effect in ruling.effects]}
        self.records.append(through_json(record | told))
        assert redecide(record, world.pack) == canonical.canonical(ruling.decision)
        if world.shadow is not None:
            assert redecide_shadow(record, world.shadow) == ruling.shadow
            unseen = World(world.pack, None, world.prior, world.switch, world.observe)
            assert decide(self.state, asked, unseen).decision == ruling.decision
        if not ruling.decision["final"]:
            self.holds.append(next(duty["hold_id"] for duty in ruling.decision["obligations"] if "hold_id" in duty))
        return ruling

    def _answer(self, kind: str, step: dict[str, Any]) -> Ruling:
        control = CONTROL.validate_python(
            {"kind": kind, "control_id": "ab" * 8, "by": "ann", "hold_id": self.holds[-1]}
        )
        assert control_effects(self.state, control, self.at_ms) == []
        world = self._world(step)
        by = None if step.get("point_gone") else point()
        ruling = answer_hold(self.state, control, self.at_ms, f"{self.number:032x}", world, "token:ci", by)
        assert ruling is not None
        assert redecide(through_json(audit(ruling, None, "final")), world.pack) == canonical.canonical(ruling.decision)
        return ruling

    def _control(self, given: dict[str, Any], step: dict[str, Any]) -> bool:
        given = {"control_id": "cd" * 8, "by": "ann", **given}
        if "grant" in given:
            given["grant"] = {"expires_at_ms": self.at_ms + 3_600_000, **given["grant"]}
        if given["kind"] == "review":
            reviewed = self.records[given.pop("ask")]
            lesson = lesson_of(reviewed)
            assert lesson is not None
            changed = lesson.model_dump(mode="json") | given.pop("lesson", {})
            given |= {"decision_id": reviewed["decision"]["decision_id"], "lesson": changed}
        control = CONTROL.validate_python(given)
        if "refused" in step:
            with pytest.raises(ControlRefused) as refusal:
                control_effects(self.state, control, self.at_ms)
            assert (refusal.value.code, refusal.value.field) == tuple(step["refused"])
            return True
        effects = control_effects(self.state, control, self.at_ms)
        told = [effect_from_json(through_json(effect_json(effect))) for effect in effects]
        assert told == effects
        self.state = settle(self.state, effects)
        return self._learned(step)

    def _learned(self, step: dict[str, Any]) -> bool:
        """How many events wait, have matured, and how many reviews are remembered, where the step says so."""
        b = self.state.baseline
        waits = sum(epoch.events for epoch in (b.open, b.waiting) if epoch is not None)
        got = {"waits": waits, "matured": b.matured, "reviews": len(self.state.facts.reviews)}
        expected = step.get("learned", {})
        assert {name: got[name] for name in expected} == expected
        return bool(expected)

    def _history(
        self, action: str, times: int, every_ms: int, things: int = 1, context: dict[str, Any] | None = None
    ) -> None:
        """Lets the identity do one thing many times, to so many things in turn, permitted, so that it matures."""
        for time in range(times):
            self.number += 1
            self.at_ms += every_ms
            thing = {"type": "host", "id": f"a/{time % things}" if things > 1 else "a"}
            asked = ask(action, at_ms=self.at_ms, n=self.number, resource=thing, **(context or {}))
            ruling = decide(self.state, asked, World(pack(), None, prior(), None, False))
            assert ruling.decision["verdict"] == "permit"
            self.state = settle(self.state, ruling.effects)

    def _settled(self, ruling: Ruling) -> State:
        told = through_json([effect_json(effect) for effect in ruling.effects])
        state = settle(self.state, ruling.effects)
        assert settle(self.state, [effect_from_json(effect) for effect in told]) == state
        assert len(encode_facts(state.facts)) <= MAX_FACTS_BYTES
        return state


def summary(ruling: Ruling) -> dict[str, Any]:
    decision = Decision.model_validate(through_json(ruling.decision))
    assert no_floats(ruling.decision)
    assert no_floats(ruling.facts)
    shadow = ruling.shadow
    return {
        "verdict": decision.verdict,
        "would_be": decision.would_be,
        "final": decision.final,
        "reasons": [reason.code for reason in decision.reasons],
        "obligations": [duty.type for duty in decision.obligations],
        "modes": list(decision.fallback.modes),
        "effects": [effect_json(effect)["do"] for effect in ruling.effects],
        "waits": ruling.waits,
        "learn": any(isinstance(each, Observe) and each.lesson.learn for each in ruling.effects),
        "shadow": None if shadow is None else {name: v for name, v in shadow.items() if name != "policy"},
    }


def through_json(value: Any) -> Any:
    return canonical.loads(canonical.canonical(value))


@cache
def named(name: str) -> CompiledPack:
    """A pack that ships, or the small one of the tests, or one beside the cases."""
    if name == "test":
        return pack()
    own = Path(__file__).parent / "packs" / f"{name}.yaml"
    path = own if own.exists() else POLICIES / f"{name}.yaml"
    return compile_pack(path.read_text(encoding="utf-8"))
