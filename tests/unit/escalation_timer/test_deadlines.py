"""What is due when, to the minute, and that looking more often tells nobody more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from escalation_timer.domain.deadlines import Kind, deadlines
from escalation_timer.domain.duty import owed
from tocsin_casebook.policies import InForce
from tocsin_contracts.ids import incident_id
from tocsin_contracts.incidents import Acknowledged, LevelReached, ResponseTargetMissed
from tocsin_incident import IncidentState, fold
from tocsin_policy import policy_hash
from tocsin_simulation.clock import EPOCH
from tocsin_testkit.builders import a_person, an_incident
from tocsin_testkit.policies import a_policy

SHOP = incident_id("shop", "a test")
POLICY = a_policy()
IN_FORCE = InForce(POLICY, policy_hash(POLICY))
MINUTE = timedelta(minutes=1)
FRIDAY_EVENING = datetime(2026, 3, 6, 18, tzinfo=UTC)
MONDAY_OPENING = datetime(2026, 3, 9, 9, tzinfo=UTC)


def an_open(at: datetime = EPOCH) -> IncidentState:
    return an_incident(incident=SHOP, severity="critical", opened_at=at)


def levels(state: IncidentState, at: datetime, in_force: InForce = IN_FORCE) -> list[LevelReached]:
    events = owed(state, in_force, at, 1).events
    return [event.fact for event in events if isinstance(event.fact, LevelReached)]


def seen_at(state: IncidentState, minutes: list[int]) -> tuple[IncidentState, list[LevelReached]]:
    """What is told when somebody looks at these minutes and takes in what is then due."""
    told: list[LevelReached] = []
    for minute in minutes:
        for event in owed(state, IN_FORCE, EPOCH + minute * MINUTE, 1).events:
            folded = fold(state, event)
            if folded.ignored is None and isinstance(event.fact, LevelReached):
                told.append(event.fact)
            state = folded.state or state
    return state, told


def business_hours() -> InForce:
    document = a_policy().model_dump(mode="json")
    severities = document["severities"]
    severities[0] |= {"hours": "business_hours", "calendar": "office", "updates": None}
    policy = a_policy(severities=severities, calendars={"office": {"time_zone": "UTC"}})
    return InForce(policy, policy_hash(policy))


def test_a_level_is_reached_at_its_minute_and_not_before() -> None:
    state, _ = seen_at(an_open(), [0])
    assert levels(state, EPOCH + 5 * MINUTE - timedelta(microseconds=1)) == []
    [reached] = levels(state, EPOCH + 5 * MINUTE)
    assert (reached.level, reached.due_at, reached.skipped) == (2, EPOCH + 5 * MINUTE, ())


def test_levels_missed_together_are_told_once_as_the_highest() -> None:
    _, told = seen_at(an_open(), [60, 61])
    assert [(fact.level, fact.skipped) for fact in told] == [(3, (1, 2))]


def test_an_acknowledged_incident_reaches_no_level_until_the_acknowledgement_expires() -> None:
    state = an_incident(Acknowledged(by=a_person()), incident=SHOP, severity="critical")
    due = {deadline.kind: deadline.due_at for deadline in deadlines(state, POLICY)}
    assert Kind.LEVEL not in due
    assert Kind.RESPONSE_TARGET not in due
    assert due[Kind.ACKNOWLEDGEMENT] == EPOCH + 21 * MINUTE


def test_a_response_target_is_missed_once() -> None:
    state, _ = seen_at(an_open(), [3])
    events = owed(state, IN_FORCE, EPOCH + 4 * MINUTE, 1).events
    assert not [event for event in events if isinstance(event.fact, ResponseTargetMissed)]


def test_outside_business_hours_a_response_target_is_counted_from_the_opening() -> None:
    in_force = business_hours()
    state = an_open(FRIDAY_EVENING)
    due = {deadline.kind: deadline.due_at for deadline in deadlines(state, in_force.policy)}
    assert due[Kind.RESPONSE_TARGET] == MONDAY_OPENING + 3 * MINUTE
    [first] = levels(state, MONDAY_OPENING, in_force)
    assert first.level == 1
    events = owed(state, in_force, MONDAY_OPENING + 3 * MINUTE, 1).events
    [missed] = [e.fact for e in events if isinstance(e.fact, ResponseTargetMissed)]
    assert missed.target == 3 * MINUTE


@given(st.lists(st.integers(0, 30)))
def test_who_has_been_told_or_skipped_does_not_depend_on_how_often_we_looked(
    looks: list[int],
) -> None:
    state, told = seen_at(an_open(), [*sorted(looks), 30])
    numbers = [number for fact in told for number in (*fact.skipped, fact.level)]
    assert numbers == [1, 2, 3]
    assert state.level == 3
