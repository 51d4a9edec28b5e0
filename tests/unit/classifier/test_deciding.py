"""One disposition for each observation, and the facts that follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from classifier.domain import deciding
from classifier.domain.deciding import Decision, Delivery, decide
from classifier.domain.duty import Outlook, owed
from classifier.domain.holdings import Holdings
from tocsin_casebook import InForce
from tocsin_contracts import incidents as facts
from tocsin_contracts.alerts import Observation, ObservationStatus, Observed
from tocsin_contracts.dispositions import Disposition, Outcome
from tocsin_contracts.event import Cause, Event
from tocsin_contracts.ids import derive
from tocsin_incident import Book, IncidentState
from tocsin_policy import DRILL_LABEL, Policy, SilenceBook, policy_hash
from tocsin_testkit.policies import a_policy

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
POLICY = a_policy()
NOTHING_ELSE = Outlook(lambda _: None, Holdings(), SilenceBook())
FIRING, RESOLVED = ObservationStatus.FIRING, ObservationStatus.RESOLVED


def seen(number: int, *, status: ObservationStatus = FIRING, **changes: Any) -> Observation:
    """An observation of alert `number`; a new observation each time unless `id` says otherwise."""
    labels = {"alertname": "Down", "system": "shop", "severity": "critical", "pod": str(number)}
    arguments: dict[str, Any] = {
        "id": derive("seen", str(number), status, str(changes)),
        "status": status,
        "fingerprint": f"{number:016x}",
        "starts_at": NOW,
        "ends_at": NOW + timedelta(minutes=1) if status is RESOLVED else None,
        "labels": labels | changes.pop("labels", {}),
    }
    return Observation(**arguments | changes)


class World:
    """A book, its index, and the classifier's decisions folded into both."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.in_force = InForce(policy, policy_hash(policy))
        self.book = Book()
        self.holdings = Holdings()
        self.silences = SilenceBook()
        self.offset = 0

    def see(
        self, *observations: Observation, now: datetime = NOW, written: int | None = None
    ) -> Decision:
        """Decide one delivery, and fold what follows, or as much of it as was written."""
        observed = Observed(source="alertmanager", received_at=now, observations=observations)
        parts = [str(one.id) for one in observations]
        event = Event(
            id=derive("delivery", *parts),
            source="tocsin/ingestion",
            subject="shop",
            key="shop",
            occurred_at=now,
            fact=observed,
        )
        decision = decide(
            [Delivery(event, observed, Cause(event=event.id))],
            key="shop",
            in_force=self.in_force,
            find=self.book.expected,
            holdings=self.holdings,
            silences=self.silences,
            now=now,
            end=self.book.end,
        )
        for fact in decision.incidents[:written]:
            self.fold(fact)
        return decision

    def fold(self, event: Event[Any]) -> None:
        self.book.fold(event, self.offset)
        self.offset += 1
        self.holdings.follow(self.book.settled()[event.subject], event.fact)

    def outcomes(self, *observations: Observation, now: datetime = NOW) -> list[tuple[str, str]]:
        """Outcome and reason of each observation of one delivery."""
        [disposed] = self.see(*observations, now=now).disposed
        return [(str(one.outcome), one.reason) for one in disposed.fact.dispositions]

    @property
    def incident(self) -> IncidentState:
        """The only incident."""
        [state] = self.book.settled().values()
        return state

    def person_resolves(self, at: datetime = NOW) -> None:
        fact = facts.Resolved(by={"name": "alice"})  # type: ignore[arg-type]
        self.fold(
            Event(
                id=derive("resolved", at.isoformat()),
                source="tocsin/ingestion",
                subject=self.incident.incident,
                key="shop",
                occurred_at=at,
                fact=fact,
            )
        )


@pytest.fixture
def world() -> World:
    return World()


def said(decision: Decision) -> list[Disposition]:
    return [one for disposed in decision.disposed for one in disposed.fact.dispositions]


def kinds(decision: Decision) -> list[str]:
    return [type(event.fact).__name__ for event in decision.incidents]


def test_the_first_alert_of_a_group_opens_and_the_next_attach(world: World) -> None:
    assert world.outcomes(seen(1), seen(2)) == [
        ("opened", "new_group"),
        ("attached", "same_group"),
    ]
    assert world.outcomes(seen(3)) == [("attached", "same_group")]
    assert world.incident.firing == 3


def test_alerts_that_join_together_are_one_fact(world: World) -> None:
    world.see(seen(1))
    decision = world.see(*(seen(number) for number in range(2, 302)))
    assert kinds(decision) == ["AlertsAttached"]
    assert world.incident.firing == 301


def test_an_alert_that_still_fires_is_a_repeat(world: World) -> None:
    world.see(seen(1))
    again = seen(1, id=derive("another observation"))
    decision = world.see(again)
    assert decision.incidents == ()
    assert [d.outcome for d in decision.disposed[0].fact.dispositions] == [Outcome.REPEATED]


def test_the_same_record_again_gets_the_same_dispositions(world: World) -> None:
    observations = (seen(1), seen(2), seen(3, status=RESOLVED))
    first = world.see(*observations)
    again = world.see(*observations)
    assert said(again) == said(first)
    assert again.incidents == ()


def test_a_resolve_clears_the_alert_and_only_it(world: World) -> None:
    world.see(seen(1), seen(2))
    assert world.outcomes(seen(1, status=RESOLVED)) == [("cleared", "resolved")]
    assert world.incident.firing == 1


def test_a_resolve_that_is_read_again_is_disposed_of_as_before(world: World) -> None:
    world.see(seen(1))
    first = world.see(seen(1, status=RESOLVED))
    assert said(world.see(seen(1, status=RESOLVED))) == said(first)


def test_a_second_resolve_is_a_repeat(world: World) -> None:
    world.see(seen(1))
    world.see(seen(1, status=RESOLVED))
    later = seen(1, status=RESOLVED, id=derive("resend"))
    assert world.outcomes(later) == [("repeated", "already_clear")]


def test_a_resolve_of_what_nobody_holds_changes_nothing(world: World) -> None:
    assert world.outcomes(seen(9, status=RESOLVED)) == [("cleared", "not_held")]
    assert not world.book.settled()


def test_a_resolve_with_another_start_clears_what_fires_under_the_fingerprint(
    world: World,
) -> None:
    world.see(seen(1))
    other = seen(1, status=RESOLVED, starts_at=NOW - timedelta(seconds=1))
    assert world.outcomes(other) == [("cleared", "same_alert")]
    assert world.incident.firing == 0


def test_an_alert_that_fires_again_is_a_new_episode(world: World) -> None:
    world.see(seen(1))
    world.see(seen(1, status=RESOLVED))
    again = seen(1, starts_at=NOW + timedelta(minutes=2))
    assert world.outcomes(again) == [("attached", "same_group")]
    assert len(world.incident.alerts) == 2


def test_fire_and_resolve_in_one_delivery_are_both_disposed_of(world: World) -> None:
    decision = world.see(seen(1), seen(1, status=RESOLVED))
    assert kinds(decision) == ["Opened", "AlertsCleared"]
    assert world.incident.firing == 0


def test_a_worse_alert_raises_the_severity_and_a_milder_one_does_not(world: World) -> None:
    world.see(seen(1, labels={"severity": "minor"}))
    mild = world.incident.severity
    assert kinds(world.see(seen(2))) == ["AlertsAttached", "SeverityRaised"]
    worst = world.incident.severity
    assert worst != mild
    assert kinds(world.see(seen(3, labels={"severity": "minor"}))) == ["AlertsAttached"]
    assert world.incident.severity == worst


def test_within_the_window_a_resolved_incident_comes_back(world: World) -> None:
    world.see(seen(1))
    world.person_resolves()
    soon = NOW + POLICY.grouping.reopen_within
    assert kinds(world.see(seen(2), now=soon)) == ["Reopened", "AlertsAttached"]
    assert world.incident.generation == 2


def test_after_the_window_another_incident_opens(world: World) -> None:
    world.see(seen(1))
    world.person_resolves()
    late = NOW + POLICY.grouping.reopen_within + timedelta(seconds=1)
    assert kinds(world.see(seen(2), now=late)) == ["Opened"]
    assert len(world.book.settled()) == 2


def test_another_group_is_another_incident(world: World) -> None:
    world.see(seen(1))
    world.see(seen(2, labels={"alertname": "Slow"}))
    assert len(world.book.settled()) == 2


def test_a_summary_never_merges_alerts(world: World) -> None:
    same: dict[str, Any] = {"annotations": {"summary": "it is broken"}}
    world.see(seen(1, **same), seen(2, **same))
    assert world.incident.firing == 2


def test_the_order_of_labels_changes_nothing() -> None:
    labels = {"alertname": "Down", "system": "shop", "severity": "critical", "pod": "1"}
    one, other = World(), World()
    first = one.see(seen(1).model_copy(update={"labels": labels}))
    second = other.see(seen(1).model_copy(update={"labels": dict(reversed(labels.items()))}))
    assert [event.id for event in first.incidents] == [event.id for event in second.incidents]
    assert first.disposed == second.disposed


def test_the_same_record_twice_in_one_batch_is_disposed_of_alike(world: World) -> None:
    opening, joining = seen(1), seen(2)
    assert world.outcomes(opening, joining, opening, joining) == [
        ("opened", "new_group"),
        ("attached", "same_group"),
        ("opened", "new_group"),
        ("attached", "same_group"),
    ]
    ended = seen(1, status=RESOLVED)
    assert world.outcomes(ended, ended) == [("cleared", "resolved"), ("cleared", "resolved")]


FLAPPING = a_policy(
    grouping={
        "by": ["alertname"],
        "reopen_within": "30m",
        "auto_resolve_after": "1m",
        "flapping": {"changes": 4, "within": "20m"},
    }
)


def comes_and_goes(world: World, times: int) -> list[tuple[str, str]]:
    """One alert fires and ends every two minutes; what becomes of each firing."""
    said = []
    for turn in range(times):
        began = NOW + timedelta(minutes=2 * turn)
        ended = began + timedelta(minutes=1)
        said += world.outcomes(seen(1, starts_at=began), now=began)
        world.see(seen(1, starts_at=began, status=RESOLVED, ends_at=ended), now=ended)
    return said


def test_an_alert_that_comes_and_goes_is_paused_and_keeps_its_incident() -> None:
    world = World(FLAPPING)
    assert comes_and_goes(world, 4) == [
        ("opened", "new_group"),
        ("attached", "same_group"),
        ("paused", "flapping"),
        ("paused", "flapping"),
    ]
    assert len(world.incident.alerts) == 4


def test_a_paused_alert_seen_again_after_a_crash_is_paused_again() -> None:
    world = World(FLAPPING)
    comes_and_goes(world, 3)
    again = seen(1, starts_at=NOW + timedelta(minutes=4))
    assert world.outcomes(again, now=NOW + timedelta(minutes=9)) == [("paused", "flapping")]


def test_an_incident_does_not_end_while_its_alert_may_come_back() -> None:
    calm, flapping = World(FLAPPING), World(FLAPPING)
    comes_and_goes(calm, 1)
    comes_and_goes(flapping, 3)
    in_force = InForce(FLAPPING, policy_hash(FLAPPING))
    for world, wait in ((calm, timedelta(minutes=1)), (flapping, timedelta(minutes=20))):
        state = world.incident
        assert state.clear_since is not None
        due_at = state.clear_since + wait
        before = owed(state, in_force, due_at - timedelta(seconds=1), 1, NOTHING_ELSE)
        assert (before.events, before.next_at) == ((), due_at)
        [event] = owed(state, in_force, due_at, 1, NOTHING_ELSE).events
        assert isinstance(event.fact, facts.AutoResolved)


def test_a_drill_joins_nothing_that_is_real(world: World) -> None:
    real = seen(1)
    drill = seen(2, status=FIRING, labels={DRILL_LABEL: "failover"})
    assert world.outcomes(real, drill) == [("opened", "new_group"), ("opened", "new_group")]
    drills = {state.drill for state in world.book.settled().values()}
    assert drills == {True, False}


def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fact holds two alerts."""
    monkeypatch.setattr(deciding, "MOST_CHARACTERS", 2 * 400)
    monkeypatch.setattr(deciding, "MOST_IN_A_FACT", 2)


@pytest.mark.parametrize("written", range(5))
def test_a_process_that_dies_between_two_parts_of_a_decision_writes_the_rest(
    written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts(monkeypatch)
    observations = [seen(number) for number in range(7)]
    whole = World()
    wanted = whole.see(*observations)
    assert kinds(wanted) == ["Opened", *["AlertsAttached"] * 3]
    world = World()
    world.see(*observations, written=written)
    again = world.see(*observations)
    assert said(again) == said(wanted)
    assert world.incident.alerts.keys() == whole.incident.alerts.keys()


@pytest.mark.parametrize("written", range(5))
def test_a_process_that_dies_between_two_parts_of_what_is_owed_writes_the_rest(
    written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts(monkeypatch)
    world = World()
    over = NOW + timedelta(minutes=5)
    world.see(*(seen(number, ends_at=over) for number in range(7)))
    outlook = Outlook(world.book.expected, world.holdings, world.silences)
    owing = partial(owed, in_force=world.in_force, now=over, outlook=outlook)
    first = owing(world.incident, end=world.book.end).events
    assert [type(event.fact).__name__ for event in first] == ["AlertsCleared"] * 4
    for event in first[:written]:
        world.fold(event)
    for event in owing(world.incident, end=world.book.end).events:
        world.fold(event)
    assert world.incident.firing == 0
    assert {held.cleared_because for held in world.incident.alerts.values()} == {"lease_over"}
