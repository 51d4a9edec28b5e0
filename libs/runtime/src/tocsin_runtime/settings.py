"""What an operator can change in every service: environment variables starting with `TOCSIN_`."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRETS = Path("/run/secrets/tocsin")
"""Where an orchestrator mounts secrets: one file a setting, named like the variable."""


class EngineName(StrEnum):
    """What consumes records; both pass one conformance suite."""

    FAUST = "faust"
    AIOKAFKA = "aiokafka"


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta():
        raise ValueError("must be longer than nothing")
    return value


def _seconds(value: object) -> object:
    """A number of seconds in a string, as variables hold it, made a number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Duration = Annotated[timedelta, BeforeValidator(_seconds), AfterValidator(_positive)]
"""Seconds, or ISO 8601 (`PT30S`)."""


class RuntimeSettings(BaseSettings):
    """Settings shared by all services; a service's own settings subclass this."""

    model_config = SettingsConfigDict(
        env_prefix="TOCSIN_",
        extra="ignore",
        frozen=True,
        # What is refused may be, or hold, a secret, and the refusal goes to a log.
        hide_input_in_errors=True,
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
    )

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="Brokers, `host:port`, by comma.")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to Kafka."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="SASL mechanism, when the protocol has SASL."
    )
    kafka_sasl_username: str | None = Field(None, description="SASL user name.")
    kafka_sasl_password: SecretStr | None = Field(None, description="SASL password.")
    kafka_tls_ca_file: Path | None = Field(
        None, description="PEM file of the authority that signed the brokers' certificates."
    )
    kafka_tls_cert_file: Path | None = Field(
        None, description="PEM file of our certificate, for mutual TLS."
    )
    kafka_tls_key_file: Path | None = Field(None, description="PEM file of our private key.")
    kafka_group: str | None = Field(
        None, description="Consumer group; the service's name when absent."
    )
    kafka_instance: str | None = Field(
        None,
        description="Stable name of this instance (static membership): a restart inside the "
        "session timeout moves no partitions.",
    )
    kafka_session_timeout: Duration = Field(
        timedelta(seconds=30), description="Silence after which the group gives our work away."
    )
    engine: EngineName | None = Field(
        None, description="Consume engine; the service's own choice when absent."
    )
    max_batch: int = Field(256, ge=1, le=10_000, description="Most records handled at once.")
    handler_budget: Duration = Field(
        timedelta(seconds=30), description="Longest one batch may take before it is tried again."
    )
    stop_grace: Duration = Field(
        timedelta(seconds=20), description="Longest a stop may take after SIGTERM."
    )
    stale_after: Duration = Field(
        timedelta(seconds=60), description="Without progress for this long, `/healthz` fails."
    )
    ops_host: str = Field("0.0.0.0", description="Address of /healthz, /readyz and /metrics.")
    ops_port: int = Field(
        0, ge=0, le=65535, description="Their port; 0 takes a free one and logs it."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto`: for people on a terminal, JSON elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )
    otel_endpoint: str | None = Field(
        None, description="OTLP/HTTP endpoint for traces and metrics; nothing is sent when absent."
    )


def settings_table(settings: type[BaseSettings]) -> str:
    """The settings of a class as a Markdown table, for the docs."""
    prefix = settings.model_config.get("env_prefix", "")
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in sorted(settings.model_fields.items()):
        variable = f"`{prefix}{name}`".upper()
        default = field.get_default(call_default_factory=False)
        shown = "" if default is None or default is PydanticUndefined else f"`{_shown(default)}`"
        if field.is_required():
            shown = "required"
        rows.append(f"| {variable} | {shown} | {field.description or ''} |")
    return "\n".join(rows) + "\n"


def _shown(value: object) -> str:
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    return str(value)
