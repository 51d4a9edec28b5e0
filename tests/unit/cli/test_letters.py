"""Dead letters: looked at, changed, handled again, and the log says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tocsin_cli.exits import NotFound
from tocsin_cli.letters import REDRIVEN_FROM, chosen, read_letters, redrive, value_of
from tocsin_runtime.dead_lettering import DeadLetters
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.door import DoorUnderTest

POISON = b'{"alerts": 1}'
GOOD = a_webhook(an_alert(system="shop", severity="minor"))
WEBHOOK = "/v1/webhooks/alertmanager"


async def a_door_with_a_dead_letter() -> DoorUnderTest:
    door = DoorUnderTest()
    assert (await door.send("POST", WEBHOOK, POISON)).status_code == 202
    [(record, error)] = door.dead_letters
    await DeadLetters(door.log, door.clock, "ingestion")(record, error)
    return door


async def test_a_letter_shows_what_was_wrong_and_the_bytes() -> None:
    door = await a_door_with_a_dead_letter()
    [letter] = await read_letters(door.log)
    assert letter.fact.reason == "invalid_field"
    assert letter.where.startswith("alerts.raw-")
    assert await value_of(door.log, letter) == POISON
    assert chosen([letter], letter.where) is letter
    with pytest.raises(NotFound):
        chosen([letter], "alerts.raw-0-99")


async def test_a_letter_that_was_changed_is_handled_and_the_log_says_by_whom() -> None:
    door = await a_door_with_a_dead_letter()
    [letter] = await read_letters(door.log)
    position = await redrive(door.log, door.clock, letter, GOOD, by="alice")
    await door.normalise()
    assert [system for system, _ in door.observed()] == ["shop"]
    assert len(door.dead_letters) == 1
    [again] = [record for record in door.raw() if record.position == position]
    assert again.value == GOOD
    assert again.key == letter.fact.key
    assert again.header("source") == b"alertmanager"
    assert again.header(REDRIVEN_FROM) == str(letter.event.id).encode()
    [noted] = await read_letters(door.log)
    [fact] = [event.fact for event in noted.redriven]
    assert (fact.by.name, fact.changed, fact.offset) == ("alice", True, position.offset)


async def test_one_that_is_driven_again_as_it_is_becomes_a_letter_again() -> None:
    door = await a_door_with_a_dead_letter()
    [letter] = await read_letters(door.log)
    await redrive(door.log, door.clock, letter, POISON, by="alice")
    await door.normalise()
    assert len(door.dead_letters) == 2
    [noted] = await read_letters(door.log)
    assert [event.fact.changed for event in noted.redriven] == [False]


async def test_a_record_too_large_for_a_letter_is_read_where_it_stands() -> None:
    door = await a_door_with_a_dead_letter()
    [letter] = await read_letters(door.log)
    empty = letter.event.fact.model_copy(update={"value": None})
    without = replace(letter, event=replace(letter.event, fact=empty))
    assert await value_of(door.log, without) == POISON
    for partition in range(2):
        door.log.truncate("alerts.raw", partition, 10)
    with pytest.raises(NotFound):
        await value_of(door.log, without)
