"""An incident as it was at an instant: known, happened, due, out, on call, and because of what."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta

import pytest

from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Fact
from tocsin_contracts.incidents import Purpose
from tocsin_incident import state_bytes
from tocsin_policy import policy_hash
from tocsin_replay import (
    Moment,
    Recorded,
    Version,
    chain,
    differences,
    first_difference,
    known_at,
    moment_after,
    moment_at,
    state_hash,
    state_of,
)
from tocsin_runtime.records import Position
from tocsin_simulation.clock import EPOCH
from tocsin_testkit.builders import (
    AN_INCIDENT_ID,
    a_message,
    a_person,
    a_target,
    an_event,
    an_opening,
)
from tocsin_testkit.policies import a_policy

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def _version() -> Version:
    policy = a_policy("mpc-transformer")
    return Version(policy, policy_hash(policy), Position("policies", 0, 0), EPOCH - MINUTE)


def _recorded(*happened: tuple[int, Fact, timedelta]) -> tuple[Recorded, ...]:
    """Facts at minutes after the start, each in the log so much later."""
    return tuple(
        Recorded(
            an_event(fact, at=EPOCH + minutes * MINUTE),
            Position("incidents", 0, 100 + index),
            EPOCH + minutes * MINUTE + later,
        )
        for index, (minutes, fact, later) in enumerate(happened)
    )


def _level(number: int) -> Fact:
    return facts.LevelReached(
        level=number,
        generation=1,
        severity="critical",
        due_at=EPOCH,
        targets=(a_target(),),
    )


def _page() -> list[Fact]:
    return [
        facts.NotificationRequested(
            notification="page-1",
            purpose=Purpose.PAGE,
            generation=1,
            level=1,
            target=a_target(),
            channel="pagerduty",
            kind="pagerduty",
            provider_key="key",
            message=a_message(),
        ),
        facts.NotificationAttempted(notification="page-1", attempt=1, instance="n-0"),
        facts.NotificationDelivered(notification="page-1", attempt=1),
    ]


RECORDED = _recorded(
    (0, an_opening(severity="critical"), SECOND),
    (0, _level(1), SECOND),
    *((0, fact, SECOND) for fact in _page()),
    (2, facts.Acknowledged(by=a_person()), MINUTE),  # the door could not write for a minute
)


def _at(minutes: float, recorded: Sequence[Recorded] = RECORDED) -> Moment:
    return moment_at(recorded, [_version()], AN_INCIDENT_ID, EPOCH + minutes * MINUTE)


def test_what_had_happened_and_was_not_in_the_log_yet_is_told_apart() -> None:
    moment = _at(2.5)
    assert moment.known is not None
    assert moment.happened is not None
    assert (moment.known["status"], moment.happened["status"]) == ("open", "acknowledged")
    assert [fact.type for fact in moment.unheard] == ["tocsin.incidents.acknowledged.v1"]
    assert "status" in differences(moment)
    assert _at(3).unheard == ()


def test_before_it_opened_nothing_is_known() -> None:
    moment = _at(-1)
    assert (moment.known, moment.offset, moment.deadlines) == (None, None, ())


def test_a_deadline_names_the_fact_since_which_it_was_due() -> None:
    due = {(pending.kind, pending.level): pending for pending in _at(1).deadlines}
    assert due["level", 2].due_at == EPOCH + 5 * MINUTE
    assert due["level", 2].left == 4 * MINUTE
    assert due["level", 2].because is not None
    assert due["level", 2].because.offset == 100
    assert ("level", 1) not in due
    assert ("acknowledgement", None) not in due


def test_an_acknowledgement_takes_the_levels_away_and_brings_its_own_deadline() -> None:
    due = {pending.kind: pending for pending in _at(3).deadlines}
    assert "level" not in due
    assert due["acknowledgement"].due_at == EPOCH + 22 * MINUTE
    assert due["acknowledgement"].because is not None
    assert due["acknowledgement"].because.type == "tocsin.incidents.acknowledged.v1"


@pytest.mark.parametrize(
    ("offset", "status", "out"),
    [(102, "requested", True), (103, "attempted", True), (104, "delivered", False)],
)
def test_a_page_is_out_until_its_outcome_is_in_the_log(
    offset: int, status: str, *, out: bool
) -> None:
    (page,) = moment_after(RECORDED, [_version()], AN_INCIDENT_ID, offset).messages
    assert (page.status, page.out) == (status, out)
    assert page.because is not None
    assert page.because.offset == offset


def test_who_was_on_call_is_said_with_the_reason() -> None:
    (primary,) = _at(1).on_call
    assert (primary.what, primary.name) == ("schedule primary", "Alice")
    assert "rotation" in primary.why


def test_every_part_of_the_state_names_the_fact_that_made_it_so() -> None:
    because = _at(3).because
    assert because["status"].offset == 105
    assert because["level"].offset == 101
    assert because["severity"].offset == 100


def test_there_is_no_state_before_the_first_offset() -> None:
    with pytest.raises(LookupError):
        moment_after(RECORDED, [], AN_INCIDENT_ID, 99)


def test_a_clock_that_steps_back_leaves_no_hole_in_what_was_known() -> None:
    stepped = _recorded(
        (0, an_opening(severity="critical"), SECOND),
        (9, facts.NoteAdded(by=a_person(), text="late by its clock"), SECOND),
        (1, facts.Acknowledged(by=a_person()), SECOND),
    )
    assert known_at(stepped, EPOCH + 2 * MINUTE) == list(stepped)


def test_a_divergence_points_to_its_first_event() -> None:
    other = (*RECORDED[:3], *RECORDED[4:])
    parted = first_difference(chain(RECORDED), chain(other))
    assert parted is not None
    assert parted.offset == RECORDED[3].position.offset
    assert first_difference(chain(RECORDED), chain(RECORDED)) is None


def test_the_hash_of_a_state_is_the_same_on_every_machine() -> None:
    program = (
        "from tocsin_incident import *; from tocsin_replay import state_hash; import sys;"
        "print(state_hash(IncidentState.model_validate_json(sys.stdin.read())))"
    )
    state = state_of(RECORDED)
    assert state is not None
    document = state_bytes(state).decode()
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            input=document,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "77")
    }
    assert hashes == {state_hash(state)}
