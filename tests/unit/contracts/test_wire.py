"""Records as they stand on the wire: golden examples, refusals, the documents made from them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tocsin_cli.generating import drifted
from tocsin_contracts import codec
from tocsin_contracts.asyncapi import asyncapi_document
from tocsin_contracts.codec import Undecodable, decode, encode
from tocsin_contracts.compatibility import breaks
from tocsin_contracts.event import Event, Fact, Writer
from tocsin_contracts.incidents import IncidentFact, NoteAdded
from tocsin_contracts.registry import FACTS, TOPICS
from tocsin_contracts.schemas import fact_schema
from tocsin_testkit.examples import example_event

ROOT = Path(__file__).resolve().parents[3]
CONTRACTS = ROOT / "libs" / "contracts"

kinds = pytest.mark.parametrize("fact", FACTS.values(), ids=lambda fact: fact.TYPE)


def golden(fact: type[Fact]) -> dict[str, Any]:
    path = CONTRACTS / "examples" / fact.TOPIC / f"{fact.TYPE}.json"
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def read(document: dict[str, Any]) -> Event[Fact]:
    headers = [(name, value.encode()) for name, value in document["headers"]]
    return decode(headers, json.dumps(document["value"]).encode(), document["key"].encode())


def holds(written: object, golden: object) -> bool:
    """Whether everything golden stands in what was written."""
    if isinstance(golden, dict) and isinstance(written, dict):
        return all(name in written and holds(written[name], golden[name]) for name in golden)
    if isinstance(golden, list) and isinstance(written, list):
        return len(written) == len(golden) and all(map(holds, written, golden))
    return written == golden


@kinds
def test_a_golden_record_is_read_and_written_again_with_nothing_lost(fact: type[Fact]) -> None:
    document = golden(fact)
    event = read(document)
    wire = encode(event)
    assert wire.topic == document["topic"]
    assert [[name, value.decode()] for name, value in wire.headers] == document["headers"]
    # A fact that has grown since then, at any depth, is written with what it has grown.
    assert holds(json.loads(wire.value), document["value"])
    assert isinstance(event.fact, fact)


@kinds
def test_an_event_survives_the_wire_whole(fact: type[Fact]) -> None:
    event = example_event(fact)
    wire = encode(event)
    assert decode(wire.headers, wire.value, wire.key) == event


@kinds
def test_a_schema_accepts_what_is_written(fact: type[Fact]) -> None:
    validator = jsonschema_rs.validator_for(fact_schema(fact))
    validator.validate(golden(fact)["value"])


@kinds
def test_no_released_type_is_broken(fact: type[Fact]) -> None:
    released = json.loads((CONTRACTS / "released" / f"{fact.TYPE}.json").read_text())
    assert breaks(released, fact_schema(fact)) == ()


def test_every_golden_record_ever_released_belongs_to_a_type_that_can_be_read() -> None:
    names = {path.stem for path in (CONTRACTS / "examples").rglob("*.json")}
    assert names <= FACTS.keys() | codec.UPCASTERS.keys()


def test_a_later_field_of_a_newer_writer_is_passed_over() -> None:
    document = golden(NoteAdded)
    document["value"]["mood"] = "calm"
    assert read(document) == read(golden(NoteAdded))


@pytest.mark.parametrize(
    ("change", "reason", "named"),
    [
        (lambda d: d["headers"].pop(1), "missing_header", "ce_id"),
        (lambda d: d["headers"].__setitem__(1, ["ce_id", "seven"]), "bad_id", "seven"),
        (lambda d: d["headers"].__setitem__(4, ["ce_time", "now"]), "bad_time", "now"),
        (
            lambda d: d["headers"].__setitem__(4, ["ce_time", "2026-11-21T08:00:00"]),
            "bad_time",
            "UTC",
        ),
        (
            lambda d: d["headers"].__setitem__(2, ["ce_type", "tocsin.x.v1"]),
            "unknown_type",
            "tocsin.x.v1",
        ),
        (lambda d: d["value"].pop("text"), "invalid_data", "text"),
        (lambda d: d["value"].__setitem__("text", 7), "invalid_data", "text"),
        (lambda d: d["value"]["by"].pop("name"), "invalid_data", "by.name"),
    ],
)
def test_what_cannot_be_read_is_refused_and_the_field_is_named(
    change: Any, reason: str, named: str
) -> None:
    document = golden(NoteAdded)
    change(document)
    with pytest.raises(Undecodable, match=named) as refused:
        read(document)
    assert refused.value.reason == reason


def test_a_tombstone_is_no_event() -> None:
    with pytest.raises(Undecodable) as refused:
        decode([(n, v.encode()) for n, v in golden(NoteAdded)["headers"]], None)
    assert refused.value.reason == "no_data"


def test_an_old_type_is_read_as_its_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    old = "tocsin.incidents.note_added.v0"
    monkeypatch.setitem(
        codec.UPCASTERS,
        old,
        (NoteAdded.TYPE, lambda data: {"by": {"name": data["who"]}, "text": data["note"]}),
    )
    document = golden(NoteAdded)
    document["headers"][2] = ["ce_type", old]
    document["value"] = {"who": "alice", "note": "hello"}
    fact = read(document).fact
    assert isinstance(fact, NoteAdded)
    assert (fact.by.name, fact.text) == ("alice", "hello")


def test_times_are_written_in_utc_and_sort_as_they_read() -> None:
    early = codec.rfc3339(datetime.fromisoformat("2026-11-21T09:00:00+02:00"))
    late = codec.rfc3339(datetime(2026, 11, 21, 7, 0, 0, 1, tzinfo=UTC))
    assert early == "2026-11-21T07:00:00.000000Z"
    assert early < late


def test_every_fact_has_one_writer_that_its_topic_knows() -> None:
    for topic in TOPICS:
        for fact in topic.facts:
            assert fact.TOPIC in {topic.name, topic.name.removesuffix(".urgent")}
            assert fact.WRITER in topic.writers or fact.WRITER is Writer.ANY


def test_a_docstring_says_what_who_how_often_and_when_never() -> None:
    for fact in FACTS.values():
        words = " ".join((fact.__doc__ or "").split())
        for question in ("Who reacts:", "How often:", "Never sent:"):
            assert question in words, f"{fact.__name__}: {question}"


def test_the_asyncapi_document_is_valid() -> None:
    schema = json.loads((Path(__file__).parent / "asyncapi-3.0.0.schema.json").read_text())
    assert list(jsonschema_rs.validator_for(schema).iter_errors(asyncapi_document())) == []


def test_generated_files_are_what_the_code_says() -> None:
    assert drifted(ROOT) == ()


BASE = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 10},
        "kind": {"enum": ["a", "b"], "type": "string"},
        "inner": {"$ref": "#/$defs/Inner"},
    },
    "required": ["name"],
    "$defs": {"Inner": {"type": "object", "properties": {"n": {"type": "integer"}}}},
}


def changed(path: str, value: object) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(json.dumps(BASE))
    here = schema
    *parts, last = path.split("/")
    for part in parts:
        here = here[part]
    if value is None:
        del here[last]
    else:
        here[last] = value
    return schema


@pytest.mark.parametrize(
    ("current", "named"),
    [
        (changed("properties/name", None), "name: removed"),
        (changed("properties/name/type", "integer"), "name: type changed"),
        (changed("properties/name/maxLength", 5), "name: maxLength changed"),
        (changed("properties/kind/enum", ["a"]), "kind: enum changed"),
        (changed("required", ["name", "kind"]), "kind: is required now"),
        (changed("required", []), "name: may be absent now"),
        (changed("$defs/Inner/properties/n/type", "string"), "inner.n: type changed"),
    ],
)
def test_a_breaking_change_is_refused_and_the_field_is_named(
    current: dict[str, Any], named: str
) -> None:
    assert any(problem.startswith(named) for problem in breaks(BASE, current))


def test_a_new_optional_field_breaks_nothing() -> None:
    current = changed("properties/added", {"type": "string"})
    assert breaks(BASE, current) == ()


def test_incident_facts_share_one_topic() -> None:
    assert {f.TOPIC for f in FACTS.values() if issubclass(f, IncidentFact)} == {"incidents"}
