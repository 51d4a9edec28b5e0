"""Silences: what people do not want to hear about for a while, folded from the topic `silences`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from tocsin_contracts.event import Event, Fact
from tocsin_contracts.silences import SilenceCreated, SilenceExpired
from tocsin_policy.matchers import Matcher, Operator, matches, parse_matchers

KEPT = timedelta(days=5)
"""How long an ended silence is still shown; Alertmanager's default."""


class SilenceState(StrEnum):
    """In the order in which they are listed."""

    ACTIVE = "active"
    PENDING = "pending"
    EXPIRED = "expired"


_ORDER = {state: number for number, state in enumerate(SilenceState)}


@dataclass(frozen=True, slots=True)
class Silence:
    """A silence as the log has it."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    comment: str
    updated_at: datetime

    def state(self, now: datetime) -> SilenceState:
        """Whether it mutes at this instant."""
        if now >= self.ends_at:
            return SilenceState.EXPIRED
        return SilenceState.PENDING if now < self.starts_at else SilenceState.ACTIVE

    def mutes(self, labels: Mapping[str, str], now: datetime) -> bool:
        """Whether an alert with these labels is muted at this instant."""
        return self.state(now) is SilenceState.ACTIVE and matches(self.matchers, labels)


class SilenceBook:
    """Every silence there is, ended ones for `KEPT`.

    Most silences ask a label for one value. They are found by it, so that ten thousand silences
    cost an alert no more than those that may be about it.

    Attributes:
        end: How much of the topic was folded: what a decision names as its basis.
    """

    def __init__(self) -> None:
        self.end = 0
        self._silences: dict[str, Silence] = {}
        self._by_label: dict[tuple[str, str], dict[str, Silence]] = {}
        self._others: dict[str, Silence] = {}
        self._next: tuple[datetime, datetime | None] | None = None

    def __len__(self) -> int:
        return len(self._silences)

    def apply(self, event: Event[Fact]) -> None:
        """Take in one fact; a fact that was taken in before changes nothing."""
        fact = event.fact
        if isinstance(fact, SilenceCreated):
            self._put(
                Silence(
                    id=event.subject,
                    matchers=tuple(each for text in fact.matchers for each in parse_matchers(text)),
                    starts_at=fact.starts_at,
                    ends_at=fact.ends_at,
                    created_by=fact.created_by.name,
                    comment=fact.comment,
                    updated_at=event.occurred_at,
                )
            )
        elif isinstance(fact, SilenceExpired):
            held = self._silences.get(event.subject)
            if held is not None and event.occurred_at < held.ends_at:
                at = event.occurred_at
                self._put(replace(held, ends_at=at, updated_at=at))

    def _put(self, silence: Silence) -> None:
        old = self._silences.get(silence.id)
        if old is not None:
            self._shelf(old).pop(old.id, None)
        self._silences[silence.id] = silence
        self._next = None
        self._shelf(silence)[silence.id] = silence

    def _shelf(self, silence: Silence) -> dict[str, Silence]:
        for matcher in silence.matchers:
            if matcher.operator is Operator.EQUAL and matcher.value:
                return self._by_label.setdefault((matcher.name, matcher.value), {})
        return self._others

    def get(self, silence: str) -> Silence | None:
        """The silence of this id."""
        return self._silences.get(silence)

    def shown(self, now: datetime) -> Sequence[Silence]:
        """Active, pending, then ended ones; what ended days ago is shown no more."""
        kept = [one for one in self._silences.values() if now - one.ends_at < KEPT]
        return sorted(kept, key=lambda one: (_ORDER[one.state(now)], one.ends_at, one.id))

    def muting(self, labels: Mapping[str, str], now: datetime) -> tuple[str, ...]:
        """Ids of the silences that mute an alert with these labels, in order."""
        if not self._silences:
            return ()
        return tuple(sorted(s.id for s in self._near(labels) if s.mutes(labels, now)))

    def _near(self, labels: Mapping[str, str]) -> Iterator[Silence]:
        yield from self._others.values()
        if self._by_label:
            for label in labels.items():
                yield from self._by_label.get(label, {}).values()

    def next_change(self, now: datetime) -> datetime | None:
        """When the next silence begins or ends, if nobody changes anything."""
        held = self._next
        if held is not None and held[0] <= now and (held[1] is None or now < held[1]):
            return held[1]
        edges = (at for one in self._silences.values() for at in (one.starts_at, one.ends_at))
        found = min((at for at in edges if at > now), default=None)
        self._next = (now, found)
        return found
