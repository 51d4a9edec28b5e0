"""JSON Schemas of facts, for consumers in any language."""

from __future__ import annotations

from typing import Any

from tocsin_contracts.event import Fact


def fact_schema(fact: type[Fact]) -> dict[str, Any]:
    """JSON Schema (2020-12) of a fact's data, as it stands in a record's value."""
    schema = fact.model_json_schema(mode="serialization")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$id"] = f"urn:tocsin:{fact.TYPE}"
    return schema
