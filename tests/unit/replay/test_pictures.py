"""The picture of an incident shows what its summary says, whatever stands in its alerts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from xml.etree import ElementTree as ET

import pytest

from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Fact
from tocsin_replay import (
    Recorded,
    Summary,
    picture,
    promised,
    read_all,
    read_incident,
    read_policies,
    state_of,
    states_of,
    summarise,
)
from tocsin_replay.picturing import MOST_ALERTS, WIDTH
from tocsin_replay.wording import duration
from tocsin_runtime.records import Position
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.memory_log import MemoryLog
from tocsin_testkit.builders import a_person, an_alert, an_event, an_opening

SVG = "{http://www.w3.org/2000/svg}"


def _summary(log: MemoryLog, system: str) -> Summary:
    states = states_of(asyncio.run(read_all(log)))
    incident = next(name for name in states if name.startswith(system))
    recorded = asyncio.run(read_incident(log, incident))
    state = state_of(recorded)
    assert state is not None
    return summarise(recorded, promised(asyncio.run(read_policies(log)), state))


def _parsed(drawn: str) -> ET.Element:
    return ET.fromstring(drawn)  # noqa: S314 - we drew it


def _tooltips(drawn: str) -> list[str]:
    return [element.text or "" for element in _parsed(drawn).iter(f"{SVG}title")]


def test_everything_that_happened_is_drawn_and_says_what_it_is(story: MemoryLog) -> None:
    tooltips = "\n".join(_tooltips(picture(_summary(story, "slow"))))
    for said in (
        "critical at 09:05:01 by rule critical by label",
        "acknowledged at 09:17:01 by Carol",
        "level 3 at 09:15:01, 0 s after it was due: Carol (head of product), Dave",
        "level 2 to Bob by pagerduty: delivered",
        "level 1 to Alice by slack: superseded (resolved)",
        "update missed, due 09:15:01",
        "update in time at 09:17:01 by Carol",
        "Carol resolved at 09:37:01",
        "Late since 09:05:01, cleared 09:37:01",
    ):
        assert said in tooltips


def test_remediation_and_a_reopening_are_drawn(story: MemoryLog) -> None:
    tooltips = "\n".join(_tooltips(picture(_summary(story, "shop"))))
    assert tooltips.count("Restart (restart): verified") == 2
    assert tooltips.count("open at ") == 2


def test_nothing_is_drawn_outside_of_the_picture(story: MemoryLog) -> None:
    for system in ("shop", "slow"):
        root = _parsed(picture(_summary(story, system)))
        height = float(root.attrib["height"])
        for element in root.iter():
            for name, most in (("x", WIDTH), ("cx", WIDTH), ("y", height), ("cy", height)):
                assert 0 <= float(element.attrib.get(name, 0)) <= most


def _made(*happened: tuple[int, Fact]) -> Sequence[Recorded]:
    return [
        Recorded(an_event(fact, at=EPOCH + timedelta(seconds=at)), Position("i", 0, n), EPOCH)
        for n, (at, fact) in enumerate(happened)
    ]


def test_what_alerts_and_people_write_cannot_break_out_of_it() -> None:
    evil = '</text><script>alert("1")</script>\x00\x1b'
    opening = an_opening(alerts=(an_alert(evil),), severity="critical")
    drawn = picture(
        summarise(_made((0, opening), (5, facts.Resolved(by=a_person(evil), text=evil))), None)
    )
    assert not list(_parsed(drawn).iter(f"{SVG}script"))
    assert "<script" not in drawn


def test_a_storm_does_not_make_it_endless() -> None:
    alerts = [an_alert("Storm", instance=f"i{number}") for number in range(500)]
    drawn = picture(summarise(_made((0, an_opening(alerts=alerts, severity="critical"))), None))
    assert f"and {500 - MOST_ALERTS} more" in drawn
    assert float(_parsed(drawn).attrib["height"]) < 800


def test_the_same_incident_is_drawn_with_the_same_bytes(story: MemoryLog) -> None:
    assert picture(_summary(story, "shop")) == picture(_summary(story, "shop"))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.42, "0.4 s"), (59, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (3840, "1 h 04 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(timedelta(seconds=seconds)) == said
