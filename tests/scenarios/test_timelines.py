"""The whole system, told as timelines, under a policy small enough to hold in mind.

`a_policy`: Alice is paged at once, Bob after 5 minutes, Carol and Dave after 10. An acknowledgement
lasts 20 minutes, an incident whose alerts are all clear resolves after 5.
"""

from __future__ import annotations

import pytest

from tocsin_contracts.incidents import Purpose
from tocsin_incident import Status
from tocsin_simulation.clock import EPOCH
from tocsin_testkit.builders import an_alert
from tocsin_testkit.timeline import Timeline, at, minutes, page, scenario, told

DOWN = an_alert("Down", system="shop", severity="critical")
DOWN_TOO = an_alert("Down", system="shop", severity="critical", instance="two")
SLOW = an_alert("Slow", system="shop", severity="info")


@scenario()
async def test_while_nobody_answers_each_level_is_woken_when_it_is_due(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    system.want(at(minutes=0), page("on-call engineer"))
    system.want(at(minutes=5), page("team lead"))
    system.want(at(minutes=10), page("head of product"), page("head of engineering"))
    await system.run(until=minutes(15))
    assert system.status() is Status.OPEN


@scenario()
async def test_who_acknowledges_is_the_last_to_be_woken(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    system.want(at(minutes=0), page("alice"))
    system.at(minutes=4).acknowledge(by="alice")
    await system.run(until=minutes(15))
    assert system.status() is Status.ACKNOWLEDGED


@scenario()
async def test_an_acknowledgement_that_leads_nowhere_expires_and_everyone_is_woken_again(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).acknowledge(by="alice")
    system.want(at(minutes=0), page("alice"))
    system.want(at(minutes=21), page("alice"))
    system.want(at(minutes=26), page("bob"))
    await system.run(until=minutes(28))
    assert system.incident().generation == 2


@scenario()
async def test_a_mitigated_incident_wakes_nobody_again(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).acknowledge(by="alice")
    system.at(minutes=10).mitigate(by="alice")
    system.want(at(minutes=0), page("alice"))
    await system.run(until=minutes(60))
    assert system.status() is Status.MITIGATED


@scenario()
async def test_a_resolved_incident_wakes_nobody_further(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=7).resolve(by="bob")
    system.want(at(minutes=0), page("alice"))
    system.want(at(minutes=5), page("bob"))
    await system.run(until=minutes(20))
    assert system.status() is Status.RESOLVED


@scenario()
async def test_whoever_was_woken_hears_that_it_is_taken_and_that_it_is_over(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=6).acknowledge(by="bob")
    system.at(minutes=8).resolve(by="bob")
    system.want(at(minutes=0), page("alice"))
    system.want(at(minutes=5), page("bob"))
    for name in ("alice", "bob"):
        system.want(at(minutes=6), told(name, Purpose.ACKNOWLEDGED))
        system.want(at(minutes=8), told(name, Purpose.RESOLVED))
    await system.run(until=minutes(20))


@pytest.mark.parametrize("repeats", [1, 5])
@scenario()
async def test_how_often_an_alert_is_sent_never_changes_who_is_woken(
    system: Timeline, repeats: int
) -> None:
    for minute in range(repeats):
        system.at(minutes=minute).push(DOWN.began(EPOCH))
    system.want(at(minutes=0), page("alice"))
    system.want(at(minutes=5), page("bob"))
    await system.run(until=minutes(9))
    assert len(system.incidents()) == 1


@scenario()
async def test_alerts_of_one_group_are_one_incident(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=2).push(DOWN_TOO)
    system.want(at(minutes=0), page("alice"))
    await system.run(until=minutes(4))
    assert len(system.incident().alerts) == 2


@scenario()
async def test_what_stays_clear_resolves_by_itself(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN, DOWN_TOO)
    system.at(minutes=2).clear(DOWN, began=at(minutes=0))
    system.at(minutes=3).clear(DOWN_TOO, began=at(minutes=0))
    system.want(at(minutes=0), page("alice"))
    system.want(at(minutes=5), page("bob"))
    await system.run(until=minutes(30))
    state = system.incident()
    assert state.status is Status.RESOLVED
    assert state.resolved_at == system.start + minutes(8)


@scenario()
async def test_one_alert_of_two_that_clears_resolves_nothing(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN, DOWN_TOO)
    system.at(minutes=2).clear(DOWN, began=at(minutes=0))
    system.want(at(minutes=0), page("alice"))
    system.want(at(minutes=5), page("bob"))
    await system.run(until=minutes(9))
    assert system.status() is Status.OPEN


@scenario()
async def test_what_comes_back_soon_is_the_same_incident_and_escalates_anew(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).resolve(by="alice")
    system.at(minutes=20).push(DOWN)
    system.want(at(minutes=0), page("alice"))
    system.want(at(minutes=20), page("alice"))
    system.want(at(minutes=25), page("bob"))
    await system.run(until=minutes(26))
    assert system.incident().generation == 2


@scenario()
async def test_what_is_minor_wakes_nobody_and_once_raised_catches_up_at_once_with_everybody(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(SLOW)
    system.at(minutes=7).raise_to("critical", by="bob")
    system.want(at(minutes=7), page("alice"), page("bob"))
    system.want(at(minutes=10), page("carol"), page("dave"))
    await system.run(until=minutes(13))
    assert system.incident().severity == "critical"


def test_a_timeline_that_is_not_as_wanted_shows_both_sides() -> None:
    @scenario()
    async def wrong(system: Timeline) -> None:
        system.at(minutes=0).push(DOWN)
        system.want(at(minutes=0), page("alice"))
        system.want(at(minutes=4), page("bob"))
        await system.run(until=minutes(6))

    with pytest.raises(AssertionError) as failure:
        wrong()
    rows = [line.split() for line in str(failure.value).splitlines()]
    assert ["0:00:00", "page", "alice", "page", "on-call", "engineer:", "alice"] in [
        row[:7] for row in rows
    ]
    assert ["0:04:00", "✗", "page", "bob", "-"] in rows
    assert ["0:05:00", "✗", "-", "page", "team", "lead:", "bob", "(pagerduty)"] in rows
