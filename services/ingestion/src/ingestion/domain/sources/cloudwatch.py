"""CloudWatch alarms through SNS.

Format: the SNS developer guide. The body is JSON though its content type says text; the alarm is
JSON in a string in it. The first message of a topic asks for a visit that confirms the
subscription. An alarm without enough data is not over.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ingestion.domain.authentication import NamedTopic, is_sns_address
from ingestion.domain.delivery import Delivery, Malformed, Received, Seen
from ingestion.domain.fingerprint import fingerprint
from ingestion.domain.reading import Payload, When, labels_of, read, short
from ingestion.domain.sources.source import Documentation, Source
from tocsin_contracts.alerts import ObservationStatus

_ARN_REGION = 3
_MOST_DIMENSIONS = 30


class _Envelope(Payload):
    type: Annotated[
        Literal["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"],
        Field(alias="Type"),
    ]
    message: Annotated[str, Field(alias="Message")]
    subscribe_url: Annotated[str, Field(alias="SubscribeURL")] = ""


class _Alarm(Payload):
    name: Annotated[str, Field(alias="AlarmName", min_length=1, max_length=1_000)]
    arn: Annotated[str, Field(alias="AlarmArn")] = ""
    description: Annotated[str | None, Field(alias="AlarmDescription")] = None
    account: Annotated[str, Field(alias="AWSAccountId")] = ""
    state: Annotated[Literal["ALARM", "OK", "INSUFFICIENT_DATA"], Field(alias="NewStateValue")]
    reason: Annotated[str, Field(alias="NewStateReason")] = ""
    changed_at: Annotated[When | None, Field(alias="StateChangeTime")] = None
    trigger: Annotated[dict[str, Any], Field(alias="Trigger")] = Field(default_factory=dict)


def parse(received: Received) -> Delivery:
    """The alarm's state, or the address to visit."""
    envelope = read(_Envelope, received.body)
    if envelope.type == "SubscriptionConfirmation":
        if not is_sns_address(envelope.subscribe_url):
            raise Malformed("invalid_field", "SubscribeURL", "no address of Amazon SNS")
        return Delivery(confirm_url=envelope.subscribe_url)
    if envelope.type == "UnsubscribeConfirmation":
        return Delivery()
    alarm = read(_Alarm, envelope.message.encode())
    over = alarm.state == "OK"
    at = alarm.changed_at
    annotations = {
        "summary": alarm.description or alarm.name,
        "description": short(alarm.reason, 10_000),
    }
    return Delivery(
        alerts=(
            Seen(
                status=ObservationStatus.RESOLVED if over else ObservationStatus.FIRING,
                fingerprint=fingerprint({"alarm": alarm.arn or alarm.name}),
                starts_at=None if over else at,
                ends_at=at or received.received_at if over else None,
                labels=_labels(alarm),
                annotations=annotations,
                keyed=True,
            ),
        )
    )


def _labels(alarm: _Alarm) -> dict[str, str]:
    parts = alarm.arn.split(":")
    dimensions = alarm.trigger.get("Dimensions")
    named: dict[str, object] = {}
    for each in dimensions[:_MOST_DIMENSIONS] if isinstance(dimensions, list) else ():
        if isinstance(each, dict) and isinstance(each.get("name"), str):
            named[each["name"]] = each.get("value")
    return {
        **labels_of(named),
        **labels_of(
            {
                "alertname": alarm.name,
                "state": alarm.state,
                "account": alarm.account,
                "region": parts[_ARN_REGION] if len(parts) > _ARN_REGION else "",
                "metric": alarm.trigger.get("MetricName"),
                "namespace": alarm.trigger.get("Namespace"),
            }
        ),
    }


SOURCE = Source(
    name="cloudwatch",
    parse=parse,
    scheme=NamedTopic(),
    documentation=Documentation(
        "CloudWatch alarms through SNS", content_types=("text/plain", "application/json")
    ),
)
