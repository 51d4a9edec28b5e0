"""A delivery becomes observations of systems: who it belongs to, how urgent it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import is_not
from uuid import UUID

from ingestion.domain.delivery import Delivery, Seen
from tocsin_contracts.alerts import MAX_OBSERVATIONS, Observed
from tocsin_contracts.event import Cause, Event, event_id
from tocsin_contracts.ids import derive
from tocsin_policy import Policy, claim, is_urgent

SOURCE = "tocsin/ingestion"

UNCLAIMED = "unclaimed"
"""Key of alerts that no policy claims: the classifier dead-letters them, with that reason."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Observations of one system and lane, as one event."""

    urgent: bool
    event: Event[Observed]


Place = tuple[str, bool]
"""The system an alert belongs to, or `UNCLAIMED`, and whether it is urgent there."""

MOST_PLACES = 20_000
"""Alerts whose place is remembered: what fires is said again and again."""


class Places:
    """Where alerts belong by the policies in force, remembered while these are."""

    def __init__(self) -> None:
        self._policies: tuple[Policy, ...] = ()
        self._known: dict[object, Place] = {}

    def by(self, policies: Iterable[Policy]) -> Places:
        """The places by these policies; what was remembered by others is forgotten."""
        given = tuple(policies)
        if len(given) != len(self._policies) or any(map(is_not, given, self._policies)):
            self._policies = given
            self._known.clear()
        return self

    def of(self, seen: Seen) -> Place:
        """The place of an alert."""
        said = (tuple(seen.labels.items()), tuple(seen.annotations.items()))
        known = self._known.get(said)
        if known is None:
            if len(self._known) >= MOST_PLACES:
                self._known.clear()
            known = self._known[said] = self._place(seen)
        return known

    def urgent(self, delivery: Delivery) -> bool:
        """Whether fast rules call anything in it urgent; a person's answer always is."""
        return delivery.answer is not None or any(self.of(seen)[1] for seen in delivery.alerts)

    def _place(self, seen: Seen) -> Place:
        system = claim(self._policies, seen.labels).system
        if system is None:
            return UNCLAIMED, False
        policy = next(policy for policy in self._policies if policy.system == system)
        return system, is_urgent(policy, seen.labels, seen.annotations)


def normalise(
    delivery: Delivery,
    *,
    source: str,
    delivery_id: UUID,
    received_at: datetime,
    cause: Cause,
    places: Places,
    traceparent: str | None,
) -> tuple[Lane, ...]:
    """The events of a delivery: one for each system, lane and chunk.

    Ids follow from the delivery and the alert's place in it, so that the same record read again
    gives the same events.

    Args:
        delivery_id: Derived from where the raw record stands.
    """
    said: dict[Place, list[dict[str, object]]] = {}
    delivered = str(delivery_id)
    for index, seen in enumerate(delivery.alerts):
        place = places.of(seen)
        said.setdefault(place, []).append(
            {
                "id": derive("observation", delivered, str(index)),
                "status": seen.status,
                "fingerprint": seen.fingerprint,
                "starts_at": seen.starts_at or received_at,
                "ends_at": seen.ends_at,
                "labels": seen.labels,
                "annotations": seen.annotations,
                "generator_url": seen.generator_url,
                "urgent": place[1],
            }
        )
    lanes = []
    for (system, fast), observations in said.items():
        for start in range(0, len(observations), MAX_OBSERVATIONS):
            # All at once: to make each by itself takes nearly twice as long.
            fact = Observed.model_validate(
                {
                    "cause": cause,
                    "source": source,
                    "received_at": received_at,
                    "observations": observations[start : start + MAX_OBSERVATIONS],
                    "truncated": delivery.truncated,
                    "group_key": delivery.group_key,
                }
            )
            lane = "urgent" if fast else "normal"
            event = Event(
                id=event_id(fact.TYPE, system, delivered, lane, str(start)),
                source=SOURCE,
                subject=system,
                key=system,
                occurred_at=received_at,
                fact=fact,
                traceparent=traceparent,
            )
            lanes.append(Lane(fast, event))
    return tuple(lanes)
