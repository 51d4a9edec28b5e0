"""What every source is brought into before it becomes observations of systems."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tocsin_contracts.alerts import ObservationStatus


class Malformed(ValueError):
    """The bytes are not what their source sends.

    Attributes:
        reason: One `snake_case` word for counting.
        field: The field that is wrong, dotted; empty for the body as a whole.
        detail: What is wrong with it.
    """

    def __init__(self, reason: str, field: str, detail: str) -> None:
        super().__init__(f"{field or 'body'}: {detail}")
        self.reason = reason
        self.field = field
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Seen:
    """What a source said about one alert."""

    status: ObservationStatus
    fingerprint: str
    starts_at: datetime
    ends_at: datetime | None
    labels: dict[str, str]
    annotations: dict[str, str]
    generator_url: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one request or record said.

    Attributes:
        truncated: How many alerts the sender cut off.
        group_key: The sender's own grouping, as an attribute; it names nothing here.
    """

    alerts: tuple[Seen, ...]
    truncated: int = 0
    group_key: str = ""
