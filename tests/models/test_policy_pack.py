"""Packs: what is refused on load and where, what is kept, and that one text has one hash."""

from __future__ import annotations

import re

import pytest

from models import scene
from models.policy import _FIELDS, MAX_CACHED_NAMES, InvalidPack, compile_pack
from models.samples import samples
from stayhand.wire import PolicyRef
from tests.models.asks import PACK, POLICIES, default_pack, pack

HEAD = "name: p\nversion: '1'\n"
RULE = """\
rules:
  - id: one
    actions: [a.b]
    verdict: {verdict}
    obligations: {obligations}
    when: {when}
    reason: {{code: c, message: m}}
"""


def rule(verdict: str = "block", obligations: str = "{message: m}", when: str = "true") -> str:
    return HEAD + RULE.format(verdict=verdict, obligations=obligations, when=when)


@pytest.mark.parametrize("name", sorted(path.name for path in POLICIES.glob("*.yaml")))
def test_each_pack_that_ships_compiles(name: str) -> None:
    compiled = compile_pack((POLICIES / name).read_text(encoding="utf-8"))
    assert compiled.rules
    assert compiled.ref == PolicyRef(name=compiled.name, version=compiled.version, hash=compiled.hash)


@pytest.mark.parametrize(
    ("source", "line", "field", "expected"),
    [
        ("", 1, "pack", "nothing"),
        ("- 1\n", 1, "pack", "mapping"),
        ("name: p\n", 1, "pack", "key version"),
        (HEAD + "colour: red\n", 3, "colour", "expected one of name"),
        (HEAD + "name: q\n", 3, "name", "each key once"),
        (HEAD + "rules: &a []\n", 3, "pack", "anchors"),
        (HEAD + "rules: !!python/object:os.system []\n", 3, "pack", "tags"),
        (HEAD + "rules:\n  - id: x\n   y: [\n", 5, "pack", "YAML"),
        (HEAD + "bands:\n  slow:\n    at: many\n    reason: {code: c, message: m}\n", 5, "bands.slow.at", "score"),
        (HEAD + "bands:\n  permit: {at: 1}\n", 4, "bands.permit", "slow, guide, block"),
        (HEAD + "lists:\n  Bad-Name: [a]\n", 4, "lists.Bad-Name", "a name"),
        (HEAD + "lists:\n  l: [a, b, a]\n", 4, "lists.l.2", "twice"),
        (rule(verdict="maybe"), 6, "rules.0.verdict", "permit, slow, guide, block"),
        (rule(verdict="slow"), 4, "rules.0", "wait_ms"),
        (rule(verdict="guide", obligations="{wait_ms: 5}"), 4, "rules.0", "message"),
        (rule(verdict="slow", obligations="{wait_ms: 0}"), 7, "rules.0.obligations.wait_ms", "whole number"),
        (rule(obligations="{approval: {timeout_s: 5}}"), 7, "rules.0.obligations.approval", "guide only"),
        (rule(obligations="{wait_ms: 5}"), 7, "rules.0.obligations.wait_ms", "slow or guide"),
        (rule(obligations="{nothing: 5}"), 7, "rules.0.obligations.nothing", "wait_ms"),
        (rule(when="1 +"), 8, "rules.0.when", "CEL"),
        (rule(when="user == 'x'"), 8, "rules.0.when", "not user"),
        (rule(when="facts.grnat"), 8, "rules.0.when", "not grnat"),
        (rule(when="score.total + 1 > 3"), 8, "rules.0.when", "can be evaluated"),
        (rule(when="score.total"), 8, "rules.0.when", "true or false"),
        (rule(when="now() > 1"), 8, "rules.0.when", "now()"),
        (rule(when="context.tags.map(t, t)[0] == 'x'"), 8, "rules.0.when", "instead of map"),
        (rule(when="context.a.exists(x, context.b.exists(y, x == y))"), 8, "rules.0.when", "inside another"),
        (rule(when="context.a.exists(i, v, v > 1)"), 8, "rules.0.when", "not exists()"),
        (rule(when="point.matches('^a+$')"), 8, "rules.0.when", "not matches()"),
        (rule(when='"true // all"').replace('"true // all"', "|-\n      true // all"), 8, "rules.0.when", "comment"),
        (rule(when="'" + "1 == 1 && " * 300 + "true'"), 8, "rules.0.when", "characters"),
    ],
)
def test_a_wrong_pack_is_refused_at_its_line(source: str, line: int, field: str, expected: str) -> None:
    with pytest.raises(InvalidPack) as caught:
        compile_pack(source)
    assert (caught.value.line, caught.value.field) == (line, field)
    assert expected in caught.value.expected
    assert str(caught.value).startswith(f"line {line}: {field}: ")


def test_two_rules_of_one_id_are_refused_at_the_second() -> None:
    twice = rule() + RULE.split("\n", 1)[1].format(verdict="block", obligations="{message: m}", when="true")
    with pytest.raises(InvalidPack) as caught:
        compile_pack(twice)
    assert (caught.value.line, caught.value.field) == (10, "rules.1.id")


@pytest.mark.parametrize("depth", [13, 5_000])
def test_deep_nesting_is_refused_before_it_is_read(depth: int) -> None:
    with pytest.raises(InvalidPack, match="nesting"):
        compile_pack(HEAD + "lists: " + "[" * depth + "]" * depth)


def test_a_pack_beyond_its_size_is_refused() -> None:
    with pytest.raises(InvalidPack, match="200000"):
        compile_pack(HEAD + "#" * 200_000)


def test_bands_must_rise_with_their_verdicts() -> None:
    band = "  {name}:\n    at: {at}\n    obligations: {duty}\n    reason: {{code: c, message: m}}\n"
    slow = band.format(name="slow", at=20, duty="{wait_ms: 1}")
    guide = band.format(name="guide", at=12, duty="{message: m}")
    with pytest.raises(InvalidPack, match="slow below guide"):
        compile_pack(HEAD + "bands:\n" + slow + guide)


def test_a_score_in_nats_becomes_whole_parts_of_1024() -> None:
    source = HEAD + "bands:\n  block:\n    at: 12.5\n    reason: {code: c, message: m}\n"
    assert compile_pack(source).bands[0].at == 12_800


@pytest.mark.parametrize(
    ("bands", "below"), [("", 12), ("block: 30", 12), ("block: 8", 8), ("slow: 20, block: 30", 20)]
)
def test_learning_stops_at_the_slow_band_or_at_its_usual_place(bands: str, below: int) -> None:
    source = HEAD + ("bands:\n" if bands else "")
    for name, at in (band.split(": ") for band in bands.split(", ") if band):
        source += f"  {name}: {{at: {at}, obligations: {{message: m{', wait_ms: 1' * (name == 'slow')}}}"
        source += ", reason: {code: c, message: m}}\n"
    assert compile_pack(source).learn_below == below * 1_024


def test_words_that_yaml_takes_for_something_else_stay_text() -> None:
    source = rule().replace("[a.b]", "[no, 1.0, 2026-01-01]")
    assert compile_pack(source).rules[0].patterns == ("no", "1.0", "2026-01-01")


def test_the_hash_follows_the_meaning_and_not_the_layout() -> None:
    spaced = "# a comment\n" + PACK.replace('version: "1"', "version: '1'")
    assert compile_pack(spaced).hash == pack().hash
    assert compile_pack(PACK.replace("Slowly.", "Slower.")).hash != pack().hash
    assert compile_pack(PACK.replace("wait_ms: 100", "wait_ms: 101")).hash != pack().hash


def test_rules_are_found_by_the_actions_name() -> None:
    compiled = default_pack()
    always = compiled.rules_for("s3:GetObject")
    assert {found.patterns for found in always} == {("*",)}
    deploying = compiled.rules_for("deploy.token.use")
    assert [found.id for found in deploying if found not in always] == ["deploy-pauses", "deploy-production"]
    assert compiled.rules_for("DEPLOY.token.use") == always


def test_the_cache_of_names_is_bounded() -> None:
    compiled = compile_pack(PACK)
    for number in range(MAX_CACHED_NAMES + 10):
        compiled.rules_for(f"name.{number}")
    assert len(compiled._by_name) <= MAX_CACHED_NAMES
    assert [found.id for found in compiled.rules_for("test.stop")] == ["stop"]


def test_the_fields_that_a_condition_may_name_are_those_that_a_scene_has() -> None:
    full, _ = samples()
    for variable, fields in _FIELDS.items():
        if variable in {"context", "point"}:
            continue
        assert set(scene._BUILDERS[variable](full)) == fields, variable


def test_the_pack_in_the_documentation_compiles() -> None:
    text = (POLICIES.parent / "docs" / "policies.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    compiled = compile_pack(example)
    assert [rule.id for rule in compiled.rules] == ["production-needs-approval"]
    for variable, fields in _FIELDS.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{variable}`"))
        assert all(f"`{name}`" in row for name in fields or ()), variable
