"""The shipped prior: its codes, its levels, and how a wrong one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from models import prior as module
from models.abused import load_abused
from models.codes import KNOWN
from models.prior import InvalidPrior, load_prior, parse_prior

PRIOR = load_prior()
ABUSED = load_abused()
SOURCE = Path(module.__file__).with_name("prior.yaml").read_text(encoding="utf-8")
RULES = yaml.safe_load(SOURCE)["rules"]
KNOWN_NAMES = [name for rule in RULES for name in rule["names"] if "*" not in name]


def test_every_known_name_has_a_code_of_its_own_that_no_unknown_one_can_have() -> None:
    found = {PRIOR.action(name).code for name in KNOWN_NAMES}
    assert len(found) == len(KNOWN_NAMES) > 100
    assert min(found) >= KNOWN


@given(st.text(min_size=1, max_size=128))
def test_an_unknown_name_has_a_low_code_and_a_level(name: str) -> None:
    found = PRIOR.action(name)
    assert name in KNOWN_NAMES or found.code < KNOWN
    assert 0 <= found.impact <= 3
    assert found.g >= 1
    assert found.q >= 1


@pytest.mark.parametrize(
    ("name", "impact"),
    [
        ("iam:PutUserPolicy", 3),
        ("iam:ListUsers", 0),
        ("iam:UpdateAccessKey", 3),
        ("s3:GetObject", 0),
        ("s3:DeleteBucket", 2),
        ("cloudtrail:StopLogging", 3),
        ("ec2:DescribeInstances", 0),
        ("secretsmanager:GetSecretValue", 2),
        ("unheard:CreateThing", 1),
        ("unheard:DeleteThing", 2),
        ("unheard:GetThing", 0),
        ("lambda:UpdateFunctionCode20150331v2", 2),
        ("k8s:create.clusterrolebindings", 3),
        ("k8s:get.secrets", 2),
        ("k8s:list.pods", 0),
        ("github:git.push", 0),
        ("github:repo.destroy", 3),
        ("oauth.grant", 2),
        ("web.post", 1),
        ("deploy.token.use", 2),
        ("deploy.token.use.production", 3),
        ("secret.fetch", 2),
        ("secret.fetch.long-lived", 3),
        ("tool.call", 1),
        ("tool.call.search_web", 0),
        ("tool.call.shell", 3),
        ("anything else", 1),
    ],
)
def test_levels_of_impact_are_what_people_would_say(name: str, impact: int) -> None:
    assert PRIOR.impact(name) == impact


def test_every_name_that_a_rule_spells_out_is_reached_by_that_rule() -> None:
    for rule in RULES:
        for name in rule["names"]:
            if "*" not in name:
                assert PRIOR.impact(name) == rule["impact"], name


def test_what_is_often_abused_is_likelier_from_somebody_else() -> None:
    risky, routine = PRIOR.action("iam:PutUserPolicy"), PRIOR.action("s3:GetObject")
    assert risky.q > 5 * risky.g
    assert routine.q < routine.g


def test_the_same_source_gives_the_same_hash_and_another_one_another() -> None:
    assert parse_prior(SOURCE, ABUSED).hash == PRIOR.hash
    assert parse_prior(SOURCE.replace("abuse_share: 200", "abuse_share: 201"), ABUSED).hash != PRIOR.hash
    assert load_prior() is PRIOR


def test_client_families_are_known_whatever_their_version() -> None:
    assert PRIOR.client("aws-cli/2.2.16 Python/3.8") == PRIOR.client("aws-cli/1.0")
    assert PRIOR.client("  ") is None
    unknown = PRIOR.client("my-own-thing/1")
    assert unknown is not None
    assert unknown.code < KNOWN


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("rules: [", "YAML"),
        (SOURCE.replace("abuse_share: 200", "abuse_share: 2000"), "abuse_share"),
        (SOURCE.replace("impact: 3", "impact: 4", 1), "impact"),
        (SOURCE.replace("frequency: usual", "frequency: often", 1), "frequency"),
        (SOURCE.replace('names: ["*"]', 'names: ["?"]'), "last rule"),
        (SOURCE.replace('"web.post"', '"web.get"'), "web.get"),
    ],
)
def test_a_wrong_prior_is_refused_by_the_field_that_is_wrong(wrong: str, told: str) -> None:
    with pytest.raises(InvalidPrior, match=told):
        parse_prior(wrong, ABUSED)
