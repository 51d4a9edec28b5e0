"""What every source is brought into before it becomes observations and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tocsin_contracts.alerts import ObservationStatus


class Malformed(ValueError):
    """The bytes are not what their source sends.

    Attributes:
        reason: One `snake_case` word for counting.
        field: The field that is wrong, dotted; empty for the body as a whole.
        detail: What is wrong with it.
        valid: What could be read all the same, for a source that takes the good part.
    """

    def __init__(
        self, reason: str, field: str, detail: str, *, valid: Delivery | None = None
    ) -> None:
        super().__init__(f"{field or 'body'}: {detail}")
        self.reason = reason
        self.field = field
        self.detail = detail
        self.valid = valid


@dataclass(frozen=True, slots=True)
class Received:
    """A request or a raw record, as far as a source may look at it.

    Attributes:
        headers: Names in lower case. Of a record, only those the source has kept.
        path: Path and query as the sender wrote them; empty for a record of somebody else's.
        url: The whole address as the sender knows it; some sign it.
        received_at: When it came; what a source that gives no time is dated by.
    """

    body: bytes
    received_at: datetime
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    url: str = ""

    def header(self, name: str) -> str:
        """The header, or nothing."""
        return self.headers.get(name, "")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a source said about one alert.

    Attributes:
        fingerprint: Of the labels; where `keyed`, of the sender's own key for the alert.
        starts_at: `None` where the source does not say when the alert began.
        labels: May be empty where `keyed`: senders that close by key send nothing else.
        keyed: The sender names the alert by a key of its own, so its labels may vary.
    """

    status: ObservationStatus
    fingerprint: str
    starts_at: datetime | None
    ends_at: datetime | None
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    generator_url: str = ""
    keyed: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """What a person answered through a source.

    Attributes:
        verb: Name of a verb of `answers.VERBS`.
        by: Who, as the source names them.
        via: The source, in one word.
        fields: What else the verb takes.
        incident: The incident, where the source names it.
        fingerprint: Else the alert it is about; the incident that holds it is meant.
        code: Else the reply code of the incident; one that this person was paged for is meant.
        reference: Else what the source calls the incident, if it said so before (`Delivery.named`).
        handle: What a policy may know the person by: an id, a telephone number.
        to: What the source calls whom it is handed over to; the first that a policy knows is meant.
        only_contacts: Nobody but a contact of a policy may answer: anyone can send a text.
    """

    verb: str
    by: str
    via: str
    fields: Mapping[str, str] = field(default_factory=dict)
    incident: str | None = None
    fingerprint: str | None = None
    code: str | None = None
    reference: str | None = None
    handle: str = ""
    to: tuple[str, ...] = ()
    only_contacts: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one request or record said.

    Attributes:
        truncated: How many alerts the sender cut off.
        group_key: The sender's own grouping, as an attribute; it names nothing here.
        answer: What a person said, if this is how a person speaks.
        confirm_url: An address that wants a visit before the sender sends anything.
        respond_to: An address at which whoever answered hears why it was not done.
        named: What the source calls an incident of ours, and the incident.
    """

    alerts: tuple[Seen, ...] = ()
    truncated: int = 0
    group_key: str = ""
    answer: Given | None = None
    confirm_url: str | None = None
    respond_to: str = ""
    named: tuple[str, str] | None = None
