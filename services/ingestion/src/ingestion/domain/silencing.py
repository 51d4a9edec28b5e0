"""Silences as Alertmanager's API has them: what may be created, changed and ended, and how."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from ingestion.domain.reading import Payload, When
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.event import Event, Fact, Person, event_id
from tocsin_contracts.ids import derive
from tocsin_contracts.silences import SilenceCreated, SilenceExpired
from tocsin_policy import Matcher, MatcherError, Operator, matches, parse_matchers

SOURCE = "tocsin/ingestion"
VIA = "alertmanager-api"
NOBODY = "unknown"
"""Who made a silence whose `createdBy` is empty, as Alertmanager allows."""

MOST_SILENCES = 10_000
MOST_MATCHERS = 100
KEPT = timedelta(days=5)
"""How long an ended silence is still shown; Alertmanager's default."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)


class SilenceRefused(ValueError):
    """No silence comes of it. Attributes: `status` is Alertmanager's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


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


class PostedMatcher(Payload):
    """A matcher as `POST /api/v2/silences` has it."""

    name: str
    value: str
    is_regex: Annotated[bool, Field(alias="isRegex")]
    is_equal: Annotated[bool | None, Field(alias="isEqual")] = None

    def matcher(self, index: int) -> Matcher:
        """The matcher. Raises `SilenceRefused`."""
        if _NAME.fullmatch(self.name) is None:
            raise _invalid(f'invalid label matcher {index}: invalid label name "{self.name}"')
        equal = self.is_equal is not False
        if self.is_regex:
            operator = Operator.MATCHES if equal else Operator.NOT_MATCHES
        else:
            operator = Operator.EQUAL if equal else Operator.NOT_EQUAL
        written = str(Matcher(self.name, operator, self.value))
        try:
            [made] = parse_matchers(written)
        except (MatcherError, ValueError) as error:
            raise _invalid(
                f'invalid label matcher {index}: invalid regular expression "{self.value}": {error}'
            ) from error
        return made


class PostedSilence(Payload):
    """What `POST /api/v2/silences` takes."""

    id: str | None = None
    matchers: Annotated[list[PostedMatcher], Field(min_length=1, max_length=MOST_MATCHERS)]
    starts_at: Annotated[When, Field(alias="startsAt")]
    ends_at: Annotated[When, Field(alias="endsAt")]
    created_by: Annotated[str, Field(alias="createdBy", max_length=200)]
    comment: Annotated[str, Field(max_length=10_000)]


class SilenceBook:
    """Every silence, folded from the topic `silences`."""

    def __init__(self) -> None:
        self._silences: dict[str, Silence] = {}

    def apply(self, event: Event[Fact]) -> None:
        """Take in one fact; a fact that was taken in before changes nothing."""
        fact = event.fact
        if isinstance(fact, SilenceCreated):
            self._silences[event.subject] = Silence(
                id=event.subject,
                matchers=tuple(each for text in fact.matchers for each in parse_matchers(text)),
                starts_at=fact.starts_at,
                ends_at=fact.ends_at,
                created_by=fact.created_by.name,
                comment=fact.comment,
                updated_at=event.occurred_at,
            )
        elif isinstance(fact, SilenceExpired):
            held = self._silences.get(event.subject)
            if held is not None and event.occurred_at < held.ends_at:
                ended = replace(held, ends_at=event.occurred_at, updated_at=event.occurred_at)
                self._silences[event.subject] = ended

    def get(self, silence: str) -> Silence | None:
        """The silence of this id."""
        return self._silences.get(silence)

    def shown(self, now: datetime) -> Sequence[Silence]:
        """Active, pending, then ended ones; what ended days ago is shown no more."""
        kept = [one for one in self._silences.values() if now - one.ends_at < KEPT]
        return sorted(kept, key=lambda one: (_ORDER[one.state(now)], one.ends_at, one.id))

    def muting(self, labels: Mapping[str, str], now: datetime) -> tuple[str, ...]:
        """Ids of the silences that mute an alert with these labels."""
        return tuple(sorted(s.id for s in self._silences.values() if s.mutes(labels, now)))

    def set(self, posted: PostedSilence, now: datetime) -> tuple[str, tuple[Event[Fact], ...]]:
        """The id of the silence that was asked for, and the facts that make it so.

        One that exists is changed in place where that rewrites no history: the matchers are the
        same, and it either runs since the same second or has not begun. Else it is ended, and
        another made.

        Raises:
            SilenceRefused: It may not be; the words are Alertmanager's.
        """
        matchers = tuple(one.matcher(number) for number, one in enumerate(posted.matchers))
        if posted.ends_at <= now:
            raise SilenceRefused(400, "Failed to create silence: end time can't be in the past")
        if posted.starts_at >= posted.ends_at:
            raise SilenceRefused(
                400, "Failed to create silence: start time must be before end time"
            )
        if all(matcher.fits({}) for matcher in matchers):
            raise _invalid("at least one matcher must not match the empty string")
        starts_at = max(posted.starts_at, now)
        written: list[Event[Fact]] = []
        held = self._silences.get(posted.id) if posted.id else None
        if posted.id and held is None:
            raise SilenceRefused(404, "silence not found")
        if held is not None and _changeable(held, posted, matchers, now):
            silence = held.id
            starts_at = held.starts_at if held.state(now) is SilenceState.ACTIVE else starts_at
        else:
            if held is not None and held.state(now) is not SilenceState.EXPIRED:
                written.append(expired(held.id, posted.created_by, now))
            if len(self._silences) >= MOST_SILENCES:
                raise SilenceRefused(400, "Failed to create silence: too many silences")
            silence = str(
                derive("silence", rfc3339(now), posted.model_dump_json(), *map(str, matchers))
            )
        fact = SilenceCreated(
            matchers=tuple(map(str, matchers)),
            starts_at=starts_at,
            ends_at=posted.ends_at,
            created_by=Person(name=posted.created_by or NOBODY, via=VIA),
            comment=posted.comment,
        )
        written.append(_event(silence, fact, now))
        return silence, tuple(written)

    def expire(self, silence: str, by: str, now: datetime) -> tuple[Event[Fact], ...]:
        """The facts that end a silence.

        Raises:
            SilenceRefused: There is none of this id, or it has ended.
        """
        held = self._silences.get(silence)
        if held is None:
            raise SilenceRefused(404, "silence not found")
        if held.state(now) is SilenceState.EXPIRED:
            raise SilenceRefused(400, f"silence {silence} already expired")
        return (expired(silence, by, now),)


def expired(silence: str, by: str, now: datetime) -> Event[Fact]:
    """The fact that somebody ended it."""
    return _event(silence, SilenceExpired(by=Person(name=by or NOBODY, via=VIA)), now)


def _event(silence: str, fact: Fact, now: datetime) -> Event[Fact]:
    return Event(
        id=event_id(fact.TYPE, silence, rfc3339(now), fact.model_dump_json()),
        source=SOURCE,
        subject=silence,
        key=silence,
        occurred_at=now,
        fact=fact,
    )


def _changeable(
    held: Silence, posted: PostedSilence, matchers: tuple[Matcher, ...], now: datetime
) -> bool:
    if list(map(str, held.matchers)) != list(map(str, matchers)):
        return False
    match held.state(now):
        case SilenceState.ACTIVE:
            return posted.starts_at.replace(microsecond=0) == held.starts_at.replace(microsecond=0)
        case SilenceState.PENDING:
            return posted.starts_at >= now
        case SilenceState.EXPIRED:
            return False


def _invalid(message: str) -> SilenceRefused:
    return SilenceRefused(400, f"silence invalid: {message}")
