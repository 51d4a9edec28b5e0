"""A notifier that is killed at any step of sending loses no message, whatever the channel.

`make sigkill` has each kind killed 200 times and writes the table of `docs/channels.md`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from notifier.domain.doubt import KINDS as DECLARED
from notifier.domain.outcomes import Delivered, Outcome
from notifier.ports import Channel, Sending
from tocsin_testkit.killing import BEGIN, END, KINDS, Tally, kill_while_sending, written

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
"""Apprise imports it."""

KILLS = range(1, 21)


def tally(kind: str, over: Callable[[Channel], Channel] | None = None) -> Tally:
    kills = (
        kill_while_sending(kind, seed) if over is None else kill_while_sending(kind, seed, over)
        for seed in KILLS
    )
    return Tally.of(kind, kills)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost_and_what_repeats_is_as_the_channel_declares(kind: str) -> None:
    assert tally(kind).wrong() == ""


def test_every_kind_of_channel_is_killed() -> None:
    assert set(KINDS) == set(DECLARED)


def test_the_kills_strike_before_and_after_the_provider_took_the_message() -> None:
    assert 0 < tally("sms").twice < len(KILLS)


class _Hasty:
    """Says that it is delivered, and then sends."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._tasks: list[asyncio.Task[Outcome]] = []

    async def send(self, sending: Sending) -> Outcome:
        self._tasks.append(asyncio.create_task(self._later(sending)))
        return Delivered()

    async def _later(self, sending: Sending) -> Outcome:
        for _ in range(20):
            await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop, not a wait
        return await self._channel.send(sending)


class _Forgetful:
    """Takes every attempt for the first."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def send(self, sending: Sending) -> Outcome:
        return await self._channel.send(replace(sending, attempt=1))


@pytest.mark.parametrize(
    ("kind", "over", "says"),
    [
        ("pagerduty", _Hasty, "lost"),
        ("sms", _Forgetful, "not marked"),
        ("github", _Forgetful, "seen twice"),
    ],
)
def test_a_planted_bug_is_found(kind: str, over: Callable[[Channel], Channel], says: str) -> None:
    assert says in tally(kind, over).wrong()


def test_the_table_is_written_between_its_marks_and_nowhere_else() -> None:
    row = Tally("sms", kills=3, lost=0, twice=1, unmarked=0, in_doubt=0, in_doubt_unseen=0)
    page = written(f"before\n{BEGIN}\nold\n{END}\nafter\n", [row])
    assert page.startswith(f"before\n{BEGIN}\n| kind |")
    assert page.endswith(f"| `sms` | again, marked | 3 | 0 | 1 | 0 | 0 |\n{END}\nafter\n")
    with pytest.raises(ValueError, match="no "):
        written("a page", [row])
