"""The fleet: one seed gives one history, every record replays, and the thief looks like nobody of the house."""

import json

import pytest

from bench.detection.gate import Gate
from stayhand.headers import parse_rfc3339
from stayhand.wire import pending_action
from streams.demo.fleet import DAY_MS, FLEET, QUIET_MS, SIBLING, VICTIM, history, theft
from streams.replay.mapping import map_record

UNTIL_MS = 1_760_000_000_000


def test_the_same_seed_gives_the_same_history_and_another_one_another():
    assert list(history(1, UNTIL_MS, 1)) == list(history(1, UNTIL_MS, 1))
    assert list(history(1, UNTIL_MS, 1)) != list(history(2, UNTIL_MS, 1))


def test_every_record_of_the_history_is_an_action_of_the_fleet_in_its_time():
    events = [map_record(json.loads(json.dumps(record))) for record in history(1, UNTIL_MS, 2)]
    assert {event.identity for event in events} == {worker.identity for worker in FLEET}
    assert len({event.event_id for event in events}) == len(events)
    assert min(event.at_ms for event in events) >= UNTIL_MS - 2 * DAY_MS
    assert max(event.at_ms for event in events) < UNTIL_MS - QUIET_MS + 60_000


def test_everybody_does_enough_in_three_days_to_have_a_baseline():
    counts = {worker.identity: 0 for worker in FLEET}
    for record in history(1, UNTIL_MS, 3):
        counts[f"{record['subject']['type']}:{record['subject']['id']}"] += 1
    assert len(counts) == 10
    assert min(counts.values()) > 300


def test_the_thief_is_the_victim_by_name_alone():
    everyday = {step.action for job in VICTIM.jobs for step in job}
    disguised, *others = (pending_action(action) for action in theft())
    assert {action.identity for action in (disguised, *others)} == {VICTIM.identity}
    assert {worker.source for worker in FLEET}.isdisjoint({action.context.source for action in (disguised, *others)})
    assert disguised.action.name in everyday
    assert sum(action.action.name in everyday for action in others) <= 1
    assert VICTIM.client not in {action.context.client for action in others}


def test_the_sibling_does_the_same_work_for_another_product():
    assert SIBLING.jobs != VICTIM.jobs
    assert [step.action for step in SIBLING.jobs[0]] == [step.action for step in VICTIM.jobs[0]]


@pytest.mark.parametrize("seed", [4, 7, 8])
def test_honest_work_that_can_do_harm_is_learned_and_not_slowed_for_ever(seed):
    gate, slowed = Gate(), 0
    for record in history(seed, UNTIL_MS, 3):
        if record["subject"]["type"] == "token":
            asked = pending_action({name: record[name] for name in ("subject", "action", "resource", "context")})
            ruling = gate.ask(asked, parse_rfc3339(record["time"]), record["id"])
            slowed += ruling.decision["verdict"] != "permit"
    assert slowed <= 4
