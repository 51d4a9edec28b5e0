"""The AsyncAPI 3 document of every topic, generated from the registry.

Specification: AsyncAPI 3.0.0 with the Kafka bindings 0.5.0. A channel is a topic; an operation is
a service that writes or reads it.
"""

from __future__ import annotations

from typing import Any

from tocsin_contracts.event import Fact, Writer
from tocsin_contracts.registry import TOPICS, Topic
from tocsin_contracts.schemas import fact_schema

_BINDING = "0.5.0"

_HEADERS = {
    "type": "object",
    "required": ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time"],
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {"type": "string", "format": "uuid"},
        "ce_type": {"type": "string"},
        "ce_source": {"type": "string"},
        "ce_time": {"type": "string", "format": "date-time"},
        "ce_subject": {"type": "string"},
        "traceparent": {"type": "string"},
    },
}


def asyncapi_document() -> dict[str, Any]:
    """The document as JSON values."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tocsin",
            "version": "1",
            "description": "Every topic of Tocsin: CloudEvents 1.0 in Kafka's binary mode.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": dict(_operation(topic, *use) for topic in TOPICS for use in _uses(topic)),
        "components": {
            "messages": {fact.TYPE: _message(fact) for topic in TOPICS for fact in topic.facts}
            | {"raw": _raw()}
        },
    }


def _channel(topic: Topic) -> dict[str, Any]:
    names = [fact.TYPE for fact in topic.facts] or ["raw"]
    return {
        "address": topic.name,
        "description": f"{topic.description} Key: {topic.key}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": _configuration(topic),
                "bindingVersion": _BINDING,
            }
        },
    }


def _configuration(topic: Topic) -> dict[str, Any]:
    configuration: dict[str, Any] = {
        "cleanup.policy": topic.configs["cleanup.policy"].split(","),
    }
    for name in ("retention.ms", "max.message.bytes"):
        if name in topic.configs:
            configuration[name] = int(topic.configs[name])
    return configuration


def _uses(topic: Topic) -> list[tuple[str, str]]:
    writers = [("send", str(writer)) for writer in topic.writers if writer is not Writer.ANY]
    services = {str(writer) for writer in Writer}
    readers = [("receive", reader) for reader in topic.readers if reader in services]
    return writers + readers


def _operation(topic: Topic, action: str, service: str) -> tuple[str, dict[str, Any]]:
    name = f"{service}.{action}.{topic.name}"
    return name, {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "summary": f"{service} {'writes' if action == 'send' else 'reads'} {topic.name}",
    }


def _message(fact: type[Fact]) -> dict[str, Any]:
    summary, _, description = (fact.__doc__ or "").partition("\n\n")
    schema = fact_schema(fact)
    return {
        "name": fact.TYPE,
        "title": fact.__name__,
        "summary": summary.strip(),
        "description": " ".join(description.split()),
        "contentType": "application/json",
        "headers": _HEADERS,
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": schema,
        },
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": _BINDING}},
    }


def _raw() -> dict[str, Any]:
    return {
        "name": "raw",
        "title": "Raw delivery",
        "summary": "The bytes as their source sent them; the header `source` says which.",
        "headers": {
            "type": "object",
            "properties": {
                "source": {"type": "string"},
                "received_at": {"type": "string", "format": "date-time"},
                "content-type": {"type": "string"},
                "traceparent": {"type": "string"},
            },
        },
        "payload": {},
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": _BINDING}},
    }
