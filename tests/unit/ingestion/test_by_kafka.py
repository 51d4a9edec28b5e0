"""Each source by Kafka: the bytes it sends over HTTP, put on `alerts.raw` by anybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingestion.domain.sources import BUILT_IN
from ingestion.domain.sources.source import Source
from ingestion.handlers import RAW
from tocsin_runtime.records import Outgoing
from tocsin_testkit.door import DoorUnderTest

EXAMPLES = Path(__file__).parent / "examples"

NEEDS_THE_DOOR = frozenset({"unknown_alert", "no_incident", "invalid_answer"})
"""Why a record is dead-lettered that the door would have completed: what a key or a code names is
looked up there, and so is who a person is."""


def exchanges(name: str) -> list[dict[str, Any]]:
    document = json.loads((EXAMPLES / f"{name}.json").read_text())
    found: list[dict[str, Any]] = document["exchanges"]
    return found


async def put(door: DoorUnderTest, source: str, request: dict[str, Any]) -> None:
    headers = {name.lower(): value for name, value in request["headers"].items()}
    pairs = {"source": source, "path": request["path"], **headers}
    record = Outgoing(
        RAW,
        b"anybody",
        request["body"].encode(),
        tuple((name, value.encode()) for name, value in pairs.items()),
    )
    await door.log.publish([record])
    await door.normalise()


def told(alert: dict[str, Any]) -> tuple[object, ...]:
    # What ends by key alone has, at the door, the labels it fired with.
    labels = alert["labels"] if alert["status"] == "firing" else None
    return alert["status"], alert["fingerprint"], labels


@pytest.mark.parametrize("source", BUILT_IN, ids=lambda source: source.name)
async def test_what_a_source_sends_means_the_same_by_kafka(source: Source) -> None:
    door = DoorUnderTest()
    meant = 0
    for exchange in exchanges(source.name):
        known = {one.id for _, one in door.observed()}
        answers, before = len(door.facts("incidents")), len(door.dead_letters)
        await put(door, source.name, exchange["request"])
        alerts = [
            told(json.loads(one.model_dump_json()))
            for _, one in door.observed()
            if one.id not in known
        ]
        set_aside = [error.reason for _, error in door.dead_letters[before:]]
        wanted = [told(alert) for alert in exchange["alerts"]]
        if set_aside:
            assert len(set_aside) == 1
            nothing_meant = not wanted and not exchange["answers"]
            assert set_aside[0] in NEEDS_THE_DOOR or nothing_meant, set_aside
            continue
        assert alerts == wanted
        assert len(door.facts("incidents")) - answers >= len(exchange["answers"])
        meant += 1
    assert meant


@pytest.mark.parametrize(
    "source",
    # Of a form that lacks everything nothing is wrong: nobody answered anything.
    [source for source in BUILT_IN if source.name != "twilio"],
    ids=lambda source: source.name,
)
async def test_bytes_that_no_source_sends_are_dead_lettered_with_what_is_wrong(
    source: Source,
) -> None:
    door = DoorUnderTest()
    request = {"path": exchanges(source.name)[0]["request"]["path"], "headers": {}, "body": "\x00{"}
    await put(door, source.name, request)
    [(record, error)] = door.dead_letters
    assert record.value == b"\x00{"
    assert error.reason
    assert door.observed() == []
