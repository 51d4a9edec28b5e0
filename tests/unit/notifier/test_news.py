"""News of alerts that joined, the first update's own words, and a channel's own templates."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from notifier.domain.wanted import Wanted, wanted
from notifier.domain.wording import message_for, names_of
from tocsin_contracts.incidents import (
    Acknowledged,
    AlertsAttached,
    Purpose,
    Target,
    UpdatePosted,
)
from tocsin_incident import IncidentState
from tocsin_incident.state import Level
from tocsin_policy import Policy
from tocsin_simulation.clock import EPOCH
from tocsin_testkit.builders import a_person, an_incident
from tocsin_testkit.policies import a_policy

MINUTE = timedelta(minutes=1)


def a_loud_policy(**changes: Any) -> Policy:
    channels = {
        "pagerduty": {"kind": "pagerduty", "endpoint": "pagerduty"},
        "slack": {"kind": "slack", "endpoint": "slack"},
        "page": {
            "kind": "statuspage",
            "endpoint": "page",
            "templates": {"update": "outside", "initial_update": "first-outside"},
        },
    }
    given: dict[str, Any] = {
        "channels": channels,
        "announcements": {"critical": {"updates": ["slack"], "public": ["page"]}},
        "templates": {
            "initial_update": {"subject": "first: {{ text }}", "body": "b"},
            "update": {"subject": "again: {{ text }}", "body": "b"},
            "joined": {"subject": "{{ firing }} fire", "body": "b"},
            "outside": {"subject": "outside: {{ text }}", "body": "b"},
            "first-outside": {"subject": "first outside: {{ text }}", "body": "b"},
        },
        "grouping": {
            "by": ["alertname"],
            "interval": "5m",
            "reopen_within": "30m",
            "auto_resolve_after": "5m",
        },
    }
    return a_policy(**given | changes)


def told(state: IncidentState, policy: Policy) -> list[tuple[str, str]]:
    """(channel, subject) of the updates a state calls for."""
    return [
        (want.channel, message_for(state, policy, want, EPOCH).subject)
        for want in wanted(state, policy, EPOCH)
        if want.purpose is Purpose.UPDATE
    ]


def joining(number: int) -> AlertsAttached:
    alert = {
        "fingerprint": f"{number:016x}",
        "starts_at": EPOCH,
        "name": "Down",
        "labels": {"alertname": "Down"},
    }
    return AlertsAttached(alerts=(alert,))  # type: ignore[arg-type]


def test_the_first_update_has_words_of_its_own() -> None:
    policy = a_loud_policy()
    first = an_incident(UpdatePosted(by=a_person(), text="we look"), severity="critical")
    assert told(first, policy) == [("slack", "first: we look")]
    two = (UpdatePosted(by=a_person(), text=text) for text in ("we look", "we fix"))
    assert told(an_incident(*two, severity="critical"), policy) == [("slack", "again: we fix")]


def test_outsiders_hear_what_is_meant_for_them_in_their_words() -> None:
    policy = a_loud_policy()
    inside = UpdatePosted(by=a_person(), text="pods crash")
    outside = UpdatePosted(by=a_person(), text="we look", audience="public")
    state = an_incident(outside, inside, severity="critical")
    assert told(state, policy) == [
        ("slack", "again: pods crash"),
        ("page", "first outside: we look"),
    ]


def test_alerts_that_join_are_told_of_once_an_interval() -> None:
    policy = a_loud_policy()
    state = an_incident(joining(1), severity="critical")
    assert state.joined_at is not None
    [(channel, subject)] = told(state, policy)
    assert (channel, subject) == ("slack", f"{state.firing} fire")
    more = state.model_copy(update={"joined_at": state.opened_at + 4 * MINUTE})
    later = state.model_copy(update={"joined_at": state.opened_at + 5 * MINUTE})

    def ids(one: IncidentState) -> set[str]:
        return {want.notification for want in wanted(one, policy, EPOCH)}

    assert ids(state) == ids(more)
    assert ids(state) != ids(later)


def test_without_an_interval_nobody_hears_of_alerts_that_join() -> None:
    quiet = {"by": ["alertname"], "reopen_within": "30m", "auto_resolve_after": "5m"}
    state = an_incident(joining(1), severity="critical")
    assert told(state, a_loud_policy(grouping=quiet)) == []


def test_channel_and_ticket_are_called_as_the_policy_says() -> None:
    naming = {
        "channel": "incident-{{ opened_date }}-{{ opened_time }}",
        "ticket": "[{{ severity }}] {{ title }}",
    }
    state = an_incident(severity="critical", opened_at=EPOCH)
    assert names_of(state, a_loud_policy(naming=naming)) == (
        f"incident-{EPOCH:%Y-%m-%d-%H%M}",
        f"[critical] {state.title}",
    )


def taken_in(state: IncidentState, policy: Policy) -> list[str]:
    """Channels that hear, beside the people who were paged, that somebody has it."""
    return [
        want.channel
        for want in wanted(state, policy, EPOCH)
        if want.purpose is Purpose.ACKNOWLEDGED and want.target is None
    ]


def test_a_room_that_was_told_of_it_sees_who_has_it_however_they_answered() -> None:
    policy = a_loud_policy(announcements={"critical": {"opened": ["slack", "page"]}})
    taken = an_incident(Acknowledged(by=a_person()), severity="critical")
    assert taken_in(taken, policy) == ["slack"]
    assert taken_in(an_incident(severity="critical"), policy) == []
    mild = an_incident(Acknowledged(by=a_person()), severity="minor")
    assert taken_in(mild, policy) == []


def test_the_last_resort_is_told_in_its_own_words_whatever_the_policy_says_of_pages() -> None:
    policy = a_policy(templates={"page": {"subject": "short", "body": "short"}})
    state = an_incident(severity="critical", opened_at=EPOCH)
    desk = Target(contact="bob", name="Bob", role="", via="contact:bob", channels=("pagerduty",))
    level = Level(
        level=4,
        generation=1,
        severity="critical",
        due_at=EPOCH,
        reached_at=EPOCH,
        targets=(desk,),
        reason="last_resort",
        event="a",
    )
    want = Wanted("n", Purpose.PAGE, "pagerduty", "k", target=desk, level=level)
    message = message_for(state, policy, want, EPOCH)
    assert message.subject.startswith("[critical] NOBODY COULD BE REACHED about [critical] ")
    assert "Bob, you are the last resort" in message.body
