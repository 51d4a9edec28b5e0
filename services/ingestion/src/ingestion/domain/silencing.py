"""Silences as Alertmanager's API has them: what may be created, changed and ended, and how."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from pydantic import Field

from ingestion.domain.reading import Payload, When
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.event import Event, Fact, Person, event_id
from tocsin_contracts.ids import derive
from tocsin_contracts.silences import SilenceCreated, SilenceExpired
from tocsin_policy import (
    Matcher,
    MatcherError,
    Operator,
    Silence,
    SilenceBook,
    SilenceState,
    parse_matchers,
)

SOURCE = "tocsin/ingestion"
VIA = "alertmanager-api"
NOBODY = "unknown"
"""Who made a silence whose `createdBy` is empty, as Alertmanager allows."""

MOST_SILENCES = 10_000
MOST_MATCHERS = 100
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)


class SilenceRefused(ValueError):
    """No silence comes of it. Attributes: `status` is Alertmanager's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


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


def set_silence(
    book: SilenceBook, posted: PostedSilence, now: datetime
) -> tuple[str, tuple[Event[Fact], ...]]:
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
        raise SilenceRefused(400, "Failed to create silence: start time must be before end time")
    if all(matcher.fits({}) for matcher in matchers):
        raise _invalid("at least one matcher must not match the empty string")
    starts_at = max(posted.starts_at, now)
    written: list[Event[Fact]] = []
    held = book.get(posted.id) if posted.id else None
    if posted.id and held is None:
        raise SilenceRefused(404, "silence not found")
    if held is not None and _changeable(held, posted, matchers, now):
        silence = held.id
        starts_at = held.starts_at if held.state(now) is SilenceState.ACTIVE else starts_at
    else:
        if held is not None and held.state(now) is not SilenceState.EXPIRED:
            written.append(expired(held.id, posted.created_by, now))
        if len(book) >= MOST_SILENCES:
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


def expire_silence(
    book: SilenceBook, silence: str, by: str, now: datetime
) -> tuple[Event[Fact], ...]:
    """The facts that end a silence.

    Raises:
        SilenceRefused: There is none of this id, or it has ended.
    """
    held = book.get(silence)
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
