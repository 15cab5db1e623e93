"""The test vectors against other arithmetic than the SDK's: hashlib and hmac by hand, aiokafka's murmur2, RFC 8785."""

import hashlib
import hmac
import json
import re
import unicodedata

import pytest
from aiokafka.partitioner import murmur2

from schemas.export import ROOT

VECTORS = json.loads((ROOT / "vectors.json").read_text())


def each(name):
    assert VECTORS[name], f"no vectors for {name}"
    return pytest.mark.parametrize("vector", VECTORS[name])


@each("identity")
def test_an_identity_is_its_type_and_its_id_composed_and_lowered_by_type(vector):
    text = unicodedata.normalize("NFC", vector["id"])
    text = text.lower() if vector["type"] in {"email", "host"} else text
    assert vector["identity"] == f"{vector['type']}:{text}"
    assert len(vector["identity"].encode()) <= 256


def test_one_name_in_two_spellings_is_one_identity():
    spellings = [vector for vector in VECTORS["identity"] if vector["identity"] == "user:Zo\u00eb"]
    assert len({vector["id"] for vector in spellings}) == 2


@each("identity_refused")
def test_a_refused_identity_breaks_a_rule_of_its_named_field(vector):
    kind, name = vector["type"], vector["id"]
    wrong_type = re.fullmatch("[a-z][a-z0-9_.-]{0,31}", kind) is None
    wrong_id = name != name.strip() or not name.isprintable() or not name or len(f"{kind}:{name}".encode()) > 256
    assert vector["field"] == ("subject.type" if wrong_type else "subject.id")
    assert wrong_type or wrong_id


@each("partition")
def test_partitions_are_those_of_aiokafka(vector):
    hashed = murmur2(bytes.fromhex(vector["key"]))
    assert vector["murmur2"] == hashed & 0xFFFFFFFF
    for count, partition in vector["partitions"].items():
        assert partition == (hashed & 0x7FFFFFFF) % int(count)


@each("digest")
def test_a_digest_is_sha_256_over_canonical_text_of_the_same_value(vector):
    assert json.loads(vector["canonical"]) == json.loads(vector["json"])
    assert vector["sha256"] == hashlib.sha256(vector["canonical"].encode()).hexdigest()


def test_canonical_text_is_that_of_rfc_8785():
    by_text = {vector["json"]: vector["canonical"] for vector in VECTORS["digest"]}
    assert by_text['{"b":2,"a":1}'] == '{"a":1,"b":2}'
    [numbers] = [canonical for text, canonical in by_text.items() if text.startswith("[1.0")]
    assert numbers == "[1,0,1e+21,100000000000000000000,0.000001,1e-7,0.1,333333333.3333333,5e-324,9007199254740992]"
    # RFC 8785 section 3.2.3: sorted by UTF-16 code units.
    [sorted_text] = [canonical for text, canonical in by_text.items() if "Euro" in text]
    assert list(json.loads(sorted_text).values()) == ["Carriage Return", "One", "x", "o", "Euro Sign", "Smiley"]


def extract_and_expand(master, info):
    """HKDF-SHA256 (RFC 5869) for one block of output, with an empty salt."""
    pseudorandom = hmac.new(bytes(32), master, hashlib.sha256).digest()
    return hmac.new(pseudorandom, info + b"\x01", hashlib.sha256).digest()


@each("key")
def test_a_points_key_is_hkdf_of_the_master_secret(vector):
    info = b"stayhand/point/v1\0" + vector["point"].encode() + b"\0" + vector["key_id"].encode()
    assert vector["key"] == extract_and_expand(bytes.fromhex(vector["master"]), info).hex()


def framed(fields):
    absent = b"\xff\xff\xff\xff"
    return b"".join(absent if field is None else len(field).to_bytes(4, "big") + field for field in fields)


def check_signature(vector, fields):
    assert vector["signed_bytes"] == framed(fields).hex()
    key = bytes.fromhex(vector["signing_key"])
    assert vector["signature"] == hmac.new(key, framed(fields), hashlib.sha256).hexdigest()
    assert vector["signing_key"] == VECTORS["key"][0]["key"]


@each("ask_signature")
def test_an_asks_signature_is_hmac_over_length_prefixed_fields_in_order(vector):
    headers = vector["headers"]
    partition = headers["kafka_replyPartition"]
    fields = [
        vector["key"].encode(),
        vector["value"].encode(),
        headers["ce_id"].encode(),
        headers["ce_type"].encode(),
        headers["ce_time"].encode(),
        bytes.fromhex(headers["kafka_correlationId"]),
        headers["stayhand_deadline_ms"].encode(),
        headers["kafka_replyTopic"].encode(),
        None if partition is None else partition.to_bytes(4, "big"),
        headers["stayhand_point"].encode(),
        headers["stayhand_key_id"].encode(),
    ]
    check_signature(vector, fields)


@each("decision_signature")
def test_a_decisions_signature_covers_body_type_id_correlation_and_receipt(vector):
    headers = vector["headers"]
    receipt = headers.get("stayhand_receipt")
    fields = [
        vector["value"].encode(),
        headers["ce_type"].encode(),
        headers["ce_id"].encode(),
        bytes.fromhex(headers["kafka_correlationId"]),
        None if receipt is None else receipt.encode(),
    ]
    check_signature(vector, fields)


def test_both_forms_of_each_signature_have_vectors():
    assert {vector["headers"]["kafka_replyPartition"] for vector in VECTORS["ask_signature"]} == {5, None}
    assert {vector["headers"].get("stayhand_receipt") for vector in VECTORS["decision_signature"]} != {None}
