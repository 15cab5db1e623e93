"""Thousands of seeded schedules with crashes, zombies and moves: the take-over protocol over the scorer's own code."""

from __future__ import annotations

import os
import random

import pytest

from tests.simulation.laws import check
from tests.simulation.world import Plan, World

SCHEDULES = int(os.environ.get("STAYHAND_SCHEDULES", "60"))
SHARDS = 8


def plan_of(seed: int) -> Plan:
    """A plan and its faults, drawn by the seed: up to two faults of any kind, as the model checker had them."""
    rng = random.Random(f"plan-{seed}")
    actions = [
        (
            rng.choice(["read.thing", "read.thing", "deploy.prod", "secret.fetch", "outcome"]),
            rng.choice(["", "", "k1", "k2"]),
        )
        for _ in range(rng.randint(2, 9))
    ]
    controls = rng.choices(
        ["grant", "freeze", "unfreeze", "approve", "reset"], weights=[4, 2, 1, 3, 1], k=rng.randint(0, 4)
    )
    faults = [rng.choice(["crash", "pause", "move"]) for _ in range(rng.randint(0, 3))]
    return Plan(
        actions,
        controls,
        crashes=faults.count("crash"),
        pauses=faults.count("pause"),
        moves=faults.count("move"),
        wipes=rng.random() < 0.3,
    )


def run(seed: int, plan: Plan) -> None:
    world = World(seed, plan)
    try:
        world.run()
        check(world)
    finally:
        world.finish()


@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_law_holds_on_every_schedule(shard: int) -> None:
    for seed in range(shard, SCHEDULES, SHARDS):
        try:
            run(seed, plan_of(seed))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
