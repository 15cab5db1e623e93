"""Reviews on seeded schedules with crashes and moves: the owner's state stays the fold of the audit, words and all."""

from __future__ import annotations

import os
import random

from tests.simulation.laws import check
from tests.simulation.world import Plan, World

SCHEDULES = int(os.environ.get("STAYHAND_SCHEDULES", "60")) // 2


def plan_of(seed: int) -> Plan:
    draw = random.Random(f"review-{seed}")
    actions = [(draw.choice(["read.thing", "deploy.prod", "secret.fetch"]), "") for _ in range(draw.randint(2, 8))]
    controls = draw.choices(["fine", "bad", "approve", "reset"], weights=[4, 4, 1, 1], k=draw.randint(1, 5))
    faults = [draw.choice(["crash", "pause", "move"]) for _ in range(draw.randint(0, 3))]
    counts = {f"{kind}s" if kind != "crash" else "crashes": faults.count(kind) for kind in ("pause", "move", "crash")}
    return Plan(actions, controls, wipes=draw.random() < 0.3, **counts)


def test_every_law_holds_where_decisions_are_reviewed() -> None:
    applied = refused = 0
    for seed in range(SCHEDULES):
        world = World(seed, plan_of(seed))
        try:
            world.run()
            check(world)
            reviews = [
                entry.body for entry in world.history() if (entry.body.get("control") or {}).get("kind") == "review"
            ]
            applied += sum(bool(body["effects"]) for body in reviews)
            refused += sum(not body["effects"] for body in reviews)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        finally:
            world.finish()
    assert applied > SCHEDULES // 2, "most schedules have a word that changes something"
    assert refused, "and some say the same again"
