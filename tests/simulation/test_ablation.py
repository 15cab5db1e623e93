"""Each rule of the take-over protocol earns its place: without it, some schedule breaks a law."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from streams import audit, takeover
from streams.audit import AuditEntry
from streams.outbox import Outbox
from streams.ownership import Ownership
from streams.takeover import TakeOver
from streams.worker import Worker
from tests.simulation.test_simulation import SCHEDULES, plan_of, run
from tests.simulation.world import Plan

SEEDS = 1_500

Patch = Callable[[pytest.MonkeyPatch], None]


def spends_do_not_wait(patch: pytest.MonkeyPatch) -> None:
    real = Outbox.send
    patch.setattr(Outbox, "send", lambda self, own, answer, *, waits: real(self, own, answer, waits=False))


def terms_are_ignored(patch: pytest.MonkeyPatch) -> None:
    def all_of_them(entries: Iterable[AuditEntry], _term: int, _before: int) -> Iterator[AuditEntry]:
        yield from entries

    patch.setattr(audit, "own_history", all_of_them)


def audit_is_not_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TakeOver, "_recover", lambda *_: iter(()))


def answers_that_waited_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    def applied_only(self: TakeOver, own: Ownership, marked_at: int) -> Iterator[AuditEntry]:
        found = self._log.read("audit", 0, own.committed.audit_next, marked_at)
        for entry in audit.own_history(map(audit.decode, found), own.term, own.committed.audit_term):
            if takeover.replay(own, entry.body):
                yield entry

    patch.setattr(TakeOver, "_recover", applied_only)


def controls_come_later(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Worker, "_catch_up_controls", lambda self, own: self._log.follow(own.partition, own.controls_next))


def membership_is_not_proven(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Worker, "_prove_membership", lambda _self: None)


def positions_reach_to_the_last_ack(patch: pytest.MonkeyPatch) -> None:
    real = Ownership.snapshot

    def late_cut(self: Ownership) -> Any:
        self._cut = (self.audit_next + 1, self.term)
        return real(self)

    patch.setattr(Ownership, "snapshot", late_cut)


def open_transactions_are_left(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TakeOver, "_settled_position", lambda self, partition: self._log.position(partition))


def any_plan(seed: int) -> Plan:
    return plan_of(seed)


def grants_and_crashes(seed: int) -> Plan:
    deploys = [("deploy.prod", "")] * (2 + seed % 2)
    return Plan(deploys, ["grant"], crashes=1 + seed % 2, pauses=seed % 2)


def freezes_and_zombies(seed: int) -> Plan:
    return Plan([("read.thing", "")] * 8, ["freeze"], pauses=2, moves=seed % 2)


def freezes_and_crashes(seed: int) -> Plan:
    return Plan([("read.thing", "")] * 8, ["freeze"], crashes=2, moves=seed % 3, pauses=seed % 2)


def lost_disks(seed: int) -> Plan:
    return Plan([("read.thing", "")] * (4 + seed % 4), ["grant"], crashes=4, moves=2, wipes=True)


ABLATIONS: dict[Patch, Callable[[int], Plan]] = {
    spends_do_not_wait: grants_and_crashes,
    terms_are_ignored: any_plan,
    audit_is_not_read: any_plan,
    answers_that_waited_are_forgotten: any_plan,
    controls_come_later: freezes_and_crashes,
    membership_is_not_proven: freezes_and_zombies,
    positions_reach_to_the_last_ack: any_plan,
    open_transactions_are_left: lost_disks,
}


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda ablation: ablation.__name__)
def test_without_the_rule_a_law_breaks(ablation: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = ABLATIONS[ablation]
    ablation(monkeypatch)
    broken = next((seed for seed in range(SEEDS) if breaks(seed, plan(seed))), None)
    assert broken is not None, "no schedule needed this rule"


@pytest.mark.parametrize("plan", sorted(set(ABLATIONS.values()), key=lambda plan: plan.__name__))
def test_with_every_rule_the_same_plans_hold(plan: Callable[[int], Plan]) -> None:
    for seed in range(SCHEDULES // 4):
        run(seed, plan(seed))


def breaks(seed: int, plan: Plan) -> bool:
    try:
        run(seed, plan)
    except Exception:  # noqa: BLE001 - any broken law, assertion or invariant counts
        return True
    return False
