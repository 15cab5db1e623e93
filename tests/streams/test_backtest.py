"""The backtest: what it says would have changed is what a scorer with that pack would have decided."""

import gzip
import json

import orjson
import pytest
from confluent_kafka import Producer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from models.policy import compile_pack
from models.transition import NEW, answer_hold, decide, settle
from schemas.documents import Approve, AuditRecord, PackDocument
from schemas.topics import topic
from streams import audit
from streams.__main__ import main
from streams.backtest import sources
from streams.backtest.packs import InvalidChange, changed
from streams.backtest.report import as_json
from streams.backtest.tally import VERDICTS, Delays, Movers, Tally, again
from streams.commands._session import Mistaken, Refused
from streams.shipped import DEFAULT_PACK, shipped_pack
from streams.topics import ensure
from tests.models import asks
from tests.streams.audits import fleet, lives, record, through_json

SOURCE = DEFAULT_PACK.read_text(encoding="utf-8")
TIGHTER = ["bands.slow.at=1", "bands.guide.at=2", "bands.block.at=3", "bands.block.harmful_at=3"]
RECORDS = 3_000


@pytest.fixture(scope="module")
def history():
    return list(fleet(RECORDS, shipped_pack()))


@pytest.fixture
def audit_file(tmp_path, history):
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(audit.encode(body) + b"\n" for body in history))
    return path


def tallied(bodies, pack, **settings):
    tally = Tally(pack, **settings)
    for body in bodies:
        tally.add(body)
    return tally


def run(*arguments, code=0):
    result = CliRunner().invoke(main, ["backtest", *map(str, arguments)])
    assert result.exit_code == code, (result.output, result.stderr, result.exception)
    return result


def test_the_records_of_these_tests_are_audit_records(history):
    for body in history[:50]:
        AuditRecord.model_validate_json(orjson.dumps(body))


def test_the_very_same_pack_changes_nothing(history):
    tally = tallied(history, shipped_pack())
    assert tally.decisions == RECORDS
    assert all(count == 0 for at, row in enumerate(tally.matrix) for to, count in enumerate(row) if at != to)
    assert (tally.unfaithful, tally.rescored, tally.unreadable, tally.duties, tally.rise_percent) == (0, 0, 0, 0, 0)
    assert tally.before == tally.after
    assert tally.codes_before == tally.codes_after
    assert not tally.examples


def test_each_decision_is_the_one_that_a_scorer_with_that_pack_makes_of_that_ask():
    other = changed(SOURCE, TIGHTER)
    differ = 0
    for body, live in lives(RECORDS, shipped_pack(), other):
        told = again(body, other).decision
        assert through_json(told) == live
        differ += told["verdict"] != body["decision"]["verdict"]
    assert differ > 100


def test_totals_identities_reasons_and_waiting_add_up(history):
    pack = changed(SOURCE, TIGHTER)
    tally = tallied(history, pack)
    told = as_json(tally, 1.0, 1_000)
    assert sum(told["recorded"].values()) == sum(told["would_be"].values()) == RECORDS
    assert told["stricter"] == sum(each["stricter"] for each in told["identities"]) > 0
    assert told["milder"] == sum(each["milder"] for each in told["identities"]) == 0
    newly = sum(row[3] for row in tally.matrix[:3])
    assert newly == sum(each["blocked"] for each in told["identities"]) > 0
    assert told["blocks"]["rise_percent"] == pytest.approx(100 * newly / RECORDS, abs=1e-3)
    decisions = [(again(body, pack).decision, body["ask"]["late"]) for body in history]
    waits = [
        duty["wait_ms"]
        for decision, late in decisions
        if not late
        for duty in decision.get("obligations", ())
        if duty["type"] == "wait"
    ]
    assert told["wait_ms"]["would_be"] == sum(waits) > 0
    named = sum(any(each["code"] == "not-this-identity" for each in told.get("reasons", ())) for told, _ in decisions)
    assert told["reasons"]["not-this-identity"]["would_be"] == named >= newly


def test_an_example_says_in_words_what_would_have_changed_and_why(history):
    tally = tallied(history, changed(SOURCE, TIGHTER), examples_each=2)
    told = as_json(tally, 1.0, 3)["examples"]
    cells = {(each["recorded"], each["would_be"]) for each in told}
    assert len(told) <= 2 * len(cells)
    assert all(VERDICTS.index(each["recorded"]) < VERDICTS.index(each["would_be"]) for each in told)
    assert any("times in" in each["why"] or "once in" in each["why"] for each in told)
    assert all(each["says"] for each in told)


def test_an_observed_decision_is_compared_by_what_it_would_have_been(history):
    body = next(each for each in history if each["decision"]["verdict"] == "block")
    seen = through_json(body) | {"facts": body["facts"] | {"observe": True}}
    seen["decision"] = again(seen, shipped_pack()).decision
    assert (seen["decision"]["verdict"], seen["decision"]["would_be"]) == ("permit", "block")
    tally = tallied([seen], shipped_pack())
    assert (tally.observed, tally.matrix[3][3], tally.rise_percent) == (1, 1, 0)


def test_an_answer_to_a_hold_is_decided_as_if_the_pack_had_held_it():
    world = asks.world()
    held = asks.ask("test.approve")
    ruling = decide(NEW, held, world)
    state = settle(NEW, ruling.effects)
    [hold] = state.facts.holds
    approve = Approve(control_id="ab" * 8, by="ann", hold_id=hold.hold_id)
    final = answer_hold(state, approve, asks.START_MS, "ff" * 16, world, held.identity, asks.point())
    body = record(held, ruling._replace(decision=final.decision, facts=final.facts), world, 1) | {"kind": "final"}
    other = compile_pack(asks.PACK.replace("timeout_s: 600", "timeout_s: 500"))
    assert again(body, other).decision["verdict"] == final.decision["verdict"] == "permit"
    tally = tallied([body], other)
    assert (tally.finals[0][0], tally.decisions, tally.unreadable) == (1, 0, 0)


def test_a_record_that_cannot_be_decided_again_is_counted_and_the_others_go_on(history):
    broken = {name: part for name, part in history[0].items() if name != "features"}
    tally = tallied([broken, *history[:9], {"kind": "mark"}], shipped_pack())
    assert (tally.unreadable, tally.decisions, tally.others) == (1, 9, 1)
    assert "features" in tally.trouble


def test_another_score_in_this_release_is_said(history):
    body = through_json(history[0])
    body["scores"]["total"] += 1
    assert tallied([body], shipped_pack()).rescored == 1


def test_a_condition_that_fails_is_counted_by_its_rule(history):
    pack = compile_pack(
        "name: touchy\nversion: '1'\nrules:\n  - {id: touchy, actions: ['*'], when: context.level > 3, verdict: block, "
        "reason: {code: touchy, message: No.}}\n"
    )
    assert tallied(history[:7], pack).failed == {"touchy": 7}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3), st.integers(0, 3)), max_size=200))
def test_movers_stay_few_and_count_exactly_until_they_are_too_many(moves):
    few, all_ = Movers(8), Movers(1_000)
    for who, before, after in moves:
        few.add(f"i{who}", before, after)
        all_.add(f"i{who}", before, after)
        assert len(few) <= 8
    stricter = sum(after > before for _, before, after in moves)
    assert sum(moved.stricter for _, moved in all_.top(1_000)) == stricter
    assert few.forgotten == (len(all_) > 8)


@given(st.lists(st.integers(-5, 999), min_size=1), st.sampled_from([0.01, 0.5, 0.95, 1.0]))
def test_quantiles_below_a_second_are_exact(found, share):
    delays = Delays()
    for each in found:
        delays.add(each)
    ordered = sorted(max(0, each) for each in found)
    at = delays.quantile(share)
    assert sum(each <= at for each in ordered) >= share * len(ordered)
    assert at in ordered
    assert sum(each < at for each in ordered) < share * len(ordered)


def test_long_delays_keep_two_digits_and_the_longest_is_exact():
    delays = Delays()
    for each in (12_345, 987_654):
        delays.add(each)
    assert (delays.quantile(0.5), delays.quantile(1.0), delays.most_ms) == (12_000, 980_000, 987_654)
    assert Delays().quantile(0.5) is None


def test_changes_of_a_pack_are_those_that_its_text_would_have():
    by_hand = SOURCE.replace("    at: 6\n", "    at: 5\n").replace("wait_ms: 3000", "wait_ms: 100")
    pack = changed(SOURCE, ["bands.slow.at=5", "rules.deploy-pauses.obligations.wait_ms=100"])
    assert pack.hash == compile_pack(by_hand).hash != shipped_pack().hash
    assert changed(SOURCE, []).hash == shipped_pack().hash


def test_an_id_with_dots_and_a_text_with_colons_can_be_set():
    source = (
        "name: dotted\nversion: '1'\nrules:\n  - {id: a.b, actions: [x], verdict: block, "
        "reason: {code: c, message: 'No: 1'}}\n"
    )
    pack = changed(source, ['rules.a.b.reason.message=It\'s: no, "no" # no'])
    assert pack.rules[0].reason["message"] == 'It\'s: no, "no" # no'


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("bands.slow", "PATH=VALUE"),
        ("bands.slow=5", "single value"),
        ("bands.fast.at=5", "slow, guide, block"),
        ("bands.slow.at.x=5", "nothing more"),
        ("rules.nobody.verdict=block", "deploy-pauses"),
        ("bands.slow.at=99", "slow below guide"),
        ("bands.slow.at=five", "score in nats"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused_in_one_line(change, told):
    with pytest.raises(InvalidChange, match=told) as refused:
        changed(SOURCE, [change])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["kept.jsonl", "kept.jsonl.gz"])
def test_what_is_saved_reads_back_the_same(tmp_path, history, name):
    path = tmp_path / name
    assert list(sources.saving(iter(history[:40]), path)) == history[:40]
    assert list(sources.from_file(path)) == history[:40]
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(Mistaken, match="there already"):
        list(sources.saving(iter(history[:1]), path))


def test_void_records_of_a_file_are_left_out_by_partition(tmp_path, history):
    bodies = [through_json(body) for body in history[:4]]
    for body, term, partition in zip(bodies, (2, 1, 1, 2), (0, 0, 1, 0), strict=True):
        body["term"], body["vector"]["partition"] = term, partition
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(map(audit.encode, bodies)))
    assert list(sources.from_file(path)) == [bodies[0], bodies[2], bodies[3]]


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'{"kind": "mark"}', b'{"kind": 1, "term": 1, "at_ms": 1, "vector": {}}']
)
def test_a_line_that_is_no_record_is_named(tmp_path, history, line):
    path = tmp_path / "a.jsonl"
    path.write_bytes(audit.encode(history[0]) + b"\n" + line + b"\n")
    with pytest.raises(Refused, match=r"a\.jsonl:2: "):
        list(sources.from_file(path))


def test_a_cut_off_archive_is_a_mistake_in_one_line(tmp_path, history):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(map(audit.encode, history[:99])))[:-100])
    with pytest.raises(Mistaken, match="cannot read"):
        list(sources.from_file(path))


@settings(deadline=None)
@given(st.integers(0, RECORDS), st.integers(0, RECORDS))
def test_records_are_narrowed_by_time(history, first, last):
    start = asks.START_MS
    kept = list(sources.narrowed(history, start + first * 4_000, start + last * 4_000, [], ""))
    assert kept == history[first:last]


def test_records_are_narrowed_by_identity_and_partition(history):
    kept = list(sources.narrowed(history, None, None, [0], "token:ci-3"))
    assert kept == [body for body in history if body["identity"] == "token:ci-3"]
    assert kept
    assert not list(sources.narrowed(history, None, None, [5], ""))


def test_the_command_reads_a_file_without_a_broker_and_its_last_line_is_json(audit_file, tmp_path):
    arguments = [
        "--file",
        audit_file,
        "--policy",
        DEFAULT_PACK,
        *[word for each in TIGHTER for word in ("--set", each)],
    ]
    told = json.loads(run(*arguments, "--save", tmp_path / "kept.jsonl", "--json").stdout.splitlines()[-1])
    assert told["records"]["decisions"] == RECORDS
    assert told["matrix"]["permit"]["slow"] > 0
    assert (tmp_path / "kept.jsonl").read_bytes() == audit_file.read_bytes()
    page = run(*arguments).stdout
    assert "would be" in page
    assert "percentage points" in page


def test_a_rise_of_blocks_above_the_cap_ends_with_one(audit_file):
    arguments = ["--file", audit_file, "--policy", DEFAULT_PACK, "--fail-above", "0.5"]
    run(*arguments)
    result = run(*arguments, *[word for each in TIGHTER for word in ("--set", each)], code=1)
    assert "above 0.5 %" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--file", "{file}"], 2, "--policy"),
        (["--file", "{file}.no", "--policy", str(DEFAULT_PACK)], 2, "cannot read"),
        (["--file", "{file}", "--policy", str(DEFAULT_PACK), "--identity", "token:nobody"], 1, "no decision"),
        (["--file", "{file}", "--policy", str(DEFAULT_PACK), "--set", "bands.slow.at=0"], 2, "score in nats"),
        (["--file", "{file}", "--policy", str(DEFAULT_PACK), "--since", "soon"], 2, "duration"),
    ],
)
def test_what_cannot_be_right_ends_with_one_line(audit_file, arguments, code, told):
    result = run(*[each.format(file=audit_file) for each in arguments], code=code)
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.kafka
def test_the_topic_and_its_published_packs_are_read(bootstrap, unique_prefix, history, tmp_path):
    ensure(bootstrap, unique_prefix, partitions=2)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    pack = changed(SOURCE, [])
    document = PackDocument(hash=pack.hash, name=pack.name, version=pack.version, source=SOURCE, by="ada")
    producer.produce(topic(unique_prefix, "global"), document.model_dump_json(), f"pack/{pack.hash}")
    void = history[0] | {"term": 0}
    for body in (*history[:100], void):
        producer.produce(topic(unique_prefix, "audit"), audit.encode(body), partition=0)
    assert producer.flush(10) == 0
    common = ["--bootstrap", bootstrap, "--prefix", unique_prefix, "--json"]
    kept = tmp_path / "kept.jsonl"
    told = json.loads(run("--policy", pack.hash[:12], "--save", kept, *common).stdout)
    assert (told["records"]["decisions"], told["unfaithful"]) == (100, 0)
    assert list(sources.from_file(kept)) == history[:100]
    active = json.loads(run("--set", "bands.slow.at=1", "--partition", 0, *common).stdout)
    assert active["matrix"]["permit"]["slow"] > 0
    assert "expected 0 to 1" in run("--partition", 7, *common, code=2).stderr
    assert "neither a file nor" in run("--policy", "abcdef", *common, code=1).stderr
