"""The exported contract: current, well-formed, whole, and of one mind with the models."""

import json
import subprocess
import sys

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from schemas import asyncapi, documents, export
from schemas.__main__ import main
from schemas.topics import TOPICS
from stayhand.wire import Decision, PendingAction

ACTION = {
    "subject": {"type": "token", "id": "ci-deployer"},
    "action": {"name": "deploy.run"},
    "resource": {"type": "env", "id": "prod"},
}
CONTROLS = [
    {"kind": "freeze", "control_id": "ab" * 16, "by": "ada"},
    {"kind": "revoke", "control_id": "ab" * 16, "by": "ada", "grant_id": "cd" * 16},
]


def validator(name):
    return Draft202012Validator(json.loads((export.ROOT / "json" / f"{name}.json").read_text()))


def test_the_exported_files_are_current():
    assert export.stale() == [], "run: python -m schemas export"


def test_two_runs_of_other_hash_seeds_export_the_same_text(monkeypatch):
    program = "import hashlib, json; from schemas.export import files; print(json.dumps(files(), sort_keys=True))"
    texts = set()
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        monkeypatch.setenv("PYTHONPATH", f"{export.ROOT.parent}:{export.ROOT.parent / 'sdk'}")
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        texts.add(done.stdout)
    assert len(texts) == 1


def test_check_writes_nothing_and_ends_with_1_until_export_has_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "ROOT", tmp_path)
    monkeypatch.setattr(export.stale, "__defaults__", (tmp_path,))
    monkeypatch.setattr(export.write, "__defaults__", (tmp_path,))
    assert main(["export", "--check"]) == 1
    assert list(tmp_path.iterdir()) == []
    assert main(["export"]) == 0
    assert main(["export", "--check"]) == 0
    (tmp_path / "json" / "Gone.json").write_text("{}")
    assert main(["export", "--check"]) == 1
    assert "Gone.json" in capsys.readouterr().out
    assert main(["export"]) == 0
    assert not (tmp_path / "json" / "Gone.json").exists()


@pytest.mark.parametrize("name", sorted(export.schemas()))
def test_each_schema_is_one_by_the_metaschema(name):
    Draft202012Validator.check_schema(export.schemas()[name])


def test_every_message_of_every_topic_has_its_schema():
    named = {message.model for spec in TOPICS for message in spec.messages if message.ce_type}
    assert named <= set(export.schemas())


def test_schema_and_model_agree_on_what_is_right():
    PendingAction.model_validate(ACTION)
    validator("PendingAction").validate(ACTION)
    for control in CONTROLS:
        documents.CONTROL.validate_python(control)
        validator("Control").validate(control)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        ACTION | {"subject": {"type": "token"}},
        ACTION | {"action": {"name": ""}},
        ACTION | {"resource": {"type": "env", "id": "a\u0000b"}},
        ACTION | {"context": {"argument_digest": "xyz"}},
    ],
)
def test_schema_and_model_agree_on_what_is_wrong(wrong):
    with pytest.raises(ValueError, match="validation error"):
        PendingAction.model_validate(wrong)
    with pytest.raises(ValidationError):
        validator("PendingAction").validate(wrong)


def test_what_travels_in_headers_is_no_part_of_the_decisions_body():
    schema = export.schemas()["Decision"]
    excluded = {name for name, field in Decision.model_fields.items() if field.exclude}
    assert excluded == {"receipt", "origin"}
    assert not excluded & set(schema["properties"])


def references(value):
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolved(document, reference):
    if not reference.startswith("#/"):
        return (export.ROOT / reference).is_file()
    for part in reference[2:].split("/"):
        document = document[part]
    return bool(document)


def test_every_reference_of_the_asyncapi_document_leads_somewhere():
    document = yaml.safe_load((export.ROOT / "asyncapi.yaml").read_text())
    found = list(references(document))
    assert len(found) > 40
    assert all(resolved(document, reference) for reference in found)


def test_the_asyncapi_document_has_each_channel_with_its_binding_and_each_right_as_an_operation():
    document = asyncapi.document()
    assert set(document["channels"]) == {spec.kind for spec in TOPICS}
    for spec in TOPICS:
        binding = document["channels"][spec.kind]["bindings"]["kafka"]
        assert binding["topicConfiguration"]["cleanup.policy"] == [spec.cleanup]
        for role in spec.writers:
            assert document["operations"][f"{role}-send-{spec.kind}"]["action"] == "send"
        for role in spec.readers:
            assert document["operations"][f"{role}-receive-{spec.kind}"]["action"] == "receive"
    assert len(document["operations"]) == sum(len(spec.writers) + len(spec.readers) for spec in TOPICS)


def test_a_pending_action_names_its_reply_and_its_correlation():
    document = asyncapi.document()
    assert document["operations"]["point-send-actions"]["reply"]["channel"] == {"$ref": "#/channels/decisions"}
    message = document["components"]["messages"]["PendingAction"]
    assert message["correlationId"] == {"location": "$message.header#/kafka_correlationId"}
    assert {"ce_id", "ce_type", "kafka_correlationId", "kafka_replyTopic"} <= set(message["headers"]["required"])
