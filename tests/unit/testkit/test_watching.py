"""The watcher ends a run at the step that breaks a law."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import pytest

from notifier.ports import Sending
from tocsin_contracts.dispositions import Disposed, Disposition, Outcome
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.ids import derive
from tocsin_contracts.incidents import (
    Acknowledged,
    LevelReached,
    NotificationAttempted,
    NotificationRequested,
    Purpose,
)
from tocsin_runtime.events import outgoing
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.loop import simulate
from tocsin_simulation.system import System, published
from tocsin_testkit.builders import (
    AN_INCIDENT_ID,
    a_message,
    a_person,
    a_target,
    an_event,
    an_opening,
)
from tocsin_testkit.invariants import Broken
from tocsin_testkit.policies import a_policy
from tocsin_testkit.watching import Watch

PAGE = "a page"


def _watched(act: Callable[[System], Awaitable[None]]) -> None:
    async def main() -> None:
        system = System(policies=[published(a_policy())], services=())
        Watch(system)
        await act(system)
        await system.sleep(timedelta(seconds=1))

    simulate(main())


def _write(system: System, fact: Fact, *, at: datetime = EPOCH, source: str = "") -> None:
    event = an_event(fact, at=at, source=source or f"tocsin/{fact.WRITER}")
    system.log.append(outgoing(event))


def _level(number: int, due_at: datetime = EPOCH) -> LevelReached:
    return LevelReached(
        level=number, generation=1, severity="P0", due_at=due_at, targets=(a_target(),)
    )


def _page() -> NotificationRequested:
    return NotificationRequested(
        notification=PAGE,
        purpose=Purpose.PAGE,
        generation=1,
        level=1,
        target=a_target(),
        channel="pagerduty",
        kind="pagerduty",
        provider_key="a key",
        message=a_message(),
    )


def _sending(key: str = "a key") -> Sending:
    return Sending(
        notification=PAGE,
        incident=AN_INCIDENT_ID,
        system="mpc-transformer",
        purpose=Purpose.PAGE,
        provider_key=key,
        attempt=1,
        severity="P0",
        severity_rank=0,
        opened_at=EPOCH,
        target=a_target(),
        address=None,
        message=a_message(),
    )


def _attempted(instance: str) -> NotificationAttempted:
    return NotificationAttempted(notification=PAGE, attempt=1, instance=instance)


def test_what_is_right_is_left_alone() -> None:
    async def act(system: System) -> None:
        for fact in (an_opening(), _level(1), _page(), _attempted("world")):
            _write(system, fact)
        await system.providers["pagerduty"].send(_sending())

    _watched(act)


async def _foreign_hand(system: System) -> None:
    _write(system, an_opening(), source="tocsin/notifier")


async def _one_id_for_two_things(system: System) -> None:
    event = an_event(an_opening(), source="tocsin/classifier")
    other = Event(
        id=event.id,
        source="tocsin/escalation-timer",
        subject=event.subject,
        key=event.key,
        occurred_at=EPOCH,
        fact=_level(1),
    )
    for written in (event, other):
        system.log.append(outgoing(written))


async def _early_level(system: System) -> None:
    _write(system, an_opening())
    _write(system, _level(1, due_at=EPOCH + timedelta(seconds=1)))


async def _disposition_of_nothing(system: System) -> None:
    disposition = Disposition(
        observation=derive("x"),
        fingerprint="0" * 16,
        outcome=Outcome.OPENED,
        reason="a rule",
        incident=AN_INCIDENT_ID,
    )
    _write(system, Disposed(dispositions=(disposition,)))


async def _call_without_an_attempt(system: System) -> None:
    for fact in (an_opening(), _level(1), _page()):
        _write(system, fact)
    await system.providers["pagerduty"].send(_sending())


async def _call_for_anothers_attempt(system: System) -> None:
    for fact in (an_opening(), _level(1), _page(), _attempted("another")):
        _write(system, fact)
    await system.providers["pagerduty"].send(_sending())


async def _call_after_an_answer(system: System) -> None:
    facts = (an_opening(), _level(1), _page(), Acknowledged(by=a_person()), _attempted("world"))
    for fact in facts:
        _write(system, fact)
    await system.providers["pagerduty"].send(_sending())


async def _two_calls(system: System) -> None:
    for fact in (an_opening(), _level(1), _page(), _attempted("world")):
        _write(system, fact)
    for _ in range(2):
        await system.providers["pagerduty"].send(_sending())


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (_foreign_hand, "tocsin/notifier wrote"),
        (_one_id_for_two_things, "and now"),
        (_early_level, "came before"),
        (_disposition_of_nothing, "which is not in the log"),
        (_call_without_an_attempt, "which nobody attempted in the log"),
        (_call_for_anothers_attempt, "which another attempted in the log"),
        (_call_after_an_answer, "somebody had answered before"),
        (_two_calls, "calls twice"),
    ],
)
def test_what_is_wrong_ends_the_run(act: Callable[[System], Awaitable[None]], said: str) -> None:
    with pytest.raises(Broken, match=said):
        _watched(act)
