"""Operator commands against a scorer that runs: what they say is applied is what the next ask meets."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from schemas.topics import DEFAULT_PREFIX
from stayhand import Guard, GuardConfig
from streams.__main__ import main
from streams.commands import _kafka
from streams.commands._session import Session
from streams.topics import ensure

ROOT = Path(__file__).parents[2]
PARTITIONS = 2
START_S = 60.0
ACTION = {
    "subject": {"type": "token", "id": "ci-deployer"},
    "action": {"name": "deploy.run"},
    "resource": {"type": "env", "id": "prod"},
}
IDENTITY = "token:ci-deployer"

pytestmark = pytest.mark.kafka


class Gate:
    """A scorer under a prefix of its own, an operator's command line, and one enforcement point."""

    def __init__(self, bootstrap, prefix, folder):
        assert prefix != DEFAULT_PREFIX
        self.bootstrap, self.prefix, self.folder = bootstrap, prefix, folder
        self.master, self.key_file = folder / "master", folder / "ci.key"

    def run(self, *arguments):
        common = ["--bootstrap", self.bootstrap, "--prefix", self.prefix, "--wait-for", "60s"]
        result = CliRunner().invoke(main, [*arguments, *common, "--json"])
        assert result.exit_code == 0, (result.stdout, result.stderr, result.exception)
        return json.loads(result.stdout)

    def look(self, *arguments):
        common = ["--bootstrap", self.bootstrap, "--prefix", self.prefix, "--json"]
        result = CliRunner().invoke(main, [*arguments, *common])
        assert result.exit_code == 0, (result.stdout, result.stderr, result.exception)
        return json.loads(result.stdout)

    def prepare(self):
        ensure(self.bootstrap, self.prefix, partitions=PARTITIONS)
        assert CliRunner().invoke(main, ["secret", "new", str(self.master)]).exit_code == 0
        secret = ["--master-secret-file", str(self.master), "--key-file", str(self.key_file)]
        self.run("point", "register", "ci", "--identity", "token:*", "--action", "*", *secret)
        self.run("policy", "publish", str(ROOT / "policies" / "default.yaml"), "--activate")

    def start(self):
        options = ["--bootstrap", self.bootstrap, "--prefix", self.prefix, "--master-secret-file", str(self.master)]
        options += ["--state-dir", str(self.folder / "state"), "--health-port", "0"]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'sdk'}"}
        command = [sys.executable, "-m", "streams", "scorer", *options]
        with (self.folder / "scorer.log").open("wb") as log:
            return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, (self.folder / "scorer.log").read_text()

    def restart(self):
        self.stop()
        self.process = self.start()

    def await_scorer(self, process):
        """Until each partition's owner has spoken in the audit."""
        session = Session({"bootstrap.servers": self.bootstrap}, self.prefix)
        give_up = time.monotonic() + START_S
        while not all(_kafka.marks(session).audit.values()):
            log = (self.folder / "scorer.log").read_text()
            assert process.poll() is None, log
            assert time.monotonic() < give_up, log
            time.sleep(0.1)

    def guard(self):
        config = GuardConfig(
            bootstrap=self.bootstrap,
            point="ci",
            key_id="k1",
            key_file=self.key_file,
            prefix=self.prefix,
            deadline_ms=20_000,
        )
        return Guard(config)


@pytest.fixture
def gate(bootstrap, unique_prefix, tmp_path):
    gate = Gate(bootstrap, unique_prefix, tmp_path)
    gate.prepare()
    gate.process = gate.start()
    try:
        gate.await_scorer(gate.process)
        yield gate
    finally:
        gate.stop()


def test_a_freeze_that_is_called_applied_blocks_the_next_ask_and_its_end_lets_it_pass(gate):
    with gate.guard() as guard:
        before = guard.check(ACTION)
        assert (before.origin, before.verdict) == ("gate", "permit")
        for freeze in (["freeze", IDENTITY], ["freeze", "--family", "deploy"], ["freeze", "--everything"]):
            assert gate.run(*freeze)["applied"]
            frozen = guard.check(ACTION)
            assert (frozen.origin, frozen.verdict) == ("gate", "block")
            assert gate.run("unfreeze", *freeze[1:])["applied"]
            assert guard.check(ACTION).verdict == "permit"
        told = gate.look("explain", before.decision_id, "--replay")
        assert told["replay"] == {"same": True}
        assert told["action"]["action"]["name"] == "deploy.run"


def test_an_identitys_page_shows_what_operators_and_its_own_asks_made_of_it(gate):
    gate.run("register", IDENTITY, "--owner", "team-a")
    granted = gate.run("grant", IDENTITY, "--action", "deploy.*", "--resource", "env:*")
    assert granted["applied"]
    with gate.guard() as guard:
        decision = guard.check(ACTION)
    gate.run("identity", "reset", IDENTITY)
    page = gate.look("identity", "show", IDENTITY)
    assert [each["decision_id"] for each in page["decisions"]] == [decision.decision_id]
    give_up = time.monotonic() + START_S
    while (page["facts"] or {}).get("owner") != "team-a" or (page["baseline"] or {"events": 1})["events"]:
        assert time.monotonic() < give_up, page
        page = gate.look("identity", "show", IDENTITY)


def test_a_word_on_a_decision_reaches_the_baseline_once_and_stands_beside_the_decision(gate):
    stopped = {**ACTION, "action": {"name": "secret.export"}}
    with gate.guard() as guard:
        passed, blocked = guard.check(ACTION), guard.check(stopped)
    assert (passed.verdict, blocked.verdict) == ("permit", "block")
    for said, decision in (("--fine", blocked), ("--fine", blocked), ("--bad", passed)):
        told = gate.run("review", decision.decision_id, said, "--identity", IDENTITY, "--by", "ada", "--why", "asked")
        assert told["applied"]
    reviews = gate.look("explain", blocked.decision_id)["reviews"]
    assert [(each["said"], each["by"], each["why"]) for each in reviews] == [("fine", "ada", "asked")] * 2
    again = CliRunner().invoke(
        main, ["review", passed.decision_id, "--fine", "--bootstrap", gate.bootstrap, "--prefix", gate.prefix]
    )
    assert again.exit_code == 1
    assert "called-bad" in again.stderr
    give_up = time.monotonic() + START_S
    page = gate.look("identity", "show", IDENTITY)
    while len((page["facts"] or {}).get("reviews", ())) < 2:
        assert time.monotonic() < give_up, page
        page = gate.look("identity", "show", IDENTITY)
    # The one that passed was taken back; the one that was stopped waits in its place.
    assert (page["baseline"]["waiting"], page["baseline"]["matured"]) == (1, 0)
    counted = gate.look("identity", "alarms")["all"]
    assert (counted["called_fine"], counted["called_bad"]) == (1, 1)


STRICT = """
name: strict
version: "1"
rules:
  - {id: none, actions: ["deploy.*"], verdict: block, reason: {code: none, message: Nothing is deployed.}}
"""


def test_a_policy_that_blocks_too_much_returns_to_shadow_and_stays_there_through_a_restart(gate, tmp_path):
    file = tmp_path / "strict.yaml"
    file.write_text(STRICT)
    limits = ["--cap-percent", "10", "--window", "10"]
    gate.run("policy", "publish", str(file), "--activate", *limits)
    with gate.guard() as guard:
        seen = [guard.check(ACTION) for _ in range(4)]
        assert [each.verdict for each in seen] == ["block", "block", "permit", "permit"]
        roles = {each["role"]: each for each in gate.look("policy", "list")}
        assert roles["active"]["name"] == "strict"
        partitions = roles["active"]["guard"]["partitions"].values()
        counts = sorted((each["state"], each["decided"], each["blocks"], each["blocks_before"]) for each in partitions)
        assert counts == [("returned", 2, 2, 0), ("trial", 0, 0, 0)]
        for decision, name in zip(seen, ("strict", "strict", "default", "default"), strict=True):
            explained = gate.look("explain", decision.decision_id, "--replay")
            assert explained["replay"] == {"same": True}
            assert explained["decision"]["policy"]["name"] == name
        assert explained["shadow"]["verdict"] == "block"
        gate.restart()
        assert guard.check(ACTION).verdict == "permit"
        gate.run("policy", "activate", roles["active"]["hash"], "--cap-percent", "100")
        assert guard.check(ACTION).verdict == "block"
    now = {each["role"]: each["name"] for each in gate.look("policy", "list")}
    assert now == {"active": "strict", "previous": "default"}
