"""The blast-radius guard through crashes, zombies and moves: what it counted is never lost, whatever the schedule."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from models.policy import CompiledPack, compile_pack
from models.transition import redecide, rejudged
from schemas.documents import ActivePolicy, PackDocument
from streams import blast, takeover
from streams.answers import decision_bytes
from streams.audit import AuditEntry
from streams.blast import Guard, Trial
from streams.checkpoint import Checkpointer
from tests.simulation import laws
from tests.simulation import world as simulated
from tests.simulation.world import Plan, World

SCHEDULES = int(os.environ.get("STAYHAND_SCHEDULES", "60"))
SHARDS = 4
CAP_PERCENT, WINDOW = 20, 12
ACTIVATION = "ab" * 16
STRICT = (
    simulated.PACK.replace("name: simulation", "name: strict")
    + """
  - id: no-reading
    actions: ["read.*"]
    verdict: block
    reason: {code: no-reading, message: "Nothing may be read."}
"""
)


def strict() -> CompiledPack:
    return compile_pack(STRICT)


@dataclass
class Guarded(World):
    """The gate after somebody activated a pack that blocks all that is read."""

    def _publish_globals(self) -> None:
        super()._publish_globals()
        pack = strict()
        document = PackDocument(hash=pack.hash, name=pack.name, version=pack.version, source=STRICT, by="op")
        self.kafka.append("global", 0, f"pack/{pack.hash}".encode(), document.model_dump_json().encode())
        policy = ActivePolicy(
            active=pack.hash,
            previous=simulated.pack().hash,
            activation=ACTIVATION,
            cap_percent=CAP_PERCENT,
            window=WINDOW,
            by="op",
        )
        self.kafka.append("global", 0, b"policy", policy.model_dump_json().encode())


def plan_of(seed: int) -> Plan:
    draw = random.Random(f"guard-{seed}")
    names = ["read.thing"] * draw.choice([0, 1, 6]) + ["write.thing"] * 4 + ["deploy.prod", "secret.fetch", "outcome"]
    actions = [(draw.choice(names), "") for _ in range(draw.randint(4, 18))]
    controls = draw.choices(["freeze", "unfreeze", "approve"], k=draw.randint(0, 3))
    faults = [draw.choice(["crash", "pause", "move"]) for _ in range(draw.randint(0, 4))]
    counts = {f"{kind}s" if kind != "crash" else "crashes": faults.count(kind) for kind in ("pause", "move", "crash")}
    return Plan(actions, controls, wipes=draw.random() < 0.3, **counts)


def check(run: World) -> Guard:
    """Hold every record against the fold of those before it; returns where the guard stands at the end."""
    history, packs = run.history(), {pack.hash: pack for pack in (simulated.pack(), strict())}
    laws.every_ask_has_one_effective_record(run, history)
    laws.terms_only_rise_among_effective_records(history)
    laws.answers_are_the_recorded_bytes(run, history)
    trial = Trial(ACTIVATION, strict(), simulated.pack(), CAP_PERCENT, WINDOW)
    guard, returns = blast.opened(blast.NO_GUARD, trial), 0
    for entry in history:
        body = entry.body
        if body["kind"] in {"decision", "final"}:
            decides = trial.before if guard.returned else trial.active
            assert body["vector"]["policy"] == body["decision"]["policy"]["hash"] == decides.hash
            assert redecide(body, packs[decides.hash]) == decision_bytes(body["decision"])
        if body["kind"] == "decision":
            before, guard = guard, step(entry, guard, trial)
            returns += guard.returned and not before.returned
        elif "guard" in body and body["kind"] != "decision":
            assert body["guard"] == blast.guard_json(guard)
        assert body["kind"] != "returned" or guard.returned
    assert returns <= 1
    return guard


def step(entry: AuditEntry, guard: Guard, trial: Trial) -> Guard:
    """The guard after one decision, counted from the record alone, as the record must say."""
    body = entry.body
    after = guard
    if not body["ask"]["late"]:
        verdict, other = body["decision"]["verdict"], rejudged(body, trial.before).decision["verdict"]
        after = blast.counted(guard, trial, blocked=verdict == "block", blocked_before=other == "block")
    assert body.get("guard") == (None if guard.state == "kept" else blast.guard_json(after))
    return after


def run(seed: int, plan: Plan) -> tuple[Guard, Guard]:
    """The guard that is committed at the end, and the one that the audit leads to."""
    world = Guarded(seed, plan)
    try:
        world.run()
        return world.kafka.committed[0].guard, check(world)
    finally:
        world.finish()


@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_decision_names_the_pack_that_the_count_before_it_leaves_in_force(shard: int) -> None:
    ends = set()
    for seed in range(shard, SCHEDULES, SHARDS):
        try:
            committed, guard = run(seed, plan_of(seed))
            assert committed == guard
            ends.add(guard.state)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    assert {"trial", "returned"} <= ends


def test_a_pack_that_blocks_too_much_returns_and_says_so_once() -> None:
    world = Guarded(0, Plan([("read.thing", "")] * 9, []))
    try:
        world.run()
        guard = check(world)
        history = world.history()
    finally:
        world.finish()
    assert (guard.state, guard.decided, guard.blocks, guard.blocks_before) == ("returned", 3, 3, 0)
    [told] = [entry.body for entry in history if entry.body["kind"] == "returned"]
    assert told["note"] == {
        "active": simulated.pack().hash,
        "shadow": strict().hash,
        "cap_percent": CAP_PERCENT,
        "window": WINDOW,
    }
    verdicts = [entry.body["decision"]["verdict"] for entry in history if entry.body["kind"] == "decision"]
    assert verdicts == ["block"] * 3 + ["permit"] * 6
    shadows = [entry.body["shadow"]["verdict"] for entry in history if entry.body.get("shadow")]
    assert shadows == ["block"] * 6


def commits_forget_the_guard(patch: pytest.MonkeyPatch) -> None:
    real = Checkpointer._position
    patch.setattr(Checkpointer, "_position", lambda self, part: replace(real(self, part), guard=blast.NO_GUARD))


def recovery_forgets_the_guard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(takeover.blast, "recorded", lambda _body, guard: guard)


@pytest.mark.parametrize("ablation", [commits_forget_the_guard, recovery_forgets_the_guard])
def test_both_places_where_the_count_is_kept_are_needed(
    ablation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ablation(monkeypatch)
    assert any(breaks(seed) for seed in range(400)), "no schedule needed this"


def breaks(seed: int) -> bool:
    try:
        run(seed, Plan([("read.thing", "")] * 5 + [("write.thing", "")] * 3, [], crashes=2, moves=2))
    except AssertionError:
        return True
    return False
