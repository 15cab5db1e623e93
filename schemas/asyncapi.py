"""The AsyncAPI 3.0 document: channels, messages, headers and operations, from the topic table."""

from __future__ import annotations

from typing import Any

from schemas.topics import DEFAULT_PARTITIONS, DEFAULT_PREFIX, TOPICS, MessageSpec, Role, TopicSpec
from stayhand import headers

Json = dict[str, Any]

VERSION = "1.0.0"
_BINDING = "0.5.0"
# What the Kafka binding can say of a topic; the other settings stand beside it.
_BOUND_SETTINGS = ("retention.ms", "delete.retention.ms")
_SENTENCE: dict[Role, str] = {
    "point": "An enforcement point",
    "scorer": "A scorer",
    "desk": "The desk",
    "operator": "An operator",
}
_ASK_TYPES = (headers.TYPE_PENDING, headers.TYPE_OUTCOME)
_ANSWER_TYPES = (headers.TYPE_DECISION, headers.TYPE_REJECTION)


def document() -> Json:
    """The whole document; payloads refer to the exported JSON Schemas beside it."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Stayhand",
            "version": VERSION,
            "description": (
                "Pending actions and their decisions over Kafka. Messages are CloudEvents 1.0 in binary mode; an ask"
                " names its reply address by Spring Kafka's headers. Topics keyed by identity are partitioned by"
                " murmur2, as the JVM clients do."
            ),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"kafka": {"host": "localhost:9092", "protocol": "kafka"}},
        "channels": {spec.kind: _channel(spec) for spec in TOPICS},
        "operations": dict(_operation(spec, role, verb) for spec, role, verb in _uses()),
        "components": {
            "messages": {message.model: _message(spec, message) for spec in TOPICS for message in spec.messages}
        },
    }


def _channel(spec: TopicSpec) -> Json:
    config = spec.config()
    binding = {
        "topic": f"{DEFAULT_PREFIX}.{spec.name_suffix}",
        "partitions": spec.partition_count(DEFAULT_PARTITIONS),
        "topicConfiguration": {
            "cleanup.policy": [config["cleanup.policy"]],
            **{name: int(config[name]) for name in _BOUND_SETTINGS if name in config},
        },
        "bindingVersion": _BINDING,
    }
    return {
        "address": f"{{prefix}}.{spec.name_suffix}",
        "description": f"{spec.purpose} Key: {spec.key}.",
        "parameters": {"prefix": {"description": "What the names begin with.", "default": DEFAULT_PREFIX}},
        "messages": {message.model: {"$ref": f"#/components/messages/{message.model}"} for message in spec.messages},
        "bindings": {"kafka": binding},
        "x-topic-settings": config,
    }


def _message(spec: TopicSpec, message: MessageSpec) -> Json:
    described: Json = {"name": message.ce_type or message.model, "title": message.model}
    if message.ce_type:
        described["contentType"] = "application/json"
        described["headers"] = _headers(message.ce_type)
        described["payload"] = {"$ref": f"./json/{message.model}.json"}
    else:
        described["contentType"] = "application/octet-stream"
        described["payload"] = {"type": "string", "format": "binary"}
    if message.ce_type in {headers.TYPE_PENDING, *_ANSWER_TYPES}:
        described["correlationId"] = {"location": "$message.header#/kafka_correlationId"}
    described["bindings"] = {"kafka": {"key": _key(spec), "bindingVersion": _BINDING}}
    return described


def _key(spec: TopicSpec) -> Json:
    return {"type": "string", "description": spec.key}


def _text(description: str) -> Json:
    return {"type": "string", "description": description}


def _headers(ce_type: str) -> Json:
    """The headers as text; the correlation id and the signature are raw bytes, the reply partition 4 bytes."""
    properties: Json = {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_type": {"type": "string", "const": ce_type},
        "ce_id": _text("unique by source"),
        "ce_source": _text("who says this"),
        "ce_time": _text("RFC 3339"),
        "content-type": {"type": "string", "const": "application/json"},
        "traceparent": _text("W3C trace context"),
    }
    required = ["ce_specversion", "ce_type", "ce_id", "ce_source", "ce_time"]
    if ce_type in _ASK_TYPES:
        properties |= {
            "stayhand_point": _text("the enforcement point's id"),
            "stayhand_key_id": _text("which of its keys signed"),
            "stayhand_signature": _text("HMAC-SHA256, 32 bytes"),
        }
    if ce_type == headers.TYPE_PENDING:
        properties |= {
            "kafka_correlationId": _text("opaque bytes, copied into the answer"),
            "kafka_replyTopic": _text("where the answer goes"),
            "kafka_replyPartition": _text("4 bytes, big-endian; without it, the key chooses"),
            "stayhand_deadline_ms": _text("milliseconds from the append time, in decimal digits"),
        }
        required += ["kafka_correlationId", "kafka_replyTopic"]
    if ce_type in _ANSWER_TYPES:
        properties |= {
            "kafka_correlationId": _text("that of the ask"),
            "stayhand_signature": _text("HMAC-SHA256 under the point's key, 32 bytes"),
        }
        required.append("kafka_correlationId")
    if ce_type == headers.TYPE_DECISION:
        properties["stayhand_receipt"] = _text("opaque; its outcome brings it back")
    return {"type": "object", "properties": properties, "required": required}


def _uses() -> list[tuple[TopicSpec, Role, str]]:
    sends = [(spec, role, "send") for spec in TOPICS for role in spec.writers]
    return sends + [(spec, role, "receive") for spec in TOPICS for role in spec.readers]


def _operation(spec: TopicSpec, role: Role, verb: str) -> tuple[str, Json]:
    operation: Json = {
        "action": verb,
        "channel": {"$ref": f"#/channels/{spec.kind}"},
        "summary": f"{_SENTENCE[role]} {'writes' if verb == 'send' else 'reads'} {spec.kind}.",
        "messages": [{"$ref": f"#/channels/{spec.kind}/messages/{message.model}"} for message in spec.messages],
    }
    if (spec.kind, role, verb) == ("actions", "point", "send"):
        operation["reply"] = {
            "address": {"location": "$message.header#/kafka_replyTopic"},
            "channel": {"$ref": "#/channels/decisions"},
        }
    return f"{role}-{verb}-{spec.kind}", operation
