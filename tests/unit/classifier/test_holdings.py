"""Who holds an alert follows from the states, in whatever order they were read."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations

import pytest

from classifier.domain.holdings import Holdings
from tocsin_contracts.event import Person
from tocsin_contracts.ids import episode, incident_id, key_of
from tocsin_contracts.incidents import AlertsAttached, Merged
from tocsin_incident import Book, IncidentState
from tocsin_simulation.clock import EPOCH
from tocsin_testkit.builders import an_alert, an_event, an_opening

LEFT, KEPT = incident_id("shop", "left"), incident_id("shop", "kept")
DOWN = an_alert("Down", system="shop").began(EPOCH)


def merged() -> list[IncidentState]:
    """An incident that was merged away with its alert, and the one that has it now."""
    book = Book()
    opening = an_opening(incident=LEFT, alerts=[DOWN])
    facts = [
        (LEFT, opening),
        (KEPT, an_opening(incident=KEPT)),
        (KEPT, AlertsAttached(alerts=opening.alerts)),
        (LEFT, Merged(into=KEPT, by=Person(name="alice"))),
    ]
    for number, (incident, fact) in enumerate(facts):
        at = EPOCH + timedelta(seconds=number)
        book.fold(an_event(fact, incident=incident, at=at), number)
    return list(book.settled().values())


@pytest.mark.parametrize("order", list(permutations(range(2))))
def test_a_merged_incident_holds_its_alerts_no_longer(order: tuple[int, ...]) -> None:
    states = merged()
    holdings = Holdings()
    for number in order:
        holdings.update(states[number])
    (held,) = states[0].alerts.values()
    key = episode(held.alert.fingerprint, held.alert.starts_at)
    assert holdings.holder(key_of(LEFT), key) == KEPT
