"""Alarm rates: an alarm is a score that reaches a band, and an identity is above its target only beyond chance."""

import json
import time

import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from models.policy import compile_pack
from schemas.topics import topic
from streams import audit
from streams.__main__ import main
from streams.alarms import Alarms, Rate, rate_json
from streams.shipped import shipped_pack
from streams.topics import ensure
from tests.streams.audits import fleet

NO_BANDS = compile_pack("name: none\nversion: '1'\n")


@pytest.fixture(scope="module")
def history():
    return list(fleet(1_500, shipped_pack()))


def tallied(bodies, packs=lambda _: shipped_pack(), **settings):
    alarms = Alarms(packs, **settings)
    for body in bodies:
        alarms.add(body)
    return alarms


def test_rates_are_those_of_the_scores_whatever_rules_said(history):
    found = tallied(history)
    bands = {"unusual", "very-unusual", "not-this-identity"}
    alarms = [body for body in history if bands & {reason["code"] for reason in body["decision"].get("reasons", ())}]
    slowed = [body for body in history if body["decision"]["verdict"] == "slow"]
    assert (found.all.decisions, found.all.alarms) == (len(history), len(alarms))
    assert 0 < len(alarms) < len(slowed), "rules slow more than scores do"
    assert sum(rate.alarms for rate in found.rates.values()) == len(alarms)


def test_a_pack_without_bands_raises_no_alarm_and_an_unknown_one_is_not_guessed_at(history):
    assert tallied(history, lambda _: NO_BANDS).all.alarms == 0
    unknown = tallied(history, lambda _: None)
    assert (unknown.unknown, unknown.all.decisions) == (len(history), 0)


def test_what_can_do_much_harm_alarms_from_its_own_threshold_on(history):
    pack = compile_pack(
        "name: two\nversion: '1'\nbands:\n  block: {at: 9, harmful_at: 2, reason: {code: unusual, message: Unusual.}}\n"
    )
    body = history[0] | {"scores": {"total": 3 * 1_024}}
    for impact, alarms in ((0, 0), (1, 0), (2, 1), (3, 1)):
        found = tallied([body | {"features": {"impact": impact}}], lambda _: pack)
        assert found.all.alarms == alarms


def test_many_identities_stay_few_in_memory_and_those_with_alarms_stay(history):
    found = tallied(history, most=6)
    assert len(found.rates) <= 6
    assert found.forgotten
    assert found.all.decisions == len(history)


def test_the_identitys_own_bar_and_peoples_words_are_counted_beside_the_alarms(history):
    body = history[0] | {"scores": {"total": 5 * 1_024}}
    lower = body | {"facts": body["facts"] | {"bar": 5 * 1_024}}
    word = {"kind": "control", "identity": body["identity"], "effects": [{"do": "apply"}]}
    fine, bad = ({"kind": "review", "said": said} for said in ("fine", "bad"))
    other = {"kind": "freeze"}
    words = [word | {"control": control} for control in (fine, fine, bad, other)]
    again = word | {"control": fine, "effects": []}
    found = tallied([body, lower, *words, again]).rates[body["identity"]]
    assert (found.decisions, found.above_bar, found.fine, found.bad) == (2, 1, 2, 1)


@given(st.integers(0, 3_000), st.integers(0, 3_000))
def test_the_least_rate_is_below_the_rate_and_comes_nearer_with_more_decisions(alarms, others):
    rate = Rate(alarms + others, alarms)
    assert 0 <= rate.least_percent <= rate.percent <= 100
    many = Rate(10 * rate.decisions, 10 * rate.alarms)
    assert many.least_percent >= rate.least_percent


def test_few_alarms_by_chance_are_not_above_the_target():
    assert not rate_json(Rate(50, 1), 1.0)["above_target"]
    assert rate_json(Rate(50, 8), 1.0)["above_target"]
    assert rate_json(Rate(5_000, 75), 1.0)["above_target"]
    assert rate_json(Rate(), 1.0)["percent"] == 0


@pytest.mark.kafka
def test_the_page_names_those_that_alarm_most(bootstrap, unique_prefix, history):
    ensure(bootstrap, unique_prefix, partitions=1)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    for body in history:
        producer.produce(topic(unique_prefix, "audit"), audit.encode(body), timestamp=time.time_ns() // 1_000_000)
    assert producer.flush(20) == 0
    common = ["--bootstrap", bootstrap, "--prefix", unique_prefix]
    result = CliRunner().invoke(main, ["identity", "alarms", "--target", "0.2", "--top", "3", "--json", *common])
    assert result.exit_code == 0, (result.stderr, result.exception)
    told, expected = json.loads(result.stdout), tallied(history)
    assert told["all"] == rate_json(expected.all, 0.2)
    assert [each["identity"] for each in told["identities"]] == [name for name, _ in expected.top(3)]
    assert told["above_target"] == expected.above(0.2)
    name = told["identities"][0]["identity"]
    shown = CliRunner().invoke(main, ["identity", "show", name, "--json", "--target", "0.2", *common])
    assert json.loads(shown.stdout)["alarms"] == rate_json(expected.rates[name], 0.2)
    assert "at least" in CliRunner().invoke(main, ["identity", "alarms", *common]).stdout
