"""The command ``stayhand``: its exit status is the verdict."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stayhand import Guard
from stayhand.cli import main
from stayhand.testing import KEY, StubGate, decision
from stayhand.wire import Message
from tests.sdk.conftest import action
from tests.sdk.fake_scorer import FakeScorer

ASK = ["check", "--action", "deploy.push", "--subject", "token:ci", "--resource", "environment:prod/eu"]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> StubGate:
    monkeypatch.setenv("STAYHAND_POINT", "p1")
    monkeypatch.setenv("STAYHAND_KEY_ID", "k1")
    monkeypatch.setenv("STAYHAND_KEY", KEY.hex())
    return StubGate()


@pytest.mark.parametrize(
    ("rule", "status"),
    [("permit", 0), ("slow", 3), ("guide", 4), ("block", 5), ("reject", 6), ("silent", 7), ("hold", 3)],
)
def test_the_exit_status_is_the_verdict(rule: str, status: int, gate: StubGate) -> None:
    getattr(gate, rule)("*")
    assert main(ASK, gate) == status


def test_waiting_for_the_final_decision_makes_it_the_status(gate: StubGate) -> None:
    assert main([*ASK, "--wait"], gate.hold(then="permit")) == 0
    assert main([*ASK, "--wait"], gate.hold(then="block")) == 5


def test_json_is_one_line_with_the_decision(gate: StubGate, capsys: pytest.CaptureFixture[str]) -> None:
    main([*ASK, "--json"], gate.block(reason="No."))
    [line] = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert (told["verdict"], told["origin"], told["reasons"][0]["message"]) == ("block", "gate", "No.")


def test_context_and_arguments_are_asked_with(gate: StubGate, tmp_path: Path) -> None:
    secret = "ghp_" + "a1B2" * 9
    (tmp_path / "args").write_text(json.dumps({"token": secret}))
    context = ["--context", "source=10.0.0.1", "--context", "bytes_out=5", "--context", "note=a=b"]
    main([*ASK, *context, "--arguments", str(tmp_path / "args")], gate.permit())
    asked = gate.asks[0].action.context
    assert (asked.source, asked.bytes_out, asked.model_extra) == ("10.0.0.1", 5, {"note": "a=b"})
    assert [match.rule for match in asked.secrets] == ["github-token"]
    assert secret not in asked.model_dump_json()


def test_an_outcome_is_told_with_what_check_printed(gate: StubGate, capsys: pytest.CaptureFixture[str]) -> None:
    main([*ASK, "--json"], gate.permit())
    told = json.loads(capsys.readouterr().out)
    named = ["--subject", "token:ci", "--decision-id", told["decision_id"], "--receipt", told["receipt"]]
    assert main(["outcome", *named, "--result", "failed"], gate) == 0
    [outcome] = gate.outcomes
    assert (outcome.decision_id, outcome.receipt, outcome.result) == (told["decision_id"], told["receipt"], "failed")
    gate.stop()
    assert main(["outcome", *named, "--result", "done"], gate) == 8
    gate.restart()
    with Guard(transport=gate) as heir:
        gate.tick()
        assert heir.spooled == 0
    assert [each.result for each in gate.outcomes] == ["failed", "done"]


@pytest.mark.parametrize(
    "arguments",
    [
        [*ASK[:-1], "no-colon"],
        [*ASK, "--context", "no-equals"],
        [*ASK, "--context", "bytes_out=many"],
        [*ASK, "--deadline-ms", "0"],
        [*ASK, "--arguments", "/nowhere/file"],
        ["identity", "nocolon"],
        ["outcome", "--subject", "x", "--decision-id", "ab" * 8, "--receipt", "r", "--result", "done"],
        ["outcome", "--subject", "t:x", "--decision-id", "zz", "--receipt", "r", "--result", "done"],
    ],
)
def test_wrong_use_is_status_2_and_one_line(
    arguments: list[str], gate: StubGate, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments, gate) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_missing_setting_is_status_2_and_says_how_to_mend_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(ASK) == 2
    assert "STAYHAND_POINT" in capsys.readouterr().err
    assert main([*ASK, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == "ConfigurationError"


def test_unknown_options_are_status_2() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", "--nonsense"])
    assert ended.value.code == 2


def test_what_the_gate_says_cannot_steer_the_terminal(gate: StubGate, capsys: pytest.CaptureFixture[str]) -> None:
    gate.answer("*", decision("guide", reason="\x1b[2Jgone\u202e", obligations=[Message(text="\x07bell\nline")]))
    main(ASK, gate)
    printed = capsys.readouterr().out
    assert not set("\x1b\u202e\x07") & set(printed)
    assert "\\x1b[2Jgone\\u202e" in printed


def test_an_identity_is_normalised(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["identity", "email:Ann@Example.ORG"]) == 0
    assert capsys.readouterr().out == "email:ann@example.org\n"


def test_the_commands_work_as_programs_against_a_broker(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": "sdk",
        "STAYHAND_BOOTSTRAP": bootstrap,
        "STAYHAND_PREFIX": prefix,
        "STAYHAND_POINT": "p1",
        "STAYHAND_KEY_ID": "k1",
        "STAYHAND_KEY": KEY.hex(),
        "STAYHAND_SPOOL_DIR": str(tmp_path / "spool"),
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stayhand", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)

    with FakeScorer(bootstrap, prefix, KEY, lambda _: [decision("block", reason="No.")]) as scorer:
        checked = run(*ASK, "--json", "--deadline-ms", "30000")
        assert (checked.returncode, checked.stderr) == (5, "")
        assert scorer.asks[0][0].action.name == action()["action"]["name"]
    followed = run("tail", "--from-beginning", "--count", "1", "--json")
    seen = json.loads(followed.stdout)
    assert (followed.returncode, seen["verified"]) == (0, True)
    assert seen["value"]["decision_id"] == json.loads(checked.stdout)["decision_id"]
    assert "block" in run("tail", "--from-beginning", "--count", "1").stdout


def test_tail_says_that_kafka_is_away(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("STAYHAND_BOOTSTRAP", "127.0.0.1:9")
    monkeypatch.setattr("stayhand._tail.REQUEST_S", 0.2)
    assert main(["tail"]) == 8
    assert "STAYHAND_BOOTSTRAP" in capsys.readouterr().err
