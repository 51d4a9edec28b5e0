"""The five services as processes: how each is started, and where it listens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Service:
    """One of the five.

    Attributes:
        name: As in the registry and the logs.
        module: What `python -m` runs.
    """

    name: str
    module: str


SERVICES = (
    Service("ingestion", "ingestion"),
    Service("classifier", "classifier"),
    Service("escalation-timer", "escalation_timer"),
    Service("notifier", "notifier"),
    Service("remediation", "remediation"),
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all services are told alike.

    Attributes:
        bootstrap: Kafka.
        redis_url: Valkey.
        door_port: Where ingestion takes alerts and answers.
        webhook_token: What senders of alerts must show.
        api_token: What people's tools must show.
    """

    bootstrap: str
    redis_url: str
    door_port: int
    webhook_token: str
    api_token: str


def environment(service: Service, around: Surroundings, ops_port: int) -> Mapping[str, str]:
    """The environment variables one service is started with."""
    variables = {
        "TOCSIN_KAFKA_BOOTSTRAP": around.bootstrap,
        "TOCSIN_KAFKA_INSTANCE": f"{service.name}-local",
        "TOCSIN_OPS_HOST": "127.0.0.1",
        "TOCSIN_OPS_PORT": str(ops_port),
    }
    if service.name == "ingestion":
        variables |= {
            "TOCSIN_HOST": "127.0.0.1",
            "TOCSIN_PORT": str(around.door_port),
            "TOCSIN_WEBHOOK_TOKEN": around.webhook_token,
            "TOCSIN_API_TOKEN": around.api_token,
        }
    if service.name == "notifier":
        variables |= {"TOCSIN_REDIS_URL": around.redis_url}
    return variables
