"""Repeats, levels that follow levels, office hours of one level, turns, and news that is owed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from escalation_timer.domain.deadlines import Kind, deadlines
from escalation_timer.domain.duty import owed
from tocsin_casebook.policies import InForce
from tocsin_contracts.incidents import (
    IncidentFact,
    LevelReached,
    ProposedStep,
    RemediationProposed,
    ReviewDue,
    StepOverdue,
    UpdateOverdue,
    UpdatePosted,
)
from tocsin_incident import IncidentState, Status, fold
from tocsin_policy import Policy, policy_hash
from tocsin_simulation.clock import EPOCH
from tocsin_testkit.builders import a_person, an_incident
from tocsin_testkit.policies import a_policy

MINUTE = timedelta(minutes=1)
FRIDAY_EVENING = datetime(2026, 3, 6, 18, tzinfo=UTC)
MONDAY_OPENING = datetime(2026, 3, 9, 9, tzinfo=UTC)
OFFICE = {"office": {"time_zone": "UTC"}}


def levels(*given: dict[str, Any]) -> dict[str, Any]:
    numbered = [{"number": place, **level} for place, level in enumerate(given, 1)]
    return {"critical": numbered}


def severity(**changes: Any) -> list[dict[str, Any]]:
    critical = {"name": "critical", "definition": "customers notice", "calendar": "office"}
    return [critical | changes, {"name": "minor", "definition": "nobody notices"}]


def told(
    policy: Policy, state: IncidentState, until: timedelta, kind: type[IncidentFact] = LevelReached
) -> list[tuple[int, Any]]:
    """(minute, fact) of what is told to whoever looks each minute and takes in what is due."""
    in_force = InForce(policy, policy_hash(policy))
    found: list[tuple[int, Any]] = []
    for minute in range(until // MINUTE + 1):
        for event in owed(state, in_force, state.opened_at + minute * MINUTE, 1).events:
            folded = fold(state, event)
            state = folded.state or state
            if folded.ignored is None and isinstance(event.fact, kind):
                found.append((minute, event.fact))
    return found


def an_open(*given: IncidentFact, at: datetime = EPOCH) -> IncidentState:
    return an_incident(*given, severity="critical", opened_at=at)


def people(fact: Any) -> list[str]:
    return [target.contact for target in fact.targets]


def test_a_level_is_told_again_until_its_repeats_are_over() -> None:
    policy = a_policy(
        escalation=levels(
            {"after": "0m", "targets": ["contact:alice"], "repeat": 2, "repeat_every": "5m"}
        )
    )
    got = told(policy, an_open(), 30 * MINUTE)
    assert [(minute, fact.level, fact.repeat) for minute, fact in got] == [
        (0, 1, 0),
        (5, 1, 1),
        (10, 1, 2),
    ]


def test_a_repeat_ends_when_the_next_level_is_reached() -> None:
    policy = a_policy(
        escalation=levels(
            {"after": "0m", "targets": ["contact:alice"], "repeat": 9, "repeat_every": "4m"},
            {"after": "6m", "targets": ["contact:bob"]},
        )
    )
    got = told(policy, an_open(), 20 * MINUTE)
    assert [(minute, people(fact)) for minute, fact in got] == [
        (0, ["alice"]),
        (4, ["alice"]),
        (6, ["bob"]),
    ]


def test_a_level_may_be_counted_from_the_one_before() -> None:
    policy = a_policy(
        escalation=levels(
            {"after": "2m", "targets": ["contact:alice"]},
            {"after": "7m", "counted_from": "last_level", "targets": ["contact:bob"]},
            {"after": "1m", "counted_from": "last_level", "targets": ["contact:carol"]},
        )
    )
    got = told(policy, an_open(), 20 * MINUTE)
    assert [(minute, people(fact)) for minute, fact in got] == [
        (2, ["alice"]),
        (9, ["bob"]),
        (10, ["carol"]),
    ]


def test_one_level_may_wait_for_the_next_business_day_and_says_how_long() -> None:
    policy = a_policy(
        severities=severity(),
        calendars=OFFICE,
        escalation=levels(
            {"after": "0m", "targets": ["contact:alice"]},
            {"after": "0m", "hours": "next_business_day", "targets": ["contact:bob"]},
        ),
    )
    [now, later] = deadlines(an_open(at=FRIDAY_EVENING), policy)
    assert (now.due_at, now.waited) == (FRIDAY_EVENING, timedelta())
    assert (later.due_at, later.waited) == (MONDAY_OPENING, MONDAY_OPENING - FRIDAY_EVENING)


def test_the_next_business_day_is_another_day_though_it_is_open_now() -> None:
    friday_noon = datetime(2026, 3, 6, 12, tzinfo=UTC)
    policy = a_policy(
        severities=severity(hours="next_business_day"),
        calendars=OFFICE,
        escalation=levels({"after": "0m", "targets": ["contact:alice"]}),
    )
    [first] = deadlines(an_open(at=friday_noon), policy)
    assert first.due_at == MONDAY_OPENING


def test_what_passed_together_tells_everybody_once() -> None:
    policy = a_policy()
    in_force = InForce(policy, policy_hash(policy))
    [event] = [
        event
        for event in owed(an_open(), in_force, EPOCH + 7 * MINUTE, 1).events
        if isinstance(event.fact, LevelReached)
    ]
    assert isinstance(event.fact, LevelReached)
    assert (event.fact.level, event.fact.skipped) == (2, (1,))
    assert people(event.fact) == ["alice", "bob"]


def test_a_severity_that_does_not_page_reaches_for_no_pager() -> None:
    policy = a_policy(
        severities=severity(pages=False),
        calendars=OFFICE,
        escalation=levels({"after": "0m", "targets": ["contact:alice"]}),
    )
    [(_, fact)] = told(policy, an_open(), MINUTE)
    assert [target.channels for target in fact.targets] == [("slack",)]


def test_a_team_in_turn_goes_to_the_next_at_each_repeat() -> None:
    policy = a_policy(
        teams={"all": {"name": "all", "members": ["alice", "bob", "carol"], "page": "in_turn"}},
        escalation=levels(
            {"after": "0m", "targets": ["team:all"], "repeat": 3, "repeat_every": "1m"}
        ),
    )
    turns = [people(fact) for _, fact in told(policy, an_open(), 5 * MINUTE)]
    assert [len(turn) for turn in turns] == [1, 1, 1, 1]
    assert turns[0] == turns[3]
    assert {turn[0] for turn in turns} == {"alice", "bob", "carol"}


def test_the_wait_of_a_group_puts_its_levels_off_but_not_an_urgent_ones() -> None:
    grouping = {
        "by": ["alertname"],
        "wait": "2m",
        "reopen_within": "30m",
        "auto_resolve_after": "5m",
    }
    policy = a_policy(grouping=grouping)
    due = [one.due_at for one in deadlines(an_open(), policy) if one.kind is Kind.LEVEL]
    assert due[0] == EPOCH + 2 * MINUTE
    urgent = an_open().model_copy(update={"urgent": True})
    assert deadlines(urgent, policy)[0].due_at == EPOCH


LEADS = {
    "incident_commander": {"name": "incident commander", "default": "contact:alice"},
    "communications_lead": {"name": "communications lead", "default": "contact:bob"},
}


def test_the_lead_is_reminded_first_and_who_commands_from_the_second_on() -> None:
    cadence = {"first_within": "5m", "every": "5m"}
    policy = a_policy(severities=severity(updates=cadence), calendars=OFFICE, roles=LEADS)
    got = told(policy, an_open(), 16 * MINUTE, UpdateOverdue)
    assert [(minute, people(fact)) for minute, fact in got] == [
        (5, ["bob"]),
        (10, ["bob", "alice"]),
        (15, ["bob", "alice"]),
    ]


def test_the_public_is_promised_news_of_its_own() -> None:
    cadence = {"first_within": "5m", "every": "30m"}
    policy = a_policy(severities=severity(public_updates=cadence), calendars=OFFICE, roles=LEADS)
    inside = UpdatePosted(by=a_person(), text="we look", audience="internal")
    got = told(policy, an_open(inside), 10 * MINUTE, UpdateOverdue)
    assert [(minute, fact.audience) for minute, fact in got] == [(5, "public")]
    outside = UpdatePosted(by=a_person(), text="we look", audience="public")
    assert told(policy, an_open(outside), 10 * MINUTE, UpdateOverdue) == []


def test_nobody_owes_news_before_anybody_was_told() -> None:
    cadence = {"first_within": "5m", "every": "30m"}
    policy = a_policy(
        severities=severity(updates=cadence, hours="business_hours"), calendars=OFFICE
    )
    due = {one.kind: one.due_at for one in deadlines(an_open(at=FRIDAY_EVENING), policy)}
    assert due[Kind.UPDATE] == MONDAY_OPENING + 5 * MINUTE


def test_what_is_due_at_closing_time_is_due_then() -> None:
    policy = a_policy(
        severities=severity(response_target="8h", hours="next_business_day"), calendars=OFFICE
    )
    due = {one.kind: one.due_at for one in deadlines(an_open(at=FRIDAY_EVENING), policy)}
    assert due[Kind.RESPONSE_TARGET] == MONDAY_OPENING + timedelta(hours=8)


def test_a_step_that_is_not_done_in_its_time_is_overdue_once() -> None:
    playbooks = {
        "outage": {
            "title": "Outage",
            "steps": [
                {
                    "id": "look",
                    "title": "Look",
                    "runner": "manual",
                    "risk": "read",
                    "approval": "one",
                    "timeout": "30s",
                    "within": "2m",
                }
            ],
        }
    }
    policy = a_policy(playbooks=playbooks, roles=LEADS)
    step = ProposedStep(
        step="look", title="Look", runner="manual", risk="read", approval="one", call="Look"
    )
    proposed = RemediationProposed(
        remediation="r", playbook="outage", generation=1, steps=(step,), reason="it fits"
    )
    got = told(policy, an_open(proposed), 10 * MINUTE, StepOverdue)
    assert [(minute, fact.step, people(fact)) for minute, fact in got] == [(2, "look", ["alice"])]


def test_a_review_counted_in_business_days_is_due_when_the_last_of_them_ends() -> None:
    policy = a_policy(
        severities=severity(
            review={"business_days": 3, "attendees": ["contact:bob", "contact:carol"]}
        ),
        calendars=OFFICE,
    )
    resolved = an_open(at=FRIDAY_EVENING).model_copy(
        update={"status": Status.RESOLVED, "resolved_at": FRIDAY_EVENING}
    )
    wednesday_close = MONDAY_OPENING + timedelta(days=2, hours=8)
    [due] = deadlines(resolved, policy)
    assert (due.kind, due.due_at) == (Kind.REVIEW, wednesday_close)
    in_force = InForce(policy, policy_hash(policy))
    [event] = owed(resolved, in_force, wednesday_close, 1).events
    assert isinstance(event.fact, ReviewDue)
    assert people(event.fact) == ["bob", "carol"]
