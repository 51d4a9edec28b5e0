"""What the notifier promises of a page: by a means that works, once, soon, and never nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from notifier.adapters.local_gate import LocalGate
from notifier.domain.pacing import PERSON
from notifier.handlers import Notifier
from tocsin_casebook import Casebook, Policies
from tocsin_contracts import incidents as facts
from tocsin_contracts.incidents import Purpose
from tocsin_incident import IncidentState, Status
from tocsin_incident.state import Notification, NotificationStatus
from tocsin_policy import Policy
from tocsin_runtime.events import decode
from tocsin_runtime.ports import Handler
from tocsin_simulation.system import SERVICES, Instance, Runs, System
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.timeline import Timeline, minutes, scenario

OUTAGE = an_alert("Outage", severity="critical", system="shop")
CHANNELS = {
    name: {"kind": kind, "endpoint": name}
    for name, kind in (
        ("chat", "slack"),
        ("text", "sms"),
        ("call", "voice"),
        ("mail", "email"),
        ("pager", "pagerduty"),
        ("desk", "webhook"),
    )
}
IN_TURN = ["chat", {"channel": "text", "after": "2m"}, {"channel": "call", "after": "4m"}]
ALL = timedelta(hours=8)


def person(name: str, *channels: str | dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "role": f"the {name.lower()}",
        "phone": "+41 44 555 01 00",
        "email": f"{name.lower()}@example.com",
        "channels": channels,
    }


def levels(*targets: str | list[str], apart: int = 10) -> dict[str, Any]:
    return {
        "critical": [
            {
                "number": number,
                "after": f"{apart * (number - 1)}m",
                "targets": [one] if isinstance(one, str) else one,
            }
            for number, one in enumerate(targets, 1)
        ]
    }


def a_shop(*level: str | list[str], **changes: Any) -> Policy:
    """Alice is in chat at once, texted after two minutes, called after four; Bob has a pager."""
    document: dict[str, Any] = {
        "severities": [{"name": "critical", "definition": "customers notice"}, MINOR],
        "contacts": {
            "alice": person("Alice", *IN_TURN),
            "bob": person("Bob", "pager"),
            "nina": person("Nina"),
            "desk": person("Desk", "pager", "desk"),
        },
        "schedules": {},
        "channels": CHANNELS,
        "escalation": levels(*(level or ("contact:alice",))),
    }
    return a_policy(**{**document, **changes})


MINOR = {"name": "minor", "definition": "nobody notices"}


def got(system: Timeline) -> list[tuple[timedelta, str, str]]:
    """(when, contact, channel) of each page that arrived, times cut to the second."""
    return [
        (
            timedelta(seconds=(arrival.at - system.start) // timedelta(seconds=1)),
            arrival.sending.target.contact if arrival.sending.target is not None else "",
            arrival.channel,
        )
        for arrival in system.system.providers.pages()
    ]


def requests(system: Timeline) -> dict[str, str]:
    """Channel -> why it was used, of each page of the one incident."""
    found: dict[str, str] = {}
    for record in system.system.log.records("incidents"):
        fact = decode(record).fact
        if isinstance(fact, facts.NotificationRequested) and fact.purpose is Purpose.PAGE:
            found[fact.channel] = fact.reason
    return found


def reached(system: Timeline) -> list[tuple[int, str]]:
    """(number, reason) of each level that was told, in order."""
    return [(level.level, level.reason) for level in system.incident().levels]


def pages_of(state: IncidentState) -> list[Notification]:
    return [held for held in state.notifications.values() if held.purpose is Purpose.PAGE]


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


# Ordered means.


@scenario(a_shop)
async def test_a_person_is_told_by_one_means_after_another_until_somebody_answers(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(9))
    assert got(system) == [
        (minutes(0), "alice", "chat"),
        (minutes(2), "alice", "text"),
        (minutes(4), "alice", "call"),
    ]
    assert requests(system) == {"chat": "", "text": "unanswered", "call": "unanswered"}


@pytest.mark.parametrize("answer", ["acknowledge", "mitigate", "resolve"])
@scenario(a_shop)
async def test_a_person_who_answers_is_told_by_no_further_means(
    system: Timeline, answer: str
) -> None:
    system.at(minutes=0).push(OUTAGE)
    getattr(system.at(minutes=3), answer)(by="alice")
    await system.play(until=minutes(9))
    assert [channel for _, _, channel in got(system)] == ["chat", "text"]
    assert "call" not in requests(system)


@scenario(lambda: a_shop(["contact:alice", "contact:bob"]))
async def test_an_answer_of_one_person_ends_the_means_of_all(system: Timeline) -> None:
    system.at(minutes=0).push(OUTAGE)
    system.at(seconds=90).acknowledge(by="bob")
    await system.play(until=minutes(9))
    assert got(system) == [(minutes(0), "alice", "chat"), (minutes(0), "bob", "pager")]


@scenario(a_shop)
async def test_an_incident_that_clears_ends_the_means(system: Timeline) -> None:
    system.at(minutes=0).push(OUTAGE)
    system.at(minutes=1).resolve(by="bob")
    await system.play(until=minutes(9))
    assert got(system) == [(minutes(0), "alice", "chat")]


@scenario(a_shop)
async def test_a_means_that_will_never_work_is_followed_by_the_next_at_once(
    system: Timeline,
) -> None:
    system.system.providers.refuse("chat", ALL)
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(9))
    assert got(system) == [(minutes(0), "alice", "text"), (minutes(4), "alice", "call")]
    assert requests(system) == {"chat": "", "text": "means_failed", "call": "unanswered"}


@scenario(a_shop)
async def test_two_means_that_fail_are_followed_by_the_third_at_once(system: Timeline) -> None:
    system.system.providers.refuse("chat", ALL)
    system.system.providers.refuse("text", ALL)
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(9))
    assert got(system) == [(minutes(0), "alice", "call")]


@scenario(a_shop)
async def test_a_means_that_is_only_unwell_does_not_hold_up_the_next(system: Timeline) -> None:
    system.system.providers.fail("chat", minutes(3))
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(9))
    channels = [channel for _, _, channel in got(system)]
    assert channels[0] == "text"
    assert sorted(channels) == ["call", "chat", "text"]
    assert requests(system)["text"] == "unanswered"


@scenario(
    lambda: a_shop(
        contacts={
            "alice": person("Alice", "chat", {"channel": "chat-2", "after": "1h"}),
        },
        channels={**CHANNELS, "chat-2": {"kind": "slack", "endpoint": "chat-2"}},
    )
)
async def test_a_means_whose_attempts_are_used_up_is_followed_by_the_next_at_once(
    system: Timeline,
) -> None:
    system.system.providers.fail("chat", ALL)
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(59))
    [(when, _, channel)] = got(system)
    assert channel == "chat-2"
    assert minutes(15) < when < minutes(30)
    assert requests(system)["chat-2"] == "means_failed"


@scenario(
    lambda: a_shop(
        contacts={"alice": person("Alice", *IN_TURN)},
        escalation=levels("contact:alice via text, call"),
    )
)
async def test_a_level_that_asks_for_some_means_begins_with_the_first_of_these(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(9))
    assert got(system) == [(minutes(0), "alice", "text"), (minutes(2), "alice", "call")]


@scenario(a_shop)
async def test_whoever_was_told_by_several_means_hears_by_each_that_it_is_taken(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(OUTAGE)
    system.at(minutes=3).acknowledge(by="bob")
    await system.play(until=minutes(9))
    heard = [
        one.channel
        for one in system.system.providers.arrivals
        if one.sending.purpose is Purpose.ACKNOWLEDGED
    ]
    assert sorted(heard) == ["chat", "text"]


def away(system: Timeline, service: str, lasts: timedelta) -> None:
    """Have the one process of a service hang for so long."""
    process = system.system.instances[f"{service}-1"].actor
    assert process is not None
    system.system.loop.pause(process, lasts.total_seconds())


@scenario(a_shop)
async def test_after_an_outage_of_the_notifier_further_means_keep_their_distance(
    system: Timeline,
) -> None:
    async def hang() -> None:
        away(system, "notifier", minutes(10))

    system.at(minutes=0).push(OUTAGE)
    system.at(minutes=1).do("the notifier hangs for ten minutes", hang)
    await system.play(until=minutes(30))
    [chat, text, call] = got(system)
    assert chat == (minutes(0), "alice", "chat")
    assert text[2], call[2] == ("text", "call")
    assert text[0] >= minutes(11)
    assert call[0] - text[0] >= minutes(2)


# A level nobody of which can be reached.

EVERY_MEANS = ("chat", "text", "call")


def slow_levels(*targets: str | list[str], **changes: Any) -> Policy:
    """Levels an hour apart, so that one that comes sooner comes early."""
    return a_shop(escalation=levels(*targets, apart=60), **changes)


def refuse(system: Timeline, *channels: str) -> None:
    for channel in channels:
        system.system.providers.refuse(channel, ALL)


@scenario(lambda: slow_levels("contact:alice", "contact:bob"))
async def test_the_next_level_is_reached_early_when_every_means_of_a_level_failed(
    system: Timeline,
) -> None:
    refuse(system, *EVERY_MEANS)
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(30))
    assert got(system) == [(minutes(0), "bob", "pager")]
    assert reached(system) == [(1, ""), (2, "every_means_failed")]


@scenario(lambda: slow_levels("contact:alice", "contact:bob"))
async def test_a_level_with_a_means_that_works_is_waited_for(system: Timeline) -> None:
    refuse(system, "chat", "text")
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(59))
    assert got(system) == [(minutes(0), "alice", "call")]
    assert reached(system) == [(1, "")]


@scenario(lambda: slow_levels(["contact:alice", "contact:bob"], "contact:desk"))
async def test_a_level_with_one_target_that_can_be_reached_is_waited_for(
    system: Timeline,
) -> None:
    refuse(system, *EVERY_MEANS)
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(59))
    assert got(system) == [(minutes(0), "bob", "pager")]


@scenario(lambda: slow_levels("contact:nina", "contact:bob"))
async def test_a_level_whose_people_have_no_means_is_passed_at_once(system: Timeline) -> None:
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(30))
    assert got(system) == [(minutes(0), "bob", "pager")]
    assert reached(system) == [(1, ""), (2, "nobody_to_reach")]


@scenario(lambda: slow_levels("role:nobody_has_it", "contact:bob", roles={"nobody_has_it": NOBODY}))
async def test_a_level_that_names_nobody_is_passed_at_once(system: Timeline) -> None:
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(30))
    assert got(system) == [(minutes(0), "bob", "pager")]


NOT_FOR_CUSTOMERS = "contact:desk if customer_facing"


@scenario(lambda: slow_levels("contact:bob", NOT_FOR_CUSTOMERS, "contact:alice via chat"))
async def test_a_level_that_names_nobody_hurries_nothing_while_somebody_told_before_may_answer(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(121))
    assert got(system) == [(minutes(0), "bob", "pager"), (minutes(120), "alice", "chat")]
    assert reached(system) == [(1, ""), (2, ""), (3, "")]


@scenario(lambda: slow_levels("contact:alice", "contact:bob", "contact:desk via desk"))
async def test_levels_after_one_that_came_early_keep_their_time(system: Timeline) -> None:
    refuse(system, *EVERY_MEANS)
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(130))
    assert got(system) == [(minutes(0), "bob", "pager"), (minutes(120), "desk", "desk")]
    assert reached(system) == [(1, ""), (2, "every_means_failed"), (3, "")]


NOBODY = {"name": "nobody"}
NIGHT_OFF = {"calendars": {"business": {"time_zone": "UTC", "hours": "Mo-Fr 11:00-17:00"}}}


@scenario(
    lambda: a_shop(
        escalation={
            "critical": [
                {"number": 1, "after": "0m", "targets": ["contact:alice"]},
                {
                    "number": 2,
                    "after": "5h",
                    "hours": "business_hours",
                    "targets": ["contact:bob"],
                },
            ]
        },
        **NIGHT_OFF,
    )
)
async def test_a_level_that_comes_early_waits_for_its_office_hours(system: Timeline) -> None:
    refuse(system, *EVERY_MEANS)
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(150))
    [(when, who, _)] = got(system)
    assert who == "bob"
    assert (system.start + when).strftime("%H:%M") == "11:00"


@scenario(lambda: slow_levels("contact:alice", "contact:bob"))
async def test_an_answer_ends_the_search_for_somebody_to_reach(system: Timeline) -> None:
    system.system.providers.fail("chat", ALL)
    refuse(system, "text", "call")
    system.at(minutes=0).push(OUTAGE)
    system.at(minutes=5).acknowledge(by="bob")
    await system.play(until=minutes(59))
    assert got(system) == []
    assert reached(system) == [(1, "")]


# The last resort.


def last_resort(*level: str, to: str = "contact:desk", **changes: Any) -> Policy:
    return slow_levels(*level, last_resort=[to], **changes)


@scenario(lambda: last_resort("contact:alice", "contact:bob"))
async def test_when_nobody_of_the_last_level_can_be_reached_the_last_resort_is_told_as_of_the_worst(
    system: Timeline,
) -> None:
    refuse(system, *EVERY_MEANS, "pager")
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(200))
    assert got(system) == [(minutes(0), "desk", "desk")]
    assert reached(system) == [(1, ""), (2, "every_means_failed"), (3, "last_resort")]
    [last] = system.system.providers.pages()
    assert last.sending.severity_rank == 0
    assert last.sending.message.subject.startswith("[critical] NOBODY COULD BE REACHED about ")
    assert "Bob by pager: refused" in last.sending.message.body


@scenario(lambda: last_resort("contact:alice"))
async def test_the_last_resort_is_told_once(system: Timeline) -> None:
    refuse(system, *EVERY_MEANS)
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(200))
    assert [who for _, who, _ in got(system)] == ["desk", "desk"]
    assert len({channel for _, _, channel in got(system)}) == 2
    assert reached(system) == [(1, ""), (2, "last_resort")]


@scenario(lambda: last_resort("contact:alice", to="contact:bob via pager"))
async def test_a_last_resort_that_fails_too_is_tried_and_ends_there(system: Timeline) -> None:
    refuse(system, *EVERY_MEANS, "pager")
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(200))
    assert got(system) == []
    assert reached(system) == [(1, ""), (2, "last_resort")]
    assert {held.status for held in pages_of(system.incident())} == {NotificationStatus.FAILED}


@scenario(lambda: last_resort("contact:bob", NOT_FOR_CUSTOMERS))
async def test_a_last_level_that_names_nobody_is_no_reason_for_the_last_resort(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(200))
    assert got(system) == [(minutes(0), "bob", "pager")]
    assert reached(system) == [(1, ""), (2, "")]


@scenario(lambda: slow_levels("contact:alice"))
async def test_that_nobody_was_reached_is_written_though_no_last_resort_is_named(
    system: Timeline,
) -> None:
    refuse(system, *EVERY_MEANS)
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(200))
    assert reached(system) == [(1, ""), (2, "last_resort")]
    assert system.incident().levels[-1].targets == ()


@scenario(lambda: last_resort("contact:alice"))
async def test_whoever_is_the_last_resort_can_take_the_incident(system: Timeline) -> None:
    refuse(system, *EVERY_MEANS)
    system.at(minutes=0).push(OUTAGE)
    system.at(minutes=3).acknowledge(by="desk")
    await system.play(until=minutes(30))
    assert system.status() is Status.ACKNOWLEDGED
    heard = [
        one.channel
        for one in system.system.providers.arrivals
        if one.sending.purpose is Purpose.ACKNOWLEDGED
    ]
    assert sorted(heard) == ["desk", "pager"]


@scenario(
    lambda: last_resort(
        "contact:alice",
        severities=[{"name": "critical", "definition": "it may wait", "pages": False}, MINOR],
    )
)
async def test_what_does_not_page_never_reaches_for_the_last_resort(system: Timeline) -> None:
    refuse(system, *EVERY_MEANS)
    system.at(minutes=0).push(OUTAGE)
    await system.play(until=minutes(200))
    assert got(system) == []
    assert reached(system) == [(1, "")]


# What is stale, late, or too much.


@scenario(lambda: slow_levels("contact:bob"))
async def test_a_page_that_was_answered_while_its_provider_was_away_is_never_sent(
    system: Timeline,
) -> None:
    system.system.providers.fail("pager", minutes(3))
    system.at(minutes=0).push(OUTAGE)
    system.at(minutes=2).acknowledge(by="alice")
    await system.play(until=minutes(30))
    assert got(system) == []
    [held] = pages_of(system.incident())
    assert (held.status, held.reason) == (NotificationStatus.SUPERSEDED, "acknowledged")


@pytest.mark.parametrize("service", ["escalation-timer", "notifier"])
@scenario(lambda: slow_levels("contact:bob"))
async def test_a_page_of_an_outage_of_ours_says_by_how_much_it_is_late(
    system: Timeline, service: str
) -> None:
    async def hang() -> None:
        away(system, service, minutes(25))

    system.at(minutes=1).do(f"the {service} hangs", hang)
    system.at(minutes=2).push(OUTAGE)
    await system.play(until=minutes(40))
    [late] = system.system.providers.pages()
    assert late.sending.message.body.startswith("Sent 24m late.\n")


@pytest.mark.parametrize("service", ["escalation-timer", "notifier"])
@scenario(lambda: slow_levels("contact:bob"))
async def test_an_outage_of_ours_pages_nobody_for_what_was_answered_meanwhile(
    system: Timeline, service: str
) -> None:
    async def hang() -> None:
        away(system, service, minutes(25))

    system.at(minutes=1).do(f"the {service} hangs", hang)
    system.at(minutes=2).push(OUTAGE)
    system.at(minutes=5).resolve(by="bob")
    await system.play(until=minutes(40))
    assert got(system) == []


RAISED = [
    {"name": "critical", "definition": "customers notice"},
    {"name": "minor", "definition": "nobody notices"},
]


@scenario(
    lambda: a_shop(
        severities=RAISED,
        escalation={
            "critical": [{"number": 1, "after": "0m", "targets": ["contact:bob"]}],
            "minor": [{"number": 1, "after": "0m", "targets": ["contact:alice via chat"]}],
        },
    )
)
async def test_a_page_of_a_severity_that_was_raised_late_is_not_late(system: Timeline) -> None:
    system.at(minutes=0).push(an_alert("Slow", severity="minor", system="shop"))
    system.at(minutes=20).raise_to("critical", by="alice")
    await system.play(until=minutes(30))
    bodies = [one.sending.message.body for one in system.system.providers.pages()]
    assert len(bodies) == 2
    assert not any("late" in body for body in bodies)


def _with_manners(system: System, instance: Instance, policies: Policies) -> tuple[Handler, Runs]:
    instance.casebook = instance.casebook or Casebook(system.log)
    handler = Notifier(
        casebook=instance.casebook,
        policies=policies,
        publisher=system.publisher,
        clock=system.clock,
        channels=system.providers,
        gate=LocalGate(system.clock),
        instance=instance.name,
    )
    policies.on_change(handler.reconciler.policy_changed)
    return handler, (handler.run,)


MANNERS = [replace(one, build=_with_manners) if one.name == "notifier" else one for one in SERVICES]


def by_text() -> Policy:
    return a_shop(
        severities=RAISED,
        contacts={"alice": person("Alice", "text")},
        escalation={
            name: [{"number": 1, "after": "0m", "targets": ["contact:alice"]}]
            for name in ("critical", "minor")
        },
    )


@scenario(by_text, services=MANNERS)
async def test_a_burst_of_the_rest_does_not_hold_up_a_text_for_the_worst(
    system: Timeline,
) -> None:
    for number in range(20):
        noise = an_alert(f"Noise{number:02}", severity="minor", system="shop")
        system.at(minutes=0).push(noise)
    system.at(seconds=10).push(OUTAGE)
    await system.play(until=minutes(3))
    worst = [one for one in system.system.providers.pages() if one.sending.severity == "critical"]
    assert [one.at - system.start for one in worst] == [seconds(10)]


@scenario(by_text, services=MANNERS)
async def test_a_burst_is_capped_for_a_person_and_the_rest_is_one_message_that_lists_it(
    system: Timeline,
) -> None:
    for number in range(20):
        noise = an_alert(f"Noise{number:02}", severity="minor", system="shop")
        system.at(minutes=0).push(noise)
    await system.play(until=minutes(3))
    sent = [one.sending for one in system.system.providers.pages()]
    assert len(sent) == PERSON.burst + 1
    [bundle] = [one for one in sent if one.bundled]
    listed = [line for line in bundle.message.body.splitlines() if "Noise" in line]
    assert len(listed) == 20 - PERSON.burst


@scenario(
    lambda: a_shop(
        severities=RAISED,
        escalation={"minor": [{"number": 1, "after": "0m", "targets": ["contact:bob"]}]},
        last_resort=["contact:desk"],
    )
)
async def test_that_nobody_was_reached_is_of_the_worst_whatever_it_is_about_and_goes_by_others(
    system: Timeline,
) -> None:
    refuse(system, "pager")
    system.at(minutes=0).push(an_alert("Slow", severity="minor", system="shop"))
    await system.play(until=minutes(30))
    [page] = system.system.providers.pages()
    assert page.sending.severity_rank == 0
    assert [target.channels for target in system.incident().levels[-1].targets] == [("desk",)]
