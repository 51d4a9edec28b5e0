"""How to reach Kafka, once for every client of a process."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import ConsumerRecord
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.helpers import create_ssl_context

from tocsin_runtime.consuming import Budgets
from tocsin_runtime.records import Position, Record
from tocsin_runtime.settings import RuntimeSettings

FETCH_WAIT = timedelta(milliseconds=50)
"""Longest the broker holds a fetch that finds nothing. One fetch a broker is in flight, so with
the default of 500 ms a lane that was drained would wait that long for a quiet one's fetch."""


@dataclass(frozen=True, slots=True, repr=False)
class KafkaConnection:
    """Where the brokers are and how to prove who we are.

    Attributes:
        bootstrap: `host:port`, by comma.
        client: Name of this client in the brokers' logs and quotas.
        options: Further keyword arguments of every aiokafka client (security).
    """

    bootstrap: str
    client: str
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def from_settings(cls, settings: RuntimeSettings, client: str) -> KafkaConnection:
        """The connection an operator configured."""
        protocol = settings.kafka_security_protocol
        options: dict[str, Any] = {"security_protocol": protocol}
        if protocol.endswith("SSL"):
            options["ssl_context"] = _tls(settings)
        if protocol.startswith("SASL"):
            password = settings.kafka_sasl_password
            options |= {
                "sasl_mechanism": settings.kafka_sasl_mechanism,
                "sasl_plain_username": settings.kafka_sasl_username,
                "sasl_plain_password": None if password is None else password.get_secret_value(),
            }
        return cls(settings.kafka_bootstrap, client, tuple(options.items()))

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for an aiokafka client."""
        return {
            "bootstrap_servers": self.bootstrap,
            "client_id": self.client,
            **dict(self.options),
        }


def _tls(settings: RuntimeSettings) -> ssl.SSLContext:
    return create_ssl_context(
        cafile=settings.kafka_tls_ca_file,
        certfile=settings.kafka_tls_cert_file,
        keyfile=settings.kafka_tls_key_file,
    )


def as_record(message: ConsumerRecord[bytes, bytes]) -> Record:
    """What aiokafka read, as a value of ours."""
    return Record(
        position=Position(message.topic, message.partition, message.offset),
        key=message.key,
        value=message.value,
        headers=tuple(message.headers),
        recorded_at=datetime.fromtimestamp(message.timestamp / 1000, UTC),
    )


def consumer_arguments(
    connection: KafkaConnection,
    group: str,
    session_timeout: timedelta,
    instance: str | None,
    budgets: Budgets,
) -> dict[str, Any]:
    """Keyword arguments of a consumer that is a member of a group, the same for both engines.

    Args:
        instance: Name for static membership, or `None`.
    """
    return connection.arguments() | {
        "group_id": group,
        "group_instance_id": instance,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        # All members subscribe to the same topics of one partition count, so ranges coincide and
        # partition N of every topic goes to one member.
        "partition_assignment_strategy": (RangePartitionAssignor,),
        "session_timeout_ms": _ms(session_timeout),
        "heartbeat_interval_ms": _ms(session_timeout / 10),
        "rebalance_timeout_ms": _ms(budgets.drain * 2),
        "max_poll_interval_ms": _ms(budgets.assigned + budgets.handler * 2),
        "fetch_max_wait_ms": _ms(FETCH_WAIT),
        "max_partition_fetch_bytes": 1024 * 1024,
    }


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)
