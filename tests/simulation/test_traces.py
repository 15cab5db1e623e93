"""A model checker's shortest traces against a first design, as schedules that the scorer's own code must survive."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from streams.outbox import Outbox
from streams.worker import Worker
from tests.simulation.laws import check
from tests.simulation.world import Plan, World

STEPS = 2_000


class Stage:
    """A world whose steps are dealt by hand."""

    def __init__(self) -> None:
        self.world = World(0, Plan([], []), names=("w1", "w2"))
        self.kafka = self.world.kafka
        self.world.lives["w2"].paused = True
        self.turns("w1", self._settled_in)

    def _settled_in(self) -> bool:
        self.let_land()
        worker = self.world.workers.get("w1")
        return worker is not None and 0 in worker.owned and worker.owned[0].audits_acked > 0

    def ask(self, action: str) -> None:
        self.world.plan.actions.append((action, ""))
        self.world._ask(action, "")

    def control(self, kind: str) -> None:
        self.world.plan.controls.append(kind)
        self.world._control(kind)

    def turns(self, name: str, until: Callable[[], bool]) -> None:
        """Give turns to one worker's tasks alone."""
        process = self.world.lives[name]
        for _ in range(STEPS):
            if until():
                return
            self.world.schedule.now_s += 0.001
            mine = [task for task in self.world.schedule.runnable() if task.process is process]
            if mine:
                self.world.schedule.rng.choice(mine).turn()
        raise AssertionError(f"{name} does not come to it: {self.world.describe()}")

    def let_land(self) -> None:
        for process, flights in self.kafka.flying.items():
            while flights:
                self.kafka.land(process)

    def sent(self, count: int) -> Callable[[], bool]:
        return lambda: len(self.kafka.sent) >= count

    def heal(self) -> None:
        """Let everything run to its end and hold it against the laws."""
        self.world.run()
        check(self.world)


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.world.finish()


def spend_before_a_crash(stage: Stage) -> None:
    """An ask is refused, then a grant comes and the next ask spends it; of all that only one answer gets out."""
    stage.ask("deploy.prod")
    stage.turns("w1", stage.sent(1))
    stage.control("grant")
    stage.ask("deploy.prod")
    stage.turns("w1", lambda: stage.world.workers["w1"].owned[0].actions_next == 2)
    process = stage.world.lives["w1"]
    stage.world.schedule.kill(process)
    stage.kafka.flying[process].clear()
    leaving = stage.kafka.leaving[process]
    stage.kafka.arrived.extend(leaving[1:])
    leaving.clear()
    stage.heal()


def test_a_spend_whose_record_was_lost_lets_no_second_ask_act(stage: Stage) -> None:
    spend_before_a_crash(stage)


def test_that_trace_needs_the_wait_for_the_commit(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Outbox.send
    monkeypatch.setattr(Outbox, "send", lambda self, own, answer, *, waits: real(self, own, answer, waits=False))
    with pytest.raises(AssertionError, match="2 deployments act on 1 grants"):
        spend_before_a_crash(stage)


def zombie_after_a_freeze(stage: Stage) -> None:
    """A worker is paused with an ask in hand; its successor acknowledges a freeze; the worker wakes up."""
    stage.ask("read.thing")
    worker = stage.world.workers["w1"]
    log = worker._log
    stage.turns("w1", lambda: log._reading[0] == 1)
    assert worker.owned[0].actions_next == 0, "the ask is drained and not yet decided"
    stage.world.lives["w1"].paused = True
    stage.kafka.expel("w1")
    stage.world.schedule.now_s += 5
    stage.world.lives["w2"].paused = False
    stage.control("freeze")

    def frozen() -> bool:
        stage.let_land()
        return any(entry.body["kind"] == "control" for entry in stage.world.history())

    stage.turns("w2", frozen)
    stage.world.lives["w2"].paused = True
    stage.world.lives["w1"].paused = False
    stage.turns("w1", lambda: bool(stage.kafka.sent) or stage.world.lives["w1"].dead)
    stage.heal()


def test_a_zombie_permits_nothing_after_a_freeze_was_acknowledged(stage: Stage) -> None:
    zombie_after_a_freeze(stage)


def test_that_trace_needs_the_proof_of_membership(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "_prove_membership", lambda _self: None)
    for worker in stage.world.workers.values():
        monkeypatch.setattr(worker._outbox, "_prove_membership", lambda: None)
    with pytest.raises(AssertionError, match="a permit left after the freeze was acknowledged"):
        zombie_after_a_freeze(stage)


def test_a_record_of_an_older_life_that_lands_after_the_mark_is_void(stage: Stage) -> None:
    stage.ask("read.thing")
    old = stage.world.lives["w1"]
    stage.turns("w1", lambda: bool(stage.kafka.sent and stage.kafka.flying[old]))
    stage.world.schedule.kill(old)
    stage.world.start("w1")

    def marked() -> bool:
        new = stage.world.lives["w1"]
        if stage.kafka.flying.get(new):
            stage.kafka.land(new)
        return len(stage.kafka.log("audit", 0)) > 2

    stage.turns("w1", marked)
    while stage.kafka.flying[old]:
        stage.kafka.land(old)
    stage.heal()
    records = stage.kafka.log("audit", 0)
    void = {record.offset for record in records} - {entry.offset for entry in stage.world.history()}
    assert void, "the older life's record landed and must not count"


def test_an_acknowledged_freeze_survives_the_restart_that_follows_it(stage: Stage) -> None:
    stage.control("freeze")
    stage.turns("w1", lambda: any(flight for flight in stage.kafka.flying.values()))
    stage.let_land()
    stage.world.schedule.kill(stage.world.lives["w1"])
    stage.ask("read.thing")
    stage.heal()
    assert [entry.body["decision"]["verdict"] for entry in stage.world.history() if "decision" in entry.body] == [
        "block"
    ]
