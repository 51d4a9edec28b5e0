"""Everything an operator can change in the notifier."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr

from tocsin_runtime.settings import RuntimeSettings


class _Channel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SlackSettings(_Channel):
    """An incoming webhook; its URL is the secret."""

    kind: Literal["slack"]
    url: SecretStr


class PagerDutySettings(_Channel):
    """An integration of Events API v2."""

    kind: Literal["pagerduty"]
    url: HttpUrl = HttpUrl("https://events.pagerduty.com/v2/enqueue")
    routing_key: SecretStr


class WebhookSettings(_Channel):
    """A signed webhook; the secret is `whsec_` and base64."""

    kind: Literal["webhook"]
    url: HttpUrl
    secret: SecretStr


class EmailSettings(_Channel):
    """An SMTP relay."""

    kind: Literal["email"]
    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    sender: str
    start_tls: bool = True
    username: str | None = None
    password: SecretStr | None = None


ChannelSettings = Annotated[
    SlackSettings | PagerDutySettings | WebhookSettings | EmailSettings,
    Field(discriminator="kind"),
]


class NotifierSettings(RuntimeSettings):
    """What every service has, where channels lead, and the store behind the gate."""

    channels: dict[str, ChannelSettings] = Field(
        default_factory=dict,
        description="JSON object: endpoint a channel names -> where it leads, with what secret.",
    )
    redis_url: SecretStr | None = Field(
        None, description="Redis or Valkey for rates, circuits and claims; may be absent."
    )
    provider_timeout: Annotated[float, Field(gt=0, le=60)] = Field(
        10.0, description="Longest one call to a provider may take, in seconds."
    )
