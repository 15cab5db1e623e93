"""Why a decision scored as it did: the operator's pages tell the reasons of its own audit record."""

from models.explain import explained
from streams.audit import AuditEntry
from streams.commands.explain import why
from streams.commands.identity import decision_json
from streams.shipped import shipped_pack
from tests.streams.audits import fleet


def test_both_pages_tell_the_heaviest_reasons_first_with_their_weight_in_nats():
    told = 0
    for body in fleet(300, shipped_pack()):
        found = why(body)
        assert [(each["term"], each["nats"] * 1024, each["text"], each["plain"]) for each in found] == explained(
            body, most=5
        )
        assert decision_json(AuditEntry(0, 0, body))["why"] == [each["text"] for each in found[:1]]
        told += len(found)
    assert told


def test_a_record_of_another_release_still_has_its_page():
    [body] = fleet(1, shipped_pack())
    body["features"] = {"unknown": 1}
    assert why(body) == []


def test_the_asker_is_told_no_numbers_and_none_of_the_operators_sentences():
    reasons = 0
    for body in fleet(1_000, shipped_pack()):
        said = [each["message"] for each in body["decision"].get("reasons", ())]
        assert not any(character.isdigit() for message in said for character in message)
        assert not {each["text"] for each in why(body)} & set(said)
        reasons += len(said)
    assert reasons
