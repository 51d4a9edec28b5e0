"""Pingdom's webhooks.

Format: Pingdom documentation. There is no signature, and nothing to set but an address.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ingestion.domain.authentication import Token
from ingestion.domain.delivery import Delivery, Received, Seen
from ingestion.domain.fingerprint import fingerprint
from ingestion.domain.reading import Payload, instant, labels_of, read, short, text
from ingestion.domain.sources.source import Documentation, Source
from tocsin_contracts.alerts import ObservationStatus

_UP = {"UP", "SUCCESS"}


class _Check(Payload):
    check_id: int
    check_name: Annotated[str, Field(max_length=1_000)] = ""
    check_type: str = ""
    check_params: dict[str, Any] = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list)
    current_state: Literal["UP", "DOWN", "SUCCESS", "FAILING"]
    importance_level: str = ""
    state_changed_timestamp: Annotated[int, Field(ge=0)] | None = None
    long_description: str = ""
    description: str = ""


def parse(received: Received) -> Delivery:
    """The check's state; the check's id names the alert."""
    check = read(_Check, received.body)
    over = check.current_state in _UP
    changed = check.state_changed_timestamp
    at = None if changed is None else instant(changed)
    annotations = {
        "summary": short(f"{check.check_name}: {check.description}".strip(": "), 1_000),
        "description": short(check.long_description, 10_000),
        "url": text(check.check_params.get("full_url")),
    }
    return Delivery(
        alerts=(
            Seen(
                status=ObservationStatus.RESOLVED if over else ObservationStatus.FIRING,
                fingerprint=fingerprint({"pingdom_check": text(check.check_id)}),
                starts_at=None if over else at,
                ends_at=at or received.received_at if over else None,
                labels=labels_of(
                    {
                        "alertname": check.check_name or f"pingdom-{text(check.check_id)}",
                        "severity": check.importance_level.lower(),
                        "check_id": check.check_id,
                        "check_type": check.check_type,
                        "hostname": check.check_params.get("hostname"),
                        "tags": ",".join(check.tags),
                    }
                ),
                annotations={name: value for name, value in annotations.items() if value},
                keyed=True,
            ),
        )
    )


SOURCE = Source(
    name="pingdom",
    parse=parse,
    scheme=Token(parameter="token"),
    documentation=Documentation("Pingdom's webhooks"),
)
