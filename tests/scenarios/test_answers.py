"""Escalate now, hand over, mute: what people answer beside yes, and who is woken by it.

The policy of the tests: Alice at once, Bob after 5 minutes, Carol and Dave after 10.
"""

from __future__ import annotations

from datetime import timedelta

from tocsin_contracts import incidents as facts
from tocsin_contracts.incidents import Purpose
from tocsin_incident import Status
from tocsin_runtime.events import decode
from tocsin_testkit.builders import an_alert
from tocsin_testkit.timeline import Timeline, at, minutes, page, scenario, told

DOWN = an_alert(system="shop", severity="critical")


def levels(system: Timeline) -> list[facts.LevelReached]:
    found = [decode(record).fact for record in system.system.log.records("incidents")]
    return [fact for fact in found if isinstance(fact, facts.LevelReached)]


@scenario()
async def test_escalate_now_wakes_the_next_level_at_once_and_says_who_asked(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).escalate("alice", "need the database team")
    system.want(at(minutes=0), page("alice"))
    system.want(at(minutes=1), page("bob"))
    system.want(at(minutes=10), page("carol"), page("dave"))
    await system.run(until=minutes(15))
    asked = levels(system)[1]
    assert (asked.level, asked.reason, asked.text) == (2, "escalated", "need the database team")
    assert asked.by is not None
    assert asked.by.name == "alice"
    assert asked.due_at == system.start + minutes(1)


@scenario()
async def test_whoever_took_it_and_asks_for_more_people_gets_the_next_level_and_is_not_woken_again(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).acknowledge("alice")
    system.at(minutes=15).escalate("alice")
    system.want(at(minutes=0), page("alice"))
    system.want(at(minutes=15), page("bob"))
    # Counted from when they asked: nobody answered since.
    system.want(at(minutes=25), page("carol"), page("dave"))
    await system.run(until=minutes(30))
    assert system.status() is Status.OPEN


@scenario()
async def test_after_the_last_level_escalate_now_tells_the_last_one_again(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=12).escalate("bob")
    system.at(minutes=14).escalate("bob")
    system.want(at(minutes=0), page("alice"))
    system.want(at(minutes=5), page("bob"))
    for minute in (10, 12, 14):
        system.want(at(minutes=minute), page("carol"), page("dave"))
    await system.run(until=minutes(20))


@scenario()
async def test_escalate_now_that_an_acknowledgement_overtakes_wakes_nobody(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).acknowledge("alice").escalate("alice").acknowledge("bob")
    system.want(at(minutes=0), page("alice"))
    await system.play(until=minutes(4))
    assert system.status() is Status.ACKNOWLEDGED


@scenario()
async def test_hand_over_pages_the_new_person_at_once_and_the_others_after_their_time(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).acknowledge("alice")
    system.at(minutes=3).hand_over("alice", "dave")
    system.want(at(minutes=0), page("alice"))
    system.want(at(minutes=3), page("dave"))
    system.want(at(minutes=8), page("bob"))
    system.want(at(minutes=13), page("carol"), page("dave"))
    await system.run(until=minutes(20))
    handed = levels(system)[1]
    assert (handed.reason, handed.level, handed.generation) == ("handed_over", 1, 2)


@scenario()
async def test_whoever_was_handed_the_incident_is_reminded_of_it_and_woken_when_they_let_it_lie(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).hand_over("alice", "dave")
    system.at(minutes=2).acknowledge("dave")
    system.want(at(minutes=0), page("alice"))
    system.want(at(minutes=1), page("dave"))
    system.want(at(minutes=10), told("dave", Purpose.REMINDER))
    # Twenty minutes after he took it, the acknowledgement is over: it is still his, and so is the
    # update that nobody wrote.
    system.want(at(minutes=22), page("dave"), told("dave", Purpose.REMINDER))
    await system.run(until=minutes(24))
    assert system.incident().roles == {"incident_commander": "dave"}


@scenario()
async def test_a_mute_withholds_levels_and_reminders_and_ends_with_pages_from_the_first_level(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).mute("alice")
    system.want(at(minutes=0), page("alice"))
    system.want(at(minutes=61), page("alice"))
    system.want(at(minutes=66), page("bob"))
    system.want(at(minutes=71), page("carol"), page("dave"))
    await system.run(until=minutes(75))
    ended = [
        decode(record).fact
        for record in system.system.log.records("incidents")
        if decode(record).type == facts.MuteEnded.TYPE
    ]
    assert [fact.due_at for fact in ended if isinstance(fact, facts.MuteEnded)] == [
        system.start + minutes(61)
    ]


@scenario()
async def test_a_muted_incident_that_somebody_took_reminds_nobody_until_the_mute_is_over(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).acknowledge("alice").mute("alice", minutes=15)
    system.want(at(minutes=0), page("alice"))
    await system.play(until=minutes(15))
    assert system.incident().overdue_at is None
    assert system.status() is Status.ACKNOWLEDGED


@scenario()
async def test_what_was_muted_and_resolved_wakes_nobody_when_the_mute_would_end(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).mute("alice", minutes=10)
    system.at(minutes=5).resolve("alice")
    system.want(at(minutes=0), page("alice"))
    await system.run(until=minutes(30))
    assert system.incident().muted_until is None


@scenario()
async def test_a_mute_is_ended_by_hand_by_an_escalation_and_by_a_worse_severity(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).mute("alice")
    system.at(minutes=2).unmute("alice")
    system.want(at(minutes=0), page("alice"))
    system.want(at(minutes=2), page("alice"))
    system.at(minutes=3).mute("alice")
    system.at(minutes=4).escalate("alice")
    system.want(at(minutes=4), page("bob"))
    await system.run(until=minutes(6))
    assert system.incident().muted_until is None


@scenario()
async def test_a_page_that_waits_for_its_provider_is_not_made_once_the_incident_is_muted(
    system: Timeline,
) -> None:
    system.system.providers.fail("pagerduty", timedelta(minutes=3))
    system.system.providers.fail("slack", timedelta(minutes=3))
    system.at(minutes=0).push(DOWN)
    system.at(minutes=2).mute("alice", minutes=10)
    system.want(at(minutes=12), page("alice"))
    await system.run(until=minutes(14))
    held = system.incident().notifications.values()
    assert "pages_muted" in {one.reason for one in held}
