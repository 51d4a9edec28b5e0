"""A delivery becomes observations of systems: who it belongs to, how urgent it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ingestion.domain.delivery import Delivery, Seen
from tocsin_contracts.alerts import MAX_OBSERVATIONS, Observation, Observed
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


def urgent(delivery: Delivery, policies: Sequence[Policy]) -> bool:
    """Whether a policy's fast rules call anything in it urgent; a person's answer always is."""
    return delivery.answer is not None or any(
        place_of(seen, policies)[1] for seen in delivery.alerts
    )


def place_of(seen: Seen, policies: Sequence[Policy]) -> tuple[str, bool]:
    """The system an alert belongs to, or `UNCLAIMED`, and whether it is urgent there."""
    system = claim(policies, seen.labels).system
    if system is None:
        return UNCLAIMED, False
    policy = next(policy for policy in policies if policy.system == system)
    return system, is_urgent(policy, seen.labels, seen.annotations)


def normalise(
    delivery: Delivery,
    *,
    source: str,
    delivery_id: UUID,
    received_at: datetime,
    cause: Cause,
    policies: Sequence[Policy],
    traceparent: str | None,
) -> tuple[Lane, ...]:
    """The events of a delivery: one for each system, lane and chunk.

    Ids follow from the delivery and the alert's place in it, so that the same record read again
    gives the same events.

    Args:
        delivery_id: Derived from where the raw record stands.
    """
    places: dict[tuple[str, bool], list[Observation]] = {}
    for index, seen in enumerate(delivery.alerts):
        place = place_of(seen, policies)
        places.setdefault(place, []).append(
            Observation(
                id=derive("observation", str(delivery_id), str(index)),
                status=seen.status,
                fingerprint=seen.fingerprint,
                starts_at=seen.starts_at or received_at,
                ends_at=seen.ends_at,
                labels=dict(seen.labels),
                annotations=dict(seen.annotations),
                generator_url=seen.generator_url,
                urgent=place[1],
            )
        )
    lanes = []
    for (system, fast), observations in places.items():
        for start in range(0, len(observations), MAX_OBSERVATIONS):
            fact = Observed(
                cause=cause,
                source=source,
                received_at=received_at,
                observations=tuple(observations[start : start + MAX_OBSERVATIONS]),
                truncated=delivery.truncated,
                group_key=delivery.group_key,
            )
            lane = "urgent" if fast else "normal"
            event = Event(
                id=event_id(fact.TYPE, system, str(delivery_id), lane, str(start)),
                source=SOURCE,
                subject=system,
                key=system,
                occurred_at=received_at,
                fact=fact,
                traceparent=traceparent,
            )
            lanes.append(Lane(fast, event))
    return tuple(lanes)
