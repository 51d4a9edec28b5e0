"""Everything an operator can change in ingestion."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from tocsin_contracts.links import LEAST_KEY
from tocsin_runtime.settings import Duration, RuntimeSettings

AnswerKey = Annotated[SecretStr, Field(min_length=LEAST_KEY)]


class SourceKey(BaseModel):
    """A secret of a sender, and labels its alerts get."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    secret: SecretStr
    labels: dict[str, str] = Field(default_factory=dict)


class IngestionSettings(RuntimeSettings):
    """What every service has, the door's address, its secrets and its limits."""

    host: str = Field("0.0.0.0", description="Address of the door.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8080, description="Its port; 0 takes a free one and logs it."
    )
    public_url: str = Field(
        "", description="Where senders know the door, for signatures over an address (Twilio)."
    )
    webhook_token: SecretStr | None = Field(
        None, description="Bearer token of senders of alerts. Required unless anonymous."
    )
    api_token: SecretStr | None = Field(
        None, description="Bearer token of people's tools. Required unless anonymous."
    )
    allow_anonymous: bool = Field(
        default=False, description="Take in anything from anyone; for trials on one machine only."
    )
    source_keys: dict[str, tuple[SourceKey, ...]] = Field(
        default_factory=dict,
        description='Secrets of sources, JSON: `{"github": [{"secret": "…", "labels": {…}}]}`. '
        "See the page on sources.",
    )
    mappings: dict[str, dict[str, object]] = Field(
        default_factory=dict,
        description="Sources of any JSON, by name: CEL expressions, see the page on sources.",
    )
    link_keys: tuple[AnswerKey, ...] = Field(
        (),
        description="JSON array of keys that links of mails are signed with, 32 characters each at "
        "least; several while one is replaced. The notifier's TOCSIN_LINK_KEY is among them.",
    )
    people: dict[str, str] = Field(
        default_factory=dict,
        description='Contacts by what sources call them, JSON: `{"slack:U123": "alice"}`; "" for '
        "the notifier's own users there.",
    )
    source_rate: Annotated[float, Field(gt=0, le=1_000_000)] = Field(
        5_000.0, description="Deliveries of one source a second; more are told to come again."
    )
    max_body_bytes: Annotated[int, Field(ge=1_024, le=5 * 1024 * 1024)] = Field(
        4 * 1024 * 1024,
        description="Largest request body, after decompression; a larger one is refused with 413.",
    )
    max_requests: Annotated[int, Field(ge=1, le=10_000)] = Field(
        256, description="Requests taken in at once; one more is refused with 503."
    )
    accept_timeout: Duration = Field(
        timedelta(seconds=5),
        description="Longest a request waits for Kafka; then it is refused with 503.",
    )
    read_timeout: Duration = Field(
        timedelta(seconds=10), description="Longest a request's body may take to come."
    )
    look_back: Duration = Field(
        timedelta(hours=6),
        description="How far back the first question about alerts reads the log.",
    )

    @model_validator(mode="after")
    def _tokens_are_there(self) -> Self:
        if self.allow_anonymous:
            return self
        missing = [
            f"TOCSIN_{name.upper()}"
            for name in ("webhook_token", "api_token")
            if getattr(self, name) is None
        ]
        if missing:
            raise ValueError(f"set {' and '.join(missing)}, or TOCSIN_ALLOW_ANONYMOUS=true")
        return self
