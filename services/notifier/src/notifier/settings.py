"""Everything an operator can change in the notifier."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import re2
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    model_validator,
)

from tocsin_contracts.links import LEAST_KEY
from tocsin_runtime.settings import Duration, RuntimeSettings

_INCIDENT = "{incident}"
_WEB = ("https://", "http://")


class _Channel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    per_second: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Calls a second that this account takes, where it is not what its provider documents."""

    def secrets(self) -> list[str]:
        """Every secret in it."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]

    def urls(self) -> list[str]:
        """Every URL in it, those that are secret too: where it may call, and nowhere else."""
        values = (getattr(self, name) for name in type(self).model_fields)
        texts = [str(value) for value in values if isinstance(value, HttpUrl)]
        return [one for one in (*texts, *self.secrets()) if one.startswith(_WEB)]

    def hosts(self) -> set[str]:
        """Every host it leads to."""
        return {str(urlsplit(url).hostname) for url in self.urls()}


class SlackSettings(_Channel):
    """An incoming webhook; its URL is the secret."""

    kind: Literal["slack"]
    url: SecretStr


class SlackAppSettings(_Channel):
    """An app of Slack's Web API; without a channel's id it writes to each person.

    With `rooms` each incident gets a channel of its own, named as the policy says.
    """

    kind: Literal["slack-app"]
    url: HttpUrl = HttpUrl("https://slack.com/api")
    token: SecretStr
    channel: str | None = None
    rooms: bool = False


class PagerDutySettings(_Channel):
    """An integration of Events API v2; with a REST key, updates become notes too."""

    kind: Literal["pagerduty"]
    url: HttpUrl = HttpUrl("https://events.pagerduty.com/v2/enqueue")
    routing_key: SecretStr
    rest_url: HttpUrl = HttpUrl("https://api.pagerduty.com")
    rest_token: SecretStr | None = None
    rest_user: str | None = None

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.rest_token is None) != (self.rest_user is None):
            raise ValueError("rest_token and rest_user (an e-mail address) go together")
        return self


class WebhookSettings(_Channel):
    """A signed webhook; the secret is `whsec_` and base64."""

    kind: Literal["webhook"]
    url: HttpUrl
    secret: SecretStr


class EmailSettings(_Channel):
    """An SMTP relay; `to` reads what is announced rather than sent to a person."""

    kind: Literal["email"]
    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    sender: str
    to: tuple[str, ...] = ()
    start_tls: bool = True
    implicit_tls: bool = False
    username: str | None = None
    password: SecretStr | None = None

    def hosts(self) -> set[str]:
        """The relay."""
        return {self.host}


class StatuspageSettings(_Channel):
    """A page of Statuspage; `components` leads from a service to the id of its component."""

    kind: Literal["statuspage"]
    url: HttpUrl = HttpUrl("https://api.statuspage.io/v1")
    page: Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$")]
    token: SecretStr
    components: dict[str, str] = Field(default_factory=dict)


class _TwilioSettings(_Channel):
    url: HttpUrl = HttpUrl("https://api.twilio.com")
    account: Annotated[str, Field(pattern=r"^AC[0-9a-f]{32}$")]
    token: SecretStr
    api_key: Annotated[str, Field(pattern=r"^SK[0-9a-f]{32}$")] | None = None

    @property
    def user(self) -> str:
        """Who the token belongs to: an API key, or else the account."""
        return self.api_key or self.account


class SmsSettings(_TwilioSettings):
    """Texts by Twilio; `answered` if replies reach the door, so that they are asked for."""

    kind: Literal["sms"]
    sender: Annotated[str, Field(pattern=r"^(\+[1-9][0-9]{6,14}|MG[0-9a-f]{32})$")]
    answered: bool = False


class VoiceSettings(_TwilioSettings):
    """Calls by Twilio; `answer_url` is where the key that was pressed reaches the door."""

    kind: Literal["voice"]
    sender: Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$")]
    answer_url: str | None = None


class GitHubSettings(_Channel):
    """Issues of one repository, `owner/name`."""

    kind: Literal["github"]
    url: HttpUrl = HttpUrl("https://api.github.com")
    repository: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    token: SecretStr
    labels: tuple[str, ...] = ()
    assignees: tuple[str, ...] = ()


class JiraSettings(_Channel):
    """Issues of one project of a site of Jira Cloud."""

    kind: Literal["jira"]
    url: HttpUrl
    user: str
    token: SecretStr
    project: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]+$")]
    issue_type: str = "Task"
    labels: tuple[Annotated[str, Field(pattern=r"^\S+$")], ...] = ()


class TeamsSettings(_Channel):
    """A Workflow of Microsoft Teams; its URL is the secret."""

    kind: Literal["teams"]
    url: SecretStr


class AppriseSettings(_Channel):
    """A URL of Apprise, which is the secret.

    Among `outgoing_hosts` it is `apprise:` and the URL's scheme: which host a scheme calls is
    Apprise's to know.
    """

    kind: Literal["apprise"]
    url: SecretStr

    def hosts(self) -> set[str]:
        """The scheme."""
        return {f"apprise:{self.url.get_secret_value().partition(':')[0].lower()}"}


ChannelSettings = Annotated[
    SlackSettings
    | SlackAppSettings
    | PagerDutySettings
    | WebhookSettings
    | EmailSettings
    | StatuspageSettings
    | SmsSettings
    | VoiceSettings
    | GitHubSettings
    | JiraSettings
    | TeamsSettings
    | AppriseSettings,
    Field(discriminator="kind"),
]


def _pattern(text: str) -> str:
    try:
        re2.compile(text)  # type: ignore[no-untyped-call]
    except re2.error as error:
        raise ValueError(f"not a pattern of RE2: {error}") from error
    return text


class NotifierSettings(RuntimeSettings):
    """What every service has, where channels lead, and the store behind the gate."""

    channels: dict[str, ChannelSettings] = Field(
        default_factory=dict,
        description="JSON object: endpoint a channel names -> where it leads, with what secret.",
    )
    outgoing_hosts: frozenset[str] | None = Field(
        None,
        description="JSON array of hosts that channels may lead to; a channel that leads elsewhere "
        "is refused at the start. Any host when absent; each channel calls only its own.",
    )
    incident_url: str | None = Field(
        None,
        description="Where an incident can be read, with `{incident}` in it; messages link there.",
    )
    answer_url: str | None = Field(
        None,
        description="Where people reach the door, `https://…`; mails then have links to answer by. "
        "Needs TOCSIN_LINK_KEY.",
    )
    link_key: Annotated[SecretStr, Field(min_length=LEAST_KEY)] | None = Field(
        None,
        description="What those links are signed with, 32 characters at least; among ingestion's "
        "TOCSIN_LINK_KEYS.",
    )
    link_good_for: Duration = Field(
        timedelta(hours=24), description="How long such a link works after the page was owed."
    )
    redact: tuple[Annotated[str, AfterValidator(_pattern)], ...] = Field(
        (), description="JSON array of RE2 patterns; what matches is never sent, nor logged."
    )
    provider_ca_file: Path | None = Field(
        None, description="PEM file of the authority that signed the providers' certificates."
    )
    redis_url: SecretStr | None = Field(
        None, description="Redis or Valkey for rates, circuits and claims; may be absent."
    )
    provider_timeout: Annotated[float, Field(gt=0, le=60)] = Field(
        10.0, description="Longest one call to a provider may take, in seconds."
    )

    @model_validator(mode="after")
    def _link(self) -> Self:
        if self.incident_url is not None and _INCIDENT not in self.incident_url:
            raise ValueError(f"incident_url must hold {_INCIDENT}")
        return self

    @model_validator(mode="after")
    def _links(self) -> Self:
        if (self.answer_url is None) != (self.link_key is None):
            raise ValueError("answer_url and link_key go together")
        if self.answer_url is not None and not self.answer_url.startswith(_WEB):
            raise ValueError("answer_url begins with https://")
        return self

    @model_validator(mode="after")
    def _hosts(self) -> Self:
        if self.outgoing_hosts is None:
            return self
        for name, channel in self.channels.items():
            elsewhere = channel.hosts() - self.outgoing_hosts
            if elsewhere:
                raise ValueError(f"channel {name!r} leads to {sorted(elsewhere)}: not allowed")
        return self

    def link_to(self, incident: str) -> str | None:
        """Where an incident can be read."""
        return None if self.incident_url is None else self.incident_url.replace(_INCIDENT, incident)
