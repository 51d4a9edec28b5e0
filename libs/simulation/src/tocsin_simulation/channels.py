"""Providers in memory that keep their promises and lose their answers.

Each is a `notifier.ports.Channel`. A provider that merges by key, as PagerDuty does with its
`dedup_key`, shows a repeated page as what it is: the same page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from notifier.domain.outcomes import Delivered, Outcome, Refused, Unknown, Unwell
from notifier.domain.pacing import Asking
from notifier.ports import Channel, Sending
from tocsin_contracts.incidents import Purpose
from tocsin_runtime.failures import Transient
from tocsin_runtime.ports import Clock
from tocsin_simulation import faults as fates
from tocsin_simulation.memory_log import call


@dataclass(frozen=True, slots=True)
class Arrival:
    """One call that a provider accepted.

    Attributes:
        at: When it was accepted.
        channel: The policy's name of the channel.
        repeat: Whether the provider had the same purpose under the same key before.
        told: Whether the caller heard of it.
    """

    at: datetime
    channel: str
    sending: Sending
    repeat: bool
    told: bool

    @property
    def is_page(self) -> bool:
        """Whether it is to wake someone, rather than to tell them something."""
        return self.sending.purpose is Purpose.PAGE


class FakeChannel:
    """One provider account."""

    def __init__(self, name: str, world: Providers) -> None:
        self._name = name
        self._world = world

    async def send(self, sending: Sending) -> Outcome:
        """Accept, be unwell, or accept and let the caller time out."""
        for attempting in self._world.attempting:
            attempting(sending)
        if self._world.is_out(self._name):
            return Unwell("provider_error", "503")
        if self._world.refuses(self._name):
            return Refused("refused", "403")
        fate = self._world.faults.deliver()
        told = fate.outcome is fates.Outcome.DONE

        def accept() -> None:
            if fate.outcome is fates.Outcome.REFUSED:
                raise Transient("unreachable")
            self._world.accept(self._name, sending, told=told)
            if not told:
                raise Transient("timed_out")

        try:
            await call(accept, fate)
        except Transient:
            if fate.outcome is fates.Outcome.REFUSED:
                return Unwell("unreachable")
            return Unknown("timed_out")
        return Delivered(f"{self._name}-{sending.provider_key}")


class Providers(Mapping[str, Channel]):
    """Every channel there is, by the policy's name of it; each exists when it is asked for.

    Attributes:
        arrivals: Every accepted call, in order.
        attempting: Each is called with what is about to be sent, before anything becomes of it.
    """

    def __init__(self, clock: Clock, faults: fates.Faults | None = None) -> None:
        self.faults: fates.Faults = faults or fates.NoFaults()
        self.arrivals: list[Arrival] = []
        self.attempting: list[Callable[[Sending], None]] = []
        self._clock = clock
        self._channels: dict[str, FakeChannel] = {}
        self._seen: set[tuple[str, Purpose, str]] = set()
        self._out_until: dict[str, datetime] = {}
        self._refuses_until: dict[str, datetime] = {}

    def __getitem__(self, name: str) -> Channel:
        if name not in self._channels:
            self._channels[name] = FakeChannel(name, self)
        return self._channels[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._channels)

    def __len__(self) -> int:
        return len(self._channels)

    def fail(self, channel: str, lasts: timedelta) -> None:
        """Have a provider answer 503 from now on, for so long."""
        self._out_until[channel] = self._clock.now() + lasts

    def is_out(self, channel: str) -> bool:
        """Whether it answers 503 now."""
        until = self._out_until.get(channel)
        return until is not None and self._clock.now() < until

    def refuse(self, channel: str, lasts: timedelta) -> None:
        """Have a provider answer 403 from now on, for so long: what it is sent will never work."""
        self._refuses_until[channel] = self._clock.now() + lasts

    def refuses(self, channel: str) -> bool:
        """Whether it answers 403 now."""
        until = self._refuses_until.get(channel)
        return until is not None and self._clock.now() < until

    def accept(self, channel: str, sending: Sending, *, told: bool) -> None:
        """Take a message, whatever its sender hears of it."""
        merged_by = (channel, sending.purpose, sending.provider_key)
        self.arrivals.append(
            Arrival(self._clock.now(), channel, sending, merged_by in self._seen, told)
        )
        self._seen.add(merged_by)

    def pages(self) -> list[Arrival]:
        """What people were woken by: pages, without what the provider merged."""
        return [arrival for arrival in self.arrivals if arrival.is_page and not arrival.repeat]


class OpenGate:
    """A `notifier.ports.Gate` that lets everything pass, as when Redis is away."""

    async def claim(self, notification: str, attempt: int) -> bool:
        """Yes."""
        del notification, attempt
        return True

    async def hold_off(self, asking: Asking) -> timedelta | None:
        """Not at all."""
        del asking
        return None

    async def report(self, account: str, *, healthy: bool) -> None:
        """Forgotten."""
