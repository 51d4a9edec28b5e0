"""Each source with the requests it sends: what its caller hears, and what comes of them.

To add a source, write its module and put an example here; `docs/sources.md` says how.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingestion.domain.sources import BUILT_IN
from ingestion.domain.sources.source import Source
from tocsin_testkit.door import DoorUnderTest

EXAMPLES = Path(__file__).parent / "examples"
PEOPLE = {"slack:U2CERLKJA": "alice", "slack:U0BOB0000": "bob"}


def exchanges(name: str) -> list[dict[str, Any]]:
    document = json.loads((EXAMPLES / f"{name}.json").read_text())
    found: list[dict[str, Any]] = document["exchanges"]
    return found


def as_document(value: Any, *left_out: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        value.model_dump_json(exclude=set(left_out), exclude_defaults=True)
    )
    return document


def test_every_source_has_an_example_and_every_example_a_source() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.json")} == {source.name for source in BUILT_IN}


@pytest.mark.parametrize("source", BUILT_IN, ids=lambda source: source.name)
async def test_what_a_source_sends_becomes_what_its_example_says(source: Source) -> None:
    door = DoorUnderTest(anonymous=True, people=PEOPLE)
    for exchange in exchanges(source.name):
        known = {seen.id for _, seen in door.observed()}
        answers = len(door.facts("incidents"))
        request = exchange["request"]
        reply = await door.send(
            request["method"],
            request["path"],
            request["body"],
            token=None,
            headers=request["headers"],
        )
        assert reply.status_code == exchange["reply"]["status"]
        assert reply.text == exchange["reply"].get("body", "")
        assert exchange["alerts"] == [
            {"system": system, **as_document(seen, "id")}
            for system, seen in door.observed()
            if seen.id not in known
        ]
        assert exchange["answers"] == [
            {"type": event.type, "incident": event.subject, **as_document(event.fact, "cause")}
            for event in door.facts("incidents")[answers:]
        ]
    assert door.dead_letters == []


@pytest.mark.parametrize("source", BUILT_IN, ids=lambda source: source.name)
async def test_the_bytes_are_kept_as_they_came_under_the_name_of_their_source(
    source: Source,
) -> None:
    door = DoorUnderTest(anonymous=True, people=PEOPLE)
    sent = []
    for exchange in exchanges(source.name):
        request = exchange["request"]
        await door.send(
            request["method"],
            request["path"],
            request["body"],
            token=None,
            headers=request["headers"],
        )
        sent.append(request["body"].encode())
    kept = door.raw()
    assert all(record.header("source") == source.name.encode() for record in kept)
    assert {record.value for record in kept} <= set(sent)
    assert kept


@pytest.mark.parametrize("source", BUILT_IN, ids=lambda source: source.name)
async def test_a_record_normalised_again_gives_the_same_facts(source: Source) -> None:
    door = DoorUnderTest(anonymous=True, people=PEOPLE)
    for exchange in exchanges(source.name):
        request = exchange["request"]
        await door.send(
            request["method"],
            request["path"],
            request["body"],
            token=None,
            headers=request["headers"],
        )

    def ids() -> list[tuple[str, Any]]:
        topics = ("alerts.urgent", "alerts", "incidents")
        return [(topic, event.id) for topic in topics for event in door.facts(topic)]

    once = set(ids())
    await door.again()
    assert len(ids()) == 2 * len(once)
    assert set(ids()) == once
