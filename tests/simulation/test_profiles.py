"""Profiles that come, change and go among asks, crashes and moves: every record still follows from those before it."""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.laws import check
from tests.simulation.test_simulation import plan_of
from tests.simulation.world import PLACES, World

SEEDS = 24


def compared(seed: int) -> set[str]:
    """The profiles that the asks of one schedule met, after every law was held against it."""
    plan = plan_of(seed)
    actions = [*plan.actions, *[("read.thing", "")] * 6]
    plan = replace(plan, actions=actions, controls=[*plan.controls, "register"], profiles=len(PLACES))
    world = World(seed, plan)
    try:
        world.run()
        check(world)
        return {entry.body["vector"]["profile"] for entry in world.history() if entry.body["kind"] == "decision"}
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise
    finally:
        world.finish()


def test_every_law_holds_while_profiles_change() -> None:
    met = [compared(seed) for seed in range(SEEDS)]
    assert max(map(len, met)) > 3, "no schedule met a profile that changed"
