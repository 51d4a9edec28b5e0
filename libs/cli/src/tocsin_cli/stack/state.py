"""What a running stack says about itself, for whoever asks: one JSON file, replaced whole."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, SecretStr, field_serializer

Phase = Literal["starting", "running"]


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServiceState(_Said):
    """One process of the stack.

    Attributes:
        pid: Of the process that runs now; None while it waits to be started again.
        ops_url: Where `/healthz`, `/readyz` and `/metrics` are.
        restarts: How often it ended by itself and was started again.
        log: Its output.
    """

    pid: int | None
    ops_url: str
    restarts: int
    log: Path


class StackState(_Said):
    """Addresses and processes of one stack.

    Attributes:
        phase: `starting` until every service is ready for the first time.
        supervisor: Process id; ending it with SIGTERM ends everything in order.
        webhook_token: What ingestion asks senders of alerts to show.
        api_token: What ingestion asks people's tools to show.
    """

    phase: Phase
    supervisor: int
    bootstrap: str
    redis_url: str
    ingestion_url: str
    webhook_token: SecretStr
    api_token: SecretStr
    services: dict[str, ServiceState]

    @field_serializer("webhook_token", "api_token", when_used="json")
    def _to_our_own_file(self, token: SecretStr) -> str:
        return token.get_secret_value()


def save(state: StackState, file: Path) -> None:
    """Replace what the file said; only its owner can read it, since it holds the tokens."""
    new = file.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(state.model_dump_json(indent=2))
    new.replace(file)


def load(file: Path) -> StackState | None:
    """What the file says; None if there is none."""
    try:
        return StackState.model_validate_json(file.read_text())
    except FileNotFoundError:
        return None
