"""Communication leads: updates reach everybody they are for, and who owes one is asked."""

from __future__ import annotations

from tocsin_contracts.incidents import Purpose
from tocsin_policy import Policy
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.timeline import Timeline, at, minutes, page, scenario, told

DOWN = an_alert(system="shop", severity="critical")


def a_talking_policy() -> Policy:
    """Updates go to a room and by mail, what is for everybody to the status page as well."""
    plain = a_policy().model_dump(mode="json", exclude_none=True)
    return a_policy(
        channels={
            **plain["channels"],
            "room": {"kind": "slack", "endpoint": "room"},
            "mail": {"kind": "email", "endpoint": "mail"},
            "status": {
                "kind": "statuspage",
                "endpoint": "status",
                "templates": {"update": "customers", "resolved": "customers_resolved"},
            },
        },
        announcements={
            "critical": {
                "opened": ["room"],
                "updates": ["room", "mail"],
                "public": ["status"],
                "resolved": ["room", "mail", "status"],
            }
        },
        roles={
            "communications_lead": {"name": "communications lead", "default": "contact:carol"},
            "incident_commander": {"name": "incident commander", "default": "contact:bob"},
        },
        templates={
            "update": {"subject": "inside: {{ text }}", "body": "next {{ next_update }}"},
            "initial_update": {"subject": "first: {{ text }}", "body": "we are on it"},
            "customers": {"subject": "{{ text }}", "body": "We are sorry. {{ text }}"},
            "resolved": {"subject": "over", "body": "{{ by }}: {{ text }} after {{ duration }}"},
            "customers_resolved": {"subject": "All is well", "body": "It is fixed."},
        },
    )


def heard(system: Timeline, purpose: Purpose) -> list[tuple[str, str]]:
    """(channel, subject) of what was told to channels."""
    return [
        (arrival.channel, arrival.sending.message.subject)
        for arrival in system.system.providers.arrivals
        if arrival.sending.purpose is purpose and arrival.sending.target is None
    ]


@scenario(a_talking_policy)
async def test_an_update_goes_where_its_severity_and_its_audience_say_in_their_own_words(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).acknowledge("alice")
    system.at(minutes=2).update("carol", "pods crash")
    system.at(minutes=3).update("carol", "we look into it", audience="public")
    system.at(minutes=4).resolve("alice")
    await system.play(until=minutes(6))
    assert sorted(heard(system, Purpose.UPDATE)) == [
        ("mail", "first: pods crash"),
        ("mail", "inside: we look into it"),
        ("room", "first: pods crash"),
        ("room", "inside: we look into it"),
        ("status", "we look into it"),
    ]
    assert sorted(heard(system, Purpose.RESOLVED)) == [
        ("mail", "over"),
        ("room", "over"),
        ("status", "All is well"),
    ]
    assert heard(system, Purpose.ACKNOWLEDGED) == [
        ("room", heard(system, Purpose.ACKNOWLEDGED)[0][1])
    ]


@scenario(a_talking_policy)
async def test_a_late_update_nags_its_lead_then_the_commander_too_and_no_more_once_posted(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).acknowledge("alice")
    system.at(minutes=18).acknowledge("alice")
    system.at(minutes=26).update("carol", "half of it is back")
    nag = told("communications lead", Purpose.REMINDER)
    system.want(at(minutes=0), page("alice"))
    system.want(at(minutes=10), nag)
    system.want(at(minutes=25), nag, told("incident commander", Purpose.REMINDER))
    system.at(minutes=20).mitigate("alice")
    await system.run(until=minutes(40))
