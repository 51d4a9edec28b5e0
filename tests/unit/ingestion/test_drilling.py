"""Drills come when the policy says, once, however many post them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ingestion.domain.drilling import drill_webhooks
from ingestion.handlers import CATCH_UP, RAW, Door, Rehearser
from tocsin_casebook import InForce, Policies
from tocsin_contracts.ids import episode
from tocsin_policy import DRILL_LABEL, policy_hash, rehearsals
from tocsin_runtime.failures import Transient
from tocsin_runtime.records import Outgoing, Position
from tocsin_simulation.clock import ManualClock
from tocsin_testkit.policies import a_policy

FIRST_FRIDAY = datetime(2026, 12, 4, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POLICY = a_policy(
    drills={
        "failover": {
            "title": "Database failover drill",
            "on": "Fr[1] 10:00-11:00",
            "labels": {"alertname": "DatabaseDown", "severity": "critical"},
        }
    }
)


def alerts(since: datetime, now: datetime) -> list[dict[str, Any]]:
    return [json.loads(body)["alerts"][0] for body in drill_webhooks(POLICY, since, now)]


def test_a_drill_fires_at_its_minute_and_clears_when_its_hour_is_over() -> None:
    assert alerts(FIRST_FRIDAY - MINUTE, FIRST_FRIDAY - timedelta(seconds=1)) == []
    [begun] = alerts(FIRST_FRIDAY - MINUTE, FIRST_FRIDAY)
    assert (begun["status"], begun["startsAt"]) == ("firing", "2026-12-04T10:00:00.000000Z")
    assert alerts(FIRST_FRIDAY, FIRST_FRIDAY + MINUTE) == []
    hour = timedelta(hours=1)
    [over] = alerts(FIRST_FRIDAY + hour - MINUTE, FIRST_FRIDAY + hour)
    assert (over["status"], over["endsAt"]) == ("resolved", "2026-12-04T11:00:00.000000Z")
    assert over["startsAt"] == begun["startsAt"]


def test_a_drill_is_marked_and_belongs_to_its_system() -> None:
    [begun] = alerts(FIRST_FRIDAY - MINUTE, FIRST_FRIDAY)
    assert begun["labels"] == {
        "system": "shop",
        "alertname": "DatabaseDown",
        "severity": "critical",
        DRILL_LABEL: "failover",
    }


def test_two_instances_that_look_at_other_times_make_the_same_episode() -> None:
    one = alerts(FIRST_FRIDAY - MINUTE, FIRST_FRIDAY)
    other = alerts(FIRST_FRIDAY - 5 * MINUTE, FIRST_FRIDAY + 3 * MINUTE)
    assert one == other
    assert episode("f" * 16, datetime.fromisoformat(one[0]["startsAt"]))


def test_a_month_has_one_first_friday() -> None:
    month = list(
        rehearsals(POLICY, datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    )
    assert [one.begins_at for one in month] == [FIRST_FRIDAY]


class Log:
    """A publisher that is away when told."""

    def __init__(self) -> None:
        self.away = False
        self.bodies: list[tuple[str, bytes]] = []

    async def publish(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        if self.away:
            raise Transient("broker_unavailable")
        self.bodies += [(record.topic, record.value or b"") for record in records]
        return tuple(Position(record.topic, 0, at) for at, record in enumerate(records))


def rehearser(log: Log, clock: ManualClock) -> Rehearser:
    policies = Policies()
    policies.publish(InForce(POLICY, policy_hash(POLICY)))
    door = Door(publisher=log, policies=policies, clock=clock)
    return Rehearser(door, policies, clock)


async def test_a_drill_is_posted_once_and_again_only_if_the_log_was_away() -> None:
    log, clock = Log(), ManualClock(FIRST_FRIDAY - MINUTE)
    looking = rehearser(log, clock)
    await looking.look()
    assert log.bodies == []
    clock.advance(MINUTE)
    log.away = True
    await looking.look()
    assert log.bodies == []
    log.away = False
    await looking.look()
    await looking.look()
    assert [topic.startswith(RAW) for topic, _ in log.bodies] == [True]


async def test_a_drill_that_everything_slept_through_is_left_out() -> None:
    log, clock = Log(), ManualClock(FIRST_FRIDAY + CATCH_UP + MINUTE)
    await rehearser(log, clock).look()
    assert log.bodies == []
