"""Events to Kafka records and back: CloudEvents 1.0, Kafka protocol binding, binary mode.

Attributes are `ce_*` headers in UTF-8, the value is the fact as JSON, the record key is the
system. A consumer in any language needs no code of ours. Source of the format: CloudEvents Kafka
protocol binding 1.0.2, section 3.2.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from pydantic import ValidationError

from tocsin_contracts.event import Event, Fact
from tocsin_contracts.registry import FACTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CONTENT_TYPE = b"application/json"


class Wire(NamedTuple):
    """A record as Kafka takes it."""

    topic: str
    key: bytes
    headers: tuple[tuple[str, bytes], ...]
    value: bytes


class Undecodable(ValueError):
    """The record is no event of ours.

    Attributes:
        reason: One `snake_case` word for counting.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


UPCASTERS: dict[str, tuple[str, Callable[[dict[str, object]], dict[str, object]]]] = {}
"""Old type -> (newer type, how its data becomes the newer's). Applied at read, until none fits;
the log is never rewritten."""


def encode(event: Event[Fact], *, topic: str | None = None) -> Wire:
    """The record of an event.

    Args:
        topic: Where to write it when not the fact's own topic: a lane of it (`alerts.urgent`).
    """
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(event.id).encode()),
        ("ce_type", event.fact.TYPE.encode()),
        ("ce_source", event.source.encode()),
        ("ce_time", rfc3339(event.occurred_at).encode()),
        ("ce_subject", event.subject.encode()),
        ("content-type", CONTENT_TYPE),
    ]
    if event.traceparent is not None:
        headers.append(("traceparent", event.traceparent.encode()))
    return Wire(
        topic=topic or event.fact.TOPIC,
        key=event.key.encode(),
        headers=tuple(headers),
        value=event.fact.model_dump_json(exclude_none=True).encode(),
    )


def decode(
    headers: Iterable[tuple[str, bytes]], value: bytes | None, key: bytes | None = None
) -> Event[Fact]:
    """The event of a record.

    Raises:
        Undecodable: A header is missing or wrong, the type is unknown, or the data does not fit;
            the message names the field.
    """
    attributes: dict[str, str] = {}
    for name, raw in headers:
        try:
            attributes.setdefault(name.lower(), raw.decode())
        except UnicodeDecodeError:
            continue  # a foreign header in another encoding is not ours to judge
    missing = [
        name for name in ("ce_id", "ce_type", "ce_source", "ce_time") if name not in attributes
    ]
    if missing:
        raise Undecodable("missing_header", f"missing header {', '.join(missing)}")
    if value is None:
        raise Undecodable("no_data", "the record has no value")
    fact = _fact(attributes["ce_type"], value)
    try:
        event_id = UUID(attributes["ce_id"])
    except ValueError as error:
        raise Undecodable("bad_id", f"ce_id is no UUID: {attributes['ce_id'][:60]!r}") from error
    try:
        occurred_at = datetime.fromisoformat(attributes["ce_time"])
    except ValueError as error:
        raise Undecodable(
            "bad_time", f"ce_time is no RFC 3339 instant: {attributes['ce_time'][:60]!r}"
        ) from error
    if occurred_at.tzinfo is None:
        raise Undecodable("bad_time", "ce_time has no offset from UTC")
    return Event(
        id=event_id,
        source=attributes["ce_source"],
        subject=attributes.get("ce_subject", ""),
        key=(key or b"").decode(errors="replace"),
        occurred_at=occurred_at.astimezone(UTC),
        fact=fact,
        traceparent=attributes.get("traceparent"),
    )


def _fact(fact_type: str, value: bytes) -> Fact:
    if fact_type in UPCASTERS:
        return _upcast(fact_type, value)
    known = FACTS.get(fact_type)
    if known is None:
        raise Undecodable("unknown_type", f"unknown event type {fact_type[:100]!r}")
    try:
        return known.model_validate_json(value)
    except ValidationError as error:
        raise Undecodable("invalid_data", first_problem(error)) from error


def _upcast(fact_type: str, value: bytes) -> Fact:
    try:
        data = json.loads(value)
    except ValueError as error:
        raise Undecodable("invalid_data", f"not JSON: {error}") from error
    while fact_type in UPCASTERS:
        fact_type, upcast = UPCASTERS[fact_type]
        data = upcast(data)
    return _fact(fact_type, json.dumps(data).encode())


def first_problem(error: ValidationError) -> str:
    """The first validation problem in words that name the field: `alerts.0.labels: …`."""
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"]) or "body"
    more = error.error_count() - 1
    return f"{where}: {problem['msg']}" + (f" (and {more} more)" if more else "")


def rfc3339(instant: datetime) -> str:
    """RFC 3339 in UTC with microseconds, always the same length: it sorts as it reads.

    >>> rfc3339(datetime(2026, 11, 21, tzinfo=UTC))
    '2026-11-21T00:00:00.000000Z'
    """
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
