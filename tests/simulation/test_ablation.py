"""Each rule of the take-over protocol earns its place: without it, some schedule breaks a law.

The wait of spends needs a rare schedule and is shown in test_traces. Two rules are not here: reading controls to their
end is a second lock beside the controls in the audit, which recovery applies; and a dead worker's open transaction only
costs time, which the tests on Apache Kafka show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from streams import audit, takeover
from streams.audit import AuditEntry
from streams.ownership import Ownership
from streams.takeover import TakeOver
from streams.worker import Worker
from tests.simulation.test_simulation import SCHEDULES, plan_of, run
from tests.simulation.world import Plan

SEEDS = 1_500

Patch = Callable[[pytest.MonkeyPatch], None]


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


def membership_is_not_proven(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Worker, "_prove_membership", lambda _self: None)


def positions_reach_to_the_last_ack(patch: pytest.MonkeyPatch) -> None:
    real = Ownership.snapshot

    def late_cut(self: Ownership) -> Any:
        self._cut = (self.audit_next + 1, self.term)
        return real(self)

    patch.setattr(Ownership, "snapshot", late_cut)


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
    terms_are_ignored: any_plan,
    audit_is_not_read: any_plan,
    answers_that_waited_are_forgotten: any_plan,
    membership_is_not_proven: freezes_and_zombies,
    positions_reach_to_the_last_ack: any_plan,
}


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda ablation: ablation.__name__)
def test_without_the_rule_a_law_breaks(ablation: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = ABLATIONS[ablation]
    ablation(monkeypatch)
    broken = next((seed for seed in range(SEEDS) if breaks(seed, plan(seed))), None)
    assert broken is not None, "no schedule needed this rule"


@pytest.mark.parametrize("plan", [grants_and_crashes, freezes_and_zombies, freezes_and_crashes, lost_disks])
def test_with_every_rule_the_same_plans_hold(plan: Callable[[int], Plan]) -> None:
    for seed in range(SCHEDULES // 4):
        run(seed, plan(seed))


def breaks(seed: int, plan: Plan) -> bool:
    try:
        run(seed, plan)
    except Exception:  # noqa: BLE001 - any broken law, assertion or invariant counts
        return True
    return False
