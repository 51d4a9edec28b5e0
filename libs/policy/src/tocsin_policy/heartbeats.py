"""Heartbeats: a synthetic page by a channel every so often, and the alert if it does not arrive."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from tocsin_contracts.ids import derive
from tocsin_policy.durations import Duration
from tocsin_policy.parts import Line, Name, Part

if TYPE_CHECKING:
    from tocsin_policy.document import Policy

HEARTBEAT_LABEL = "tocsin_heartbeat"
"""Label of the alert that a heartbeat is missing; its value is the channel's name."""

ALERT_NAME = "HeartbeatMissing"

SILENT_KINDS = frozenset({"statuspage", "github", "jira"})
"""Kinds of channel that have no heartbeat: each would leave an entry, or be mailed to customers."""

_SHORTEST = timedelta(minutes=1)
_LONGEST = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]


class Heartbeat(Part):
    """A synthetic page, every so often; when it does not arrive, an alert says so.

    Attributes:
        every: A minute at least, a day at most.
        within: How long the provider has for its yes.
        contact: Whom it reaches; needed where a channel writes to a person.
        labels: Of the alert, beside the system and the channel; the rules decide on them.
    """

    every: Duration
    within: Duration = timedelta(minutes=3)
    contact: Name | None = None
    labels: dict[_LabelName, Line] = Field(default_factory=lambda: {"severity": "critical"})

    @model_validator(mode="after")
    def _leaves_time(self) -> Self:
        if not _SHORTEST <= self.every <= _LONGEST:
            raise ValueError("every is a minute at least and a day at most")
        if not timedelta() < self.within <= self.every:
            raise ValueError("within is longer than nothing and at most every")
        return self


def beat_due(system: str, channel: str, every: timedelta, now: datetime) -> datetime:
    """When the newest beat was due.

    Beats of different channels are spread over the interval, by their names: nobody is called by
    every channel in the same second.

    >>> beat_due("shop", "slack", timedelta(minutes=15), datetime(2026, 3, 2, 9, tzinfo=UTC))
    datetime.datetime(2026, 3, 2, 8, 56, 34, tzinfo=datetime.timezone.utc)
    """
    seconds = int(every.total_seconds())
    offset = timedelta(seconds=derive("heartbeat", system, channel).int % seconds)
    whole = timedelta(seconds=seconds)
    return _EPOCH + offset + (now - _EPOCH - offset) // whole * whole


def heartbeat_alert(policy: Policy, channel: str) -> Mapping[str, str]:
    """Labels of the alert that a channel's heartbeat is missing.

    Raises:
        KeyError: The channel has no heartbeat.
    """
    named = policy.channels[channel]
    if named.heartbeat is None:
        raise KeyError(channel)
    return {
        "alertname": ALERT_NAME,
        "system": policy.system,
        "channel": channel,
        "kind": named.kind,
        **named.heartbeat.labels,
        HEARTBEAT_LABEL: channel,
    }
