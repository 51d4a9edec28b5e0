"""Alertmanager's event recorder: what it grouped, notified, silenced and inhibited itself.

Evidence, not alerts: it opens nothing and answers nothing. It stays on `alerts.raw`, where
`tocsin explain` and the audit find it.

Format: Alertmanager `eventrecorder`, 0.33 and later, as JSON (protojson): one event, or a list of
them from its webhook output. 64-bit numbers are strings; labels are a list of pairs in its first
version and an object in its second; an alert within a group may be known by its hash alone. Its
Kafka output writes no headers and has the instance for a key, so an event is known by its shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field

from ingestion.domain.delivery import Delivery, Malformed, Received
from ingestion.domain.reading import MOST_ALERTS, LabelSet, Payload, When, read_json, read_value
from ingestion.domain.sources.source import MANY_ALERTS_BYTES, Documentation, Source

NAME = "alertmanager-events"

_SHAPE = re.compile(rb'\s*\[?\s*\{\s*"@timestamp"\s*:')
_MUTED = {"silenceMutedAlert": "silenced", "inhibitionMutedAlert": "inhibited"}


def looks_like_one(value: bytes | None) -> bool:
    """Whether a record without headers is an event of Alertmanager's recorder.

    >>> looks_like_one(b'{"@timestamp":"2026-03-02T09:00:00Z","data":{}}')
    True
    >>> looks_like_one(b'{"alerts":[]}')
    False
    """
    return value is not None and _SHAPE.match(value) is not None


def _pairs(value: object) -> object:
    """Labels of either version as an object."""
    if isinstance(value, dict) and set(value) <= {"labels"}:
        pairs = value.get("labels", [])
        if isinstance(pairs, list):
            return {
                str(pair.get("key", "")): str(pair.get("value", ""))
                for pair in pairs
                if isinstance(pair, dict) and pair.get("key")
            }
    return value


def _hexadecimal(value: object) -> object:
    """A fingerprint as everybody else writes it: 16 hexadecimal digits."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,20}", value):
        value = int(value)
    if isinstance(value, int) and 0 <= value < 1 << 64:
        return f"{value:016x}"
    return value


_Labels = Annotated[LabelSet, BeforeValidator(_pairs)]
_Fingerprint = Annotated[str, BeforeValidator(_hexadecimal), Field(pattern=r"^[0-9a-f]{16}$")]


class _Alert(Payload):
    fingerprint: _Fingerprint = "0" * 16
    labels: _Labels = Field(default_factory=dict)
    resolved: bool = False


class _Grouped(Payload):
    """An alert of a group: itself, or its hash with the details or without."""

    fingerprint: _Fingerprint | None = Field(
        default=None, validation_alias=AliasChoices("fingerprint", "hash")
    )
    labels: _Labels = Field(default_factory=dict)
    details: _Alert | None = None

    @property
    def alert(self) -> tuple[str, dict[str, str]]:
        if self.details is not None:
            return self.details.fingerprint, self.details.labels
        return self.fingerprint or "", self.labels


class _Group(Payload):
    receiver: Annotated[str, Field(alias="receiverName")] = ""


class _Matcher(Payload):
    rendered: str = ""


class _Silence(Payload):
    id: str = ""
    comment: str = ""
    created_by: Annotated[str, Field(alias="createdBy")] = ""


class _Rule(Payload):
    source: Annotated[list[_Matcher], Field(alias="sourceMatchers")] = Field(default_factory=list)
    target: Annotated[list[_Matcher], Field(alias="targetMatchers")] = Field(default_factory=list)
    equal: Annotated[list[str], Field(alias="equalLabels")] = Field(default_factory=list)

    def __str__(self) -> str:
        source = ", ".join(matcher.rendered for matcher in self.source)
        target = ", ".join(matcher.rendered for matcher in self.target)
        equal = f", equal {', '.join(self.equal)}" if self.equal else ""
        return f"{{{source}}} mutes {{{target}}}{equal}"


class _Integration(Payload):
    name: str = ""


_Many = Annotated[list[_Grouped], Field(max_length=MOST_ALERTS)]


class _Data(Payload):
    """What an event is about; exactly one of many kinds, of which these concern alerts."""

    alert: _Grouped | None = None
    muted: Annotated[_Alert | None, Field(alias="mutedAlert")] = None
    alerts: _Many = Field(default_factory=list)
    muted_alerts: Annotated[_Many, Field(alias="mutedAlerts")] = Field(default_factory=list)
    group: Annotated[_Group, Field(alias="groupInfo")] = Field(default_factory=_Group)
    silence: _Silence | None = None
    rules: Annotated[list[_Rule], Field(alias="inhibitRules")] = Field(default_factory=list)
    reason: str = ""
    integration: _Integration = Field(default_factory=_Integration)


class _Event(Payload):
    at: Annotated[When, Field(alias="@timestamp")]
    instance: str = ""
    data: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What Alertmanager says it did with one alert.

    Attributes:
        did: `created`, `grouped`, `resolved`, `notified`, `silenced`, `inhibited`, or `muted`
            (left out of a notification for one of the two).
        labels: Empty where it told no more than a hash.
        by: The receiver it notified, the silence or the rules that muted.
    """

    at: datetime
    did: str
    fingerprint: str
    labels: Mapping[str, str]
    by: str
    instance: str


def evidence(body: bytes) -> tuple[Evidence, ...]:
    """What events say of alerts; nothing for those that are about none.

    Raises:
        Malformed: It is no event of Alertmanager's recorder.
    """
    return tuple(one for event in _events(body) for one in _told(event))


def _events(body: bytes) -> list[_Event]:
    value = read_json(body)
    held = value if isinstance(value, list) else [value]
    if len(held) > MOST_ALERTS:
        raise Malformed("too_many", "", f"more than {MOST_ALERTS} events")
    return [read_value(_Event, one) for one in held]


def _told(event: _Event) -> Iterator[Evidence]:
    for kind, content in event.data.items():
        data = read_value(_Data, content)
        for did, fingerprint, labels, by in _of_kind(kind, data):
            yield Evidence(event.at, did, fingerprint, labels, by, event.instance)


def _of_kind(kind: str, data: _Data) -> Iterator[tuple[str, str, Mapping[str, str], str]]:
    if kind in _MUTED and data.muted is not None:
        by = "; ".join(map(str, data.rules))
        if data.silence is not None:
            said = f": {data.silence.comment}" if data.silence.comment else ""
            by = f"silence {data.silence.id} of {data.silence.created_by}{said}"
        yield _MUTED[kind], data.muted.fingerprint, data.muted.labels, by
    elif kind == "notification":
        reason = data.reason.removeprefix("NOTIFY_REASON_").lower()
        by = f"{data.group.receiver} by {data.integration.name} ({reason or 'no reason'})"
        muted = {one.alert[0] for one in data.muted_alerts}
        for one in data.alerts:
            fingerprint, labels = one.alert
            if fingerprint not in muted:
                yield "notified", fingerprint, labels, by
        for one in data.muted_alerts:
            yield "muted", *one.alert, by
    elif data.alert is not None:
        yield kind.removeprefix("alert").lower(), *data.alert.alert, data.group.receiver


def parse(received: Received) -> Delivery:
    """Nothing: what Alertmanager did is no alert of ours. Raises as `evidence`."""
    evidence(received.body)
    return Delivery()


SOURCE = Source(
    name=NAME,
    parse=parse,
    most_bytes=MANY_ALERTS_BYTES,
    documentation=Documentation("Alertmanager's event recorder: what it notified and muted"),
)
