"""Each measurement runs to its end and says all that it promises; how fast it was, nobody asks here."""

import json
import random

import orjson
from typer.testing import CliRunner

from bench import fleet, roundtrip, state, throughput
from bench.__main__ import app
from bench.figures import ROOT

AROUND = {"bench", "quick", "machine", "python", "versions", "broker", "commit", "load_before", "load_after"}


def told(_: str) -> None:
    pass


def test_the_fleet_asks_in_about_500_bytes():
    sizes = [len(orjson.dumps(fleet.action(random.Random(seed)))) for seed in range(200)]
    assert all(400 <= size <= 600 for size in sizes)


def test_roundtrip_measures_guard_and_echo_alike(bootstrap):
    plan = roundtrip.QUICK
    found = roundtrip.run(bootstrap, plan, told)
    assert set(found["at_rate_ms"]) == set(found["alone_ms"]) == {"guard", "echo"}
    assert len(found["p50_ratios"]) == len(found["p99_ratios"]) == plan.rounds
    assert min(found["p50_ratios"]) <= found["p50_ratio"] <= max(found["p50_ratios"])
    asked = plan.warm_guard + plan.rounds * (plan.alone + plan.paced)
    assert sum(found["verdicts"].values()) == asked, "the gate answered every ask of the guard"


def test_throughput_measures_scorer_floor_and_bare_loop(bootstrap):
    plan = throughput.QUICK
    found = throughput.run(bootstrap, plan, told)
    assert found["per_s"] > 0
    assert found["floor_per_s"] > 0
    assert found["bare_per_s"] > 0
    assert found["ratios"] == [found["ratio"]]
    assert sum(found["verdicts"].values()) == plan.scorer, "every ask of the first round was decided and recorded"


def test_state_writes_what_it_reads():
    found = state.run(state.QUICK, told)
    assert found["identities"] == state.QUICK.identities
    assert found["p50_us"] <= found["p99_us"] <= found["max_us"]
    assert 0 < found["body_bytes"]["min"] <= found["body_bytes"]["max"] <= 1_960


def test_the_command_ends_with_one_line_of_json():
    ran = CliRunner().invoke(app, ["state", "--quick", "--json"])
    assert ran.exit_code == 0, ran.output
    assert set(json.loads(ran.stdout)) >= AROUND | {"p99_us", "ratio"}
    assert ran.stdout.count("\n") == 1


def test_a_broker_that_cannot_be_had_is_one_line():
    ran = CliRunner().invoke(app, ["roundtrip", "--broker", "nonsense", "--quick", "--json"])
    assert ran.exit_code == 1
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1
    assert "nonsense" in ran.stderr


def test_the_names_are_those_of_the_makefile():
    [line] = [line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("BENCH ?=")]
    assert set(line.partition("=")[2].split()) == {"roundtrip", "throughput", "state"}
