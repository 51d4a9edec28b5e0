"""Where a channel may call: where its settings lead, and nowhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from pydantic import ValidationError

from notifier.adapters.calling import Caller, NotDone
from notifier.adapters.clients import http_client
from notifier.domain.doubt import KINDS
from notifier.domain.outcomes import Refused
from notifier.settings import NotifierSettings
from notifier.wiring import open_channels
from tocsin_simulation.clock import ManualClock
from tocsin_testkit.providers import AppriseTarget

HOOK: dict[str, object] = {"kind": "slack", "url": "https://hooks.slack.com/services/T/B/x"}
MAIL: dict[str, object] = {"kind": "email", "host": "smtp.example.org", "sender": "t@example.org"}


def settings(**changed: object) -> NotifierSettings:
    return NotifierSettings.model_validate(changed)


async def test_a_client_calls_the_hosts_of_its_urls_and_no_other() -> None:
    elsewhere = AppriseTarget()
    async with (
        elsewhere.serving() as url,
        http_client(1.0, ["https://hooks.slack.com/services/x"]) as client,
    ):
        with pytest.raises(NotDone) as refused:
            await Caller(client, timedelta(seconds=1)).call("POST", url)
    assert isinstance(refused.value.outcome, Refused)
    assert refused.value.outcome.reason == "host_not_allowed"
    assert elsewhere.requests == []


def test_a_channel_that_leads_to_a_host_not_listed_is_refused_at_the_start() -> None:
    listed = settings(channels={"chat": HOOK}, outgoing_hosts=["hooks.slack.com"])
    assert listed.channels["chat"].hosts() == {"hooks.slack.com"}
    with pytest.raises(ValidationError, match=r"'mail' leads to \['smtp.example.org'\]"):
        settings(channels={"chat": HOOK, "mail": MAIL}, outgoing_hosts=["hooks.slack.com"])


def test_a_refused_setting_does_not_show_its_secret() -> None:
    with pytest.raises(ValidationError) as refused:
        settings(channels={"chat": HOOK}, outgoing_hosts=["example.org"])
    assert "services/T/B" not in str(refused.value)


def test_an_address_of_incidents_must_have_room_for_one() -> None:
    assert settings(incident_url="https://t/{incident}").link_to("a-1") == "https://t/a-1"
    with pytest.raises(ValidationError, match="must hold"):
        settings(incident_url="https://t/")


def test_a_pattern_that_re2_does_not_know_is_refused() -> None:
    with pytest.raises(ValidationError, match="not a pattern of RE2"):
        settings(redact=["(?=ahead)"])


TWILIO = {"account": "AC" + "0" * 32, "token": "t0ken", "sender": "+15005550006"}
EVERY: dict[str, dict[str, object]] = {
    "slack": HOOK,
    "slack-app": {"kind": "slack-app", "token": "xoxb-1"},
    "pagerduty": {"kind": "pagerduty", "routing_key": "0" * 32},
    "webhook": {"kind": "webhook", "url": "https://hook.example.com/", "secret": "whsec_AAAA"},
    "email": MAIL,
    "statuspage": {"kind": "statuspage", "page": "p4ge", "token": "t0ken"},
    "sms": {"kind": "sms", **TWILIO},
    "voice": {"kind": "voice", **TWILIO},
    "github": {"kind": "github", "repository": "acme/shop", "token": "t0ken"},
    "jira": {
        "kind": "jira",
        "url": "https://acme.atlassian.net",
        "user": "t@example.com",
        "token": "t0ken",
        "project": "OPS",
    },
    "teams": {"kind": "teams", "url": "https://x.logic.azure.com/workflows/1?sig=x"},
    "apprise": {"kind": "apprise", "url": "json://localhost/"},
}


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
async def test_every_kind_of_settings_makes_a_channel_that_can_be_closed() -> None:
    closing: list[Callable[[], Awaitable[None]]] = []
    channels = open_channels(settings(channels=EVERY), ManualClock(), closing.append)
    assert set(channels) == set(KINDS) == set(EVERY)
    for close in closing:
        await close()


def test_a_client_may_call_where_its_channel_s_provider_is() -> None:
    hosts = {name: channel.hosts() for name, channel in settings(channels=EVERY).channels.items()}
    assert hosts["pagerduty"] == {"events.pagerduty.com", "api.pagerduty.com"}
    assert hosts["sms"] == hosts["voice"] == {"api.twilio.com"}
    assert hosts["github"] == {"api.github.com"}
    assert hosts["teams"] == {"x.logic.azure.com"}
    assert hosts["apprise"] == {"apprise:json"}
