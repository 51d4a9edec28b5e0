"""How to reach Kafka, once for every client of a process."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiokafka import ConsumerRecord
from aiokafka.helpers import create_ssl_context

from tocsin_runtime.records import Position, Record
from tocsin_runtime.settings import RuntimeSettings


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
