"""The life of an incident: what leads where, what is ignored and why, and what always holds."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Event, Fact, Person
from tocsin_contracts.ids import derive, incident_id
from tocsin_contracts.incidents import IncidentFact
from tocsin_contracts.registry import FACTS
from tocsin_incident import TABLE, Book, IncidentState, Reason, Status, diagram, explain, fold, step
from tocsin_incident.folding import _APPLY
from tocsin_incident.state import StepStatus, state_bytes
from tocsin_testkit.examples import example

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
INCIDENT = incident_id("mpc-transformer", "test")
ALICE = Person(name="alice")
BOB = Person(name="bob")
TARGET = facts.Target(
    contact="alice", name="Alice", role="team lead", via="contact:alice", channels=("slack",)
)
ALERT = facts.Alert(
    fingerprint="95299025236b9f56", starts_at=NOW, name="Down", labels={"alertname": "Down"}
)
CLEARED = facts.Cleared(fingerprint=ALERT.fingerprint, starts_at=NOW, ended_at=NOW)
STEP = facts.ProposedStep(
    step="look", title="Look", runner="http", risk="read", approval="one", call="GET health/"
)
KINDS: list[type[IncidentFact]] = [
    fact for fact in FACTS.values() if issubclass(fact, IncidentFact)
]


def opened(**changes: Any) -> facts.Opened:
    return facts.Opened(
        system="mpc-transformer",
        title="Down",
        severity="P1",
        rule="a rule",
        reason="it fits",
        group_key="Down",
        alerts=(ALERT,),
    ).model_copy(update=changes)


def event(fact: IncidentFact, number: int = 0, minutes: float = 0) -> Event[Fact]:
    return Event(
        id=derive("test", fact.TYPE, str(number)),
        source="tocsin/test",
        subject=INCIDENT,
        key="mpc-transformer",
        occurred_at=NOW + timedelta(minutes=minutes),
        fact=fact,
    )


def after(*all_facts: IncidentFact) -> tuple[IncidentState, Reason | None]:
    """The state after these facts, and why the last was ignored, if it was."""
    state: IncidentState | None = None
    ignored = None
    for number, fact in enumerate(all_facts):
        state, ignored = fold(state, event(fact, number, number))
    assert state is not None
    return state, ignored


def level(number: int = 1, generation: int = 1, severity: str = "P1") -> facts.LevelReached:
    return facts.LevelReached(
        level=number, generation=generation, severity=severity, due_at=NOW, targets=(TARGET,)
    )


ESCALATE = facts.EscalationRequested(by=BOB, reason="nobody knows the database")
HANDED = facts.HandedOver(contact="bob", by=ALICE)
MUTE = facts.PagesMuted(by=ALICE, lasts=timedelta(hours=1))
ACK = facts.Acknowledged(by=ALICE)
RESOLVED = facts.Resolved(by=ALICE)
EXPIRED = facts.AcknowledgementExpired(generation=1, due_at=NOW)
REOPENED = facts.Reopened(generation=2, reason="it is back")
PROPOSED = facts.RemediationProposed(
    remediation="r", playbook="p", generation=1, steps=(STEP,), reason="it fits"
)
STARTED = facts.RemediationStarted(remediation="r", step="look", instance="me")
EVIDENCE = example(facts.Evidence)
FINISHED = facts.RemediationStepFinished(
    remediation="r", step="look", succeeded=True, reason="as_expected", evidence=EVIDENCE
)


@pytest.mark.parametrize(
    ("story", "status"),
    [
        ((ACK,), Status.ACKNOWLEDGED),
        ((ACK, EXPIRED), Status.OPEN),
        ((facts.Mitigated(by=ALICE),), Status.MITIGATED),
        ((ACK, facts.Mitigated(by=ALICE)), Status.MITIGATED),
        ((RESOLVED,), Status.RESOLVED),
        ((ACK, RESOLVED), Status.RESOLVED),
        (
            (
                facts.AlertsCleared(alerts=(CLEARED,)),
                facts.AutoResolved(generation=1, reason="clear", due_at=NOW),
            ),
            Status.RESOLVED,
        ),
        ((RESOLVED, REOPENED), Status.OPEN),
        ((RESOLVED, facts.Reviewed(by=ALICE)), Status.REVIEWED),
        ((RESOLVED, facts.Reviewed(by=ALICE), REOPENED), Status.OPEN),
        ((RESOLVED, facts.Closed(by=ALICE)), Status.CLOSED),
        ((RESOLVED, facts.Reviewed(by=ALICE), facts.Closed(by=ALICE)), Status.CLOSED),
        ((facts.Merged(into="mpc-transformer-0000000000"),), Status.MERGED),
        ((ACK, ESCALATE), Status.OPEN),
        ((ACK, HANDED), Status.OPEN),
    ],
)
def test_each_move_of_a_life(story: tuple[IncidentFact, ...], status: Status) -> None:
    state, ignored = after(opened(), *story)
    assert (state.status, ignored) == (status, None)


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        ((opened(),), Reason.ALREADY_OPEN),
        ((ACK, facts.Acknowledged(by=BOB)), Reason.ACKNOWLEDGED),
        ((ACK, level()), Reason.ACKNOWLEDGED),
        ((level(2), level(1)), Reason.LEVEL_PASSED),
        ((level(1, generation=2),), Reason.OTHER_GENERATION),
        ((level(1, severity="P0"),), Reason.OTHER_SEVERITY),
        ((EXPIRED,), Reason.NOT_ACKNOWLEDGED),
        ((RESOLVED, ACK), Reason.RESOLVED),
        ((RESOLVED, facts.Closed(by=ALICE), REOPENED), Reason.CLOSED),
        ((facts.Merged(into="x"), ACK), Reason.MERGED),
        ((REOPENED,), Reason.NOT_RESOLVED),
        ((RESOLVED, ESCALATE), Reason.RESOLVED),
        ((facts.Mitigated(by=ALICE), HANDED), Reason.MITIGATED),
        ((facts.UnmuteRequested(by=ALICE),), Reason.NOT_MUTED),
        ((facts.MuteEnded(due_at=NOW + timedelta(hours=1)),), Reason.NOT_MUTED),
        ((MUTE, facts.MuteEnded(due_at=NOW + timedelta(minutes=60))), Reason.PAGES_MUTED),
        ((MUTE, level()), Reason.PAGES_MUTED),
        ((facts.Closed(by=ALICE),), Reason.NOT_RESOLVED),
        ((facts.AutoResolved(generation=1, reason="clear", due_at=NOW),), Reason.ALERTS_FIRING),
        ((facts.AlertsAttached(alerts=(ALERT,)),), Reason.NOTHING_NEW),
        ((RESOLVED, facts.Reviewed(by=ALICE), ACK), Reason.REVIEWED),
        ((facts.Mitigated(by=ALICE), ACK), Reason.MITIGATED),
        (
            (facts.NotificationAttempted(notification="n", attempt=1, instance="i"),),
            Reason.UNKNOWN_NOTIFICATION,
        ),
        ((STARTED,), Reason.UNKNOWN_REMEDIATION),
        ((PROPOSED, STARTED, STARTED.model_copy(update={"instance": "you"})), Reason.STEP_PASSED),
        (
            (PROPOSED, facts.RemediationRejected(remediation="r", by=ALICE), STARTED),
            Reason.REJECTED,
        ),
    ],
)
def test_what_no_longer_applies_is_ignored_with_its_reason(
    story: tuple[IncidentFact, ...], reason: Reason
) -> None:
    before, _ = after(opened(), *story[:-1])
    state, ignored = after(opened(), *story)
    assert ignored is reason
    assert state.model_copy(update={"seen": before.seen}) == before


def test_a_fact_about_an_incident_nobody_opened_makes_none() -> None:
    assert fold(None, event(ACK)) == (None, Reason.UNKNOWN_INCIDENT)


def test_an_acknowledgement_that_comes_first_in_the_log_stops_the_level() -> None:
    state, ignored = after(opened(), ACK, level())
    assert ignored is Reason.ACKNOWLEDGED
    assert state.levels == ()


def test_a_level_that_comes_first_in_the_log_stands_and_the_acknowledgement_too() -> None:
    state, ignored = after(opened(), level(), ACK)
    assert ignored is None
    assert [reached.level for reached in state.levels] == [1]
    assert state.status is Status.ACKNOWLEDGED


def test_an_expired_acknowledgement_starts_the_escalation_again() -> None:
    state, _ = after(opened(), level(2), ACK, EXPIRED)
    assert (state.generation, state.level, state.acknowledged_by) == (2, 0, None)
    assert state.escalation_from == NOW + timedelta(minutes=3)
    assert state.first_acknowledged_at == NOW + timedelta(minutes=2)


def test_a_request_for_more_people_keeps_the_level_and_is_over_once_it_is_met() -> None:
    state, _ = after(opened(), level(1), ACK, ESCALATE)
    assert (state.generation, state.level, state.acknowledged_by) == (2, 1, None)
    assert state.escalation is not None
    assert state.escalation.by == BOB
    state, ignored = after(opened(), level(1), ACK, ESCALATE, level(2, generation=2))
    assert ignored is None
    assert state.escalation is None


def test_whoever_takes_it_ends_a_request_for_more_people() -> None:
    state, _ = after(opened(), level(1), ESCALATE, ACK)
    assert (state.status, state.escalation) == (Status.ACKNOWLEDGED, None)


def test_what_was_for_whoever_had_it_is_for_whom_it_was_handed_to() -> None:
    lead = facts.RoleAssigned(role="communications_lead", contact="alice", by=ALICE)
    other = facts.RoleAssigned(role="technical_lead", contact="carol", by=ALICE)
    state, _ = after(opened(), lead, other, ACK, HANDED)
    assert state.handed_to == "bob"
    assert state.roles == {
        "communications_lead": "bob",
        "technical_lead": "carol",
        "incident_commander": "bob",
    }


def test_a_mute_ends_with_a_new_escalation_unless_somebody_has_answered() -> None:
    over = facts.MuteEnded(due_at=NOW + timedelta(minutes=62))
    state, ignored = after(opened(), level(2), MUTE, over)
    assert (ignored, state.generation, state.level, state.muted_until) == (None, 2, 0, None)
    state, ignored = after(opened(), ACK, MUTE, over)
    assert (ignored, state.generation, state.status) == (None, 1, Status.ACKNOWLEDGED)


def test_the_newest_mute_counts_and_an_earlier_end_is_ignored() -> None:
    state, ignored = after(opened(), MUTE, MUTE, facts.MuteEnded(due_at=NOW + timedelta(hours=1)))
    assert ignored is Reason.PAGES_MUTED
    assert state.muted_until == NOW + timedelta(minutes=62)


def test_a_severity_that_rises_ends_a_mute_of_what_was_milder() -> None:
    raised = facts.SeverityRaised(
        severity_from="P1", severity_to="P0", rule="another", reason="worse"
    )
    state, _ = after(opened(), MUTE, raised)
    assert state.muted_until is None


def test_a_raised_severity_starts_its_levels_again() -> None:
    raised = facts.SeverityRaised(
        severity_from="P1", severity_to="P0", rule="another", reason="worse"
    )
    state, ignored = after(opened(), level(2), raised, level(1, severity="P0"))
    assert ignored is None
    assert (state.severity, state.level, len(state.levels)) == ("P0", 1, 2)


def test_alerts_that_come_for_a_resolved_incident_are_kept_for_the_classifier() -> None:
    late = ALERT.model_copy(update={"fingerprint": "0" * 16})
    state, ignored = after(opened(), RESOLVED, facts.AlertsAttached(alerts=(late,)))
    assert ignored is Reason.RESOLVED
    assert state.unattached == (late,)


def test_a_step_runs_its_course() -> None:
    state, ignored = after(opened(), PROPOSED, STARTED, FINISHED)
    [held] = state.remediations["r"].steps
    assert ignored is None
    assert (held.status, held.started_by) == (StepStatus.FINISHED, "me")


def test_two_approvals_of_one_person_are_one() -> None:
    approved = facts.RemediationApproved(remediation="r", step="look", by=ALICE)
    state, ignored = after(opened(), PROPOSED, approved, approved)
    assert ignored is Reason.NOTHING_NEW
    assert state.remediations["r"].steps[0].approved_by == (ALICE,)


def test_every_kind_of_fact_has_a_row_and_a_rule() -> None:
    rest = set(KINDS) - {facts.Opened}
    assert {kind for _, kind in TABLE} == rest
    assert set(_APPLY) == rest


def test_the_diagram_shows_every_move() -> None:
    drawn = diagram()
    for (status, kind), to in TABLE.items():
        if to is not status:
            assert f"{status} --> {to}: {kind.__name__}" in drawn


def test_an_explanation_names_the_rule_and_who_was_told() -> None:
    state, _ = after(opened(), level())
    words = "\n".join(explain(state))
    assert "a rule" in words
    assert "Alice (team lead)" in words
    assert "Nobody has acknowledged it." in words


def variants(kind: type[IncidentFact]) -> list[IncidentFact]:
    """A fact of a kind with the few values that make a difference to the fold."""
    made: list[IncidentFact] = []
    base = example(kind)
    for generation in (1, 2):
        for number in (1, 2):
            update: dict[str, Any] = {
                name: value
                for name, value in {
                    "generation": generation,
                    "level": number,
                    "attempt": number,
                    "number": number,
                    "severity": f"P{number - 1}",
                    "severity_from": f"P{number - 1}",
                    "severity_to": f"P{2 - number}",
                    "remediation": "r",
                    "step": "look",
                    "notification": "n",
                    "steps": (STEP,),
                    "retry_at": None if number == 1 else NOW,
                }.items()
                if name in kind.model_fields
            }
            if kind is facts.Reopened:
                update["generation"] = generation + 1
            if kind is facts.AlertsAttached:
                update["alerts"] = (
                    ALERT,
                    ALERT.model_copy(update={"fingerprint": f"{number:016x}"}),
                )
            if kind is facts.AlertsCleared:
                update["alerts"] = (CLEARED,)
            made.append(base.model_copy(update=update))
    return made


ANY_FACT = st.sampled_from([fact for kind in KINDS for fact in variants(kind)])
EVENTS = st.lists(st.tuples(ANY_FACT, st.integers(0, 40), st.integers(0, 300)), max_size=40).map(
    lambda made: [event(opened(), 99), *(event(*one) for one in made)]
)


def folded(events: list[Event[Fact]]) -> IncidentState:
    state: IncidentState | None = None
    for one in events:
        state = fold(state, one).state
    assert state is not None
    return state


@given(EVENTS)
def test_no_sequence_of_facts_leaves_the_table(events: list[Event[Fact]]) -> None:
    state: IncidentState | None = None
    for one in events:
        before = state
        state, ignored = fold(state, one)
        assert state is not None
        if before is None:
            continue
        assert isinstance(one.fact, IncidentFact)
        if ignored is None:
            assert step(before.status, type(one.fact)) is state.status
        else:
            assert state.status is before.status


@given(EVENTS, st.integers(0, 41))
def test_repeating_any_prefix_changes_nothing(events: list[Event[Fact]], length: int) -> None:
    prefix = events[:length]
    assert state_bytes(folded(prefix + prefix + events[length:] if prefix else events)) == (
        state_bytes(folded(events))
    )


@given(EVENTS)
def test_folding_twice_is_folding_once(events: list[Event[Fact]]) -> None:
    assert state_bytes(folded(events + events)) == state_bytes(folded(events))


@given(EVENTS)
def test_a_state_survives_its_snapshot(events: list[Event[Fact]]) -> None:
    state = folded(events)
    restored = IncidentState.model_validate_json(state_bytes(state))
    assert state_bytes(restored) == state_bytes(state)


@given(EVENTS, st.data())
@settings(max_examples=60)
def test_what_a_process_expects_never_outlives_what_the_log_says(
    events: list[Event[Fact]], data: st.DataObject
) -> None:
    book = Book()
    for offset, one in enumerate(events):
        if offset and data.draw(st.booleans()):
            book.expect(one)
        book.fold(one, offset)
    assert state_bytes(book.settled()[INCIDENT]) == state_bytes(folded(events))
    assert book.pending(INCIDENT) == 0
    assert book.expected(INCIDENT) is book.settled()[INCIDENT]


def test_the_fold_gives_the_same_bytes_under_any_hash_seed() -> None:
    script = (
        "from tests_of_life import *\n"
        "made = [event(opened(), 99)]\n"
        "made += [event(f, n, n) for n, f in enumerate(f for k in KINDS for f in variants(k))]\n"
        "import hashlib, sys\n"
        "sys.stdout.write(hashlib.sha256(state_bytes(folded(made))).hexdigest())\n"
    )
    loader = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('tests_of_life', {__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['tests_of_life'] = module\n"
        "spec.loader.exec_module(module)\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", loader + script],
            env={"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(digests) == 1
    assert len(digests.pop()) == 64
