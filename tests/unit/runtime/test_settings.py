"""Settings an operator gives, and the table that tells of them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.settings import RuntimeSettings, settings_table


def test_variables_with_the_prefix_set_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_KAFKA_BOOTSTRAP", "kafka:9092")
    monkeypatch.setenv("TOCSIN_HANDLER_BUDGET", "5")
    settings = RuntimeSettings()
    assert settings.kafka_bootstrap == "kafka:9092"
    assert settings.handler_budget == timedelta(seconds=5)


def test_a_duration_of_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_STOP_GRACE", "0")
    with pytest.raises(ValidationError, match="stop_grace"):
        RuntimeSettings()


def test_a_password_reaches_the_client_and_no_representation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOCSIN_KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    monkeypatch.setenv("TOCSIN_KAFKA_SASL_USERNAME", "svc")
    monkeypatch.setenv("TOCSIN_KAFKA_SASL_PASSWORD", "hunter2")
    settings = RuntimeSettings()
    connection = KafkaConnection.from_settings(settings, "me")
    assert connection.arguments()["sasl_plain_password"] == "hunter2"
    assert "hunter2" not in repr(settings) + repr(connection)


def test_the_table_names_every_setting_with_its_default_and_meaning() -> None:
    table = settings_table(RuntimeSettings)
    assert "| `TOCSIN_HANDLER_BUDGET` | `30 s` |" in table
    missing = [name for name in RuntimeSettings.model_fields if name.upper() not in table]
    assert missing == []
    assert all(field.description for field in RuntimeSettings.model_fields.values())
