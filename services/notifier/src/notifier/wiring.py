"""Which adapter stands behind which port of the notifier."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from notifier.adapters.apprise import AppriseChannel
from notifier.adapters.calling import Caller
from notifier.adapters.clients import http_client
from notifier.adapters.email import EmailChannel, Tls
from notifier.adapters.github import GitHubChannel
from notifier.adapters.guarded import Guarded
from notifier.adapters.jira import JiraChannel
from notifier.adapters.local_gate import LocalGate
from notifier.adapters.pagerduty import PagerDutyChannel, Rest
from notifier.adapters.redis_gate import RedisGate
from notifier.adapters.slack import SlackChannel
from notifier.adapters.slack_app import SlackAppChannel
from notifier.adapters.statuspage import StatuspageChannel
from notifier.adapters.teams import TeamsChannel
from notifier.adapters.twilio import Account, SmsChannel, VoiceChannel
from notifier.adapters.webhook import WebhookChannel
from notifier.domain.answering import AnswerLink, AnswerLinks
from notifier.domain.pacing import Rate
from notifier.handlers import Notifier
from notifier.heartbeats import HEARTBEATS, Heart
from notifier.ports import Channel, Gate
from notifier.settings import (
    AppriseSettings,
    ChannelSettings,
    EmailSettings,
    GitHubSettings,
    JiraSettings,
    NotifierSettings,
    PagerDutySettings,
    SlackAppSettings,
    SlackSettings,
    SmsSettings,
    StatuspageSettings,
    TeamsSettings,
    VoiceSettings,
    WebhookSettings,
)
from tocsin_casebook import INCIDENTS, Casebook, Policies
from tocsin_incident.state import Notification
from tocsin_policy.redacting import Redactor
from tocsin_runtime.lifecycle import Runtime
from tocsin_runtime.ports import Clock
from tocsin_runtime.telemetry import gauge, gauges


async def wire(runtime: Runtime, settings: NotifierSettings) -> None:
    """Put the notifier together."""
    policies = Policies()
    await runtime.follow("policies", policies.apply)
    gauge("tocsin_policies_in_force", "Systems that have a policy", policies.__len__)
    started = runtime.clock.now().strftime("%Y%m%dT%H%M%S.%f")
    instance = f"{socket.gethostname()}-{os.getpid()}-{started}"
    channels = open_channels(settings, runtime.clock, runtime.on_stop)
    gate = _gate(runtime, settings)
    handler = Notifier(
        casebook=Casebook(runtime.reader),
        policies=policies,
        publisher=runtime.publisher,
        clock=runtime.clock,
        channels=channels,
        redact=redactor_of(settings),
        gate=gate,
        rates=_rates(settings),
        link_to=settings.link_to,
        answers=_answers(settings),
        instance=instance,
    )
    policies.on_change(handler.reconciler.policy_changed)
    runtime.consume(handler, (INCIDENTS,))
    runtime.background("calls", handler.run)
    heart = Heart(
        policies=policies,
        publisher=runtime.publisher,
        clock=runtime.clock,
        channels=channels,
        gate=gate,
        rates=_rates(settings),
        instance=instance,
    )
    await runtime.follow(HEARTBEATS, heart.apply)
    runtime.background("heartbeats", heart.run)
    gauges(
        "tocsin_heartbeat_deadline_timestamp_seconds",
        "When a channel's next synthetic page must have arrived",
        heart.deadlines,
    )
    gauge("tocsin_calls_waiting", "Provider calls that wait for a worker", handler.waiting)


def open_channels(
    settings: NotifierSettings,
    clock: Clock,
    on_stop: Callable[[Callable[[], Awaitable[None]]], Any],
) -> dict[str, Channel]:
    """Every channel of the settings, by the endpoint's name.

    Args:
        on_stop: Takes what closes each of them.
    """
    channels: dict[str, Channel] = {}
    redact = redactor_of(settings)
    for name, channel in settings.channels.items():
        # A client each: a provider that hangs holds up its own pool and no other's.
        client = http_client(
            settings.provider_timeout, channel.urls(), ca_file=settings.provider_ca_file
        )
        on_stop(client.aclose)
        calls = Caller(client, timedelta(seconds=settings.provider_timeout))
        adapter = channel_of(channel, calls, clock, settings)
        if isinstance(adapter, AppriseChannel):
            on_stop(adapter.close)
        channels[name] = Guarded(adapter, redact)
    return channels


def redactor_of(settings: NotifierSettings) -> Redactor:
    """What blanks out every secret of the settings, and whatever looks like one."""
    known = [secret for channel in settings.channels.values() for secret in channel.secrets()]
    if settings.link_key is not None:
        known.append(_open(settings.link_key))
    return Redactor(settings.redact, known)


def channel_of(
    channel: ChannelSettings, calls: Caller, clock: Clock, settings: NotifierSettings
) -> Channel:
    """The adapter that a channel's settings ask for."""
    match channel:
        case SlackSettings():
            return SlackChannel(calls, _open(channel.url))
        case SlackAppSettings():
            return SlackAppChannel(
                calls,
                str(channel.url),
                _open(channel.token),
                channel.channel,
                rooms=channel.rooms,
            )
        case PagerDutySettings():
            rest = None
            if channel.rest_token is not None and channel.rest_user is not None:
                rest = Rest(str(channel.rest_url), _open(channel.rest_token), channel.rest_user)
            key = _open(channel.routing_key)
            return PagerDutyChannel(calls, str(channel.url), key, clock, rest)
        case WebhookSettings():
            return WebhookChannel(calls, str(channel.url), _open(channel.secret), clock)
        case SmsSettings():
            return SmsChannel(calls, _account(channel), answered=channel.answered)
        case VoiceSettings():
            return VoiceChannel(calls, _account(channel), channel.answer_url)
        case StatuspageSettings() | GitHubSettings() | JiraSettings():
            return _record_of(channel, calls, clock)
        case TeamsSettings():
            return TeamsChannel(calls, _open(channel.url))
        case AppriseSettings():
            timeout = timedelta(seconds=settings.provider_timeout)
            return AppriseChannel(_open(channel.url), timeout, settings.provider_ca_file)
        case EmailSettings():
            tls: Tls = "starttls" if channel.start_tls else "none"
            return EmailChannel(
                host=channel.host,
                port=channel.port,
                sender=channel.sender,
                clock=clock,
                tls="implicit" if channel.implicit_tls else tls,
                to=channel.to,
                username=channel.username,
                password=_open(channel.password) if channel.password is not None else None,
                timeout=timedelta(seconds=settings.provider_timeout),
                ca_file=settings.provider_ca_file,
            )


def _record_of(
    channel: StatuspageSettings | GitHubSettings | JiraSettings, calls: Caller, clock: Clock
) -> Channel:
    """What keeps an entry of an incident, rather than telling somebody of it."""
    match channel:
        case StatuspageSettings():
            token = _open(channel.token)
            return StatuspageChannel(
                calls, str(channel.url), channel.page, token, channel.components
            )
        case GitHubSettings():
            return GitHubChannel(
                calls,
                str(channel.url),
                channel.repository,
                _open(channel.token),
                clock,
                labels=channel.labels,
                assignees=channel.assignees,
            )
        case JiraSettings():
            return JiraChannel(
                calls,
                str(channel.url),
                channel.user,
                _open(channel.token),
                channel.project,
                issue_type=channel.issue_type,
                labels=channel.labels,
            )


def _account(channel: SmsSettings | VoiceSettings) -> Account:
    return Account(
        url=str(channel.url),
        account=channel.account,
        user=channel.user,
        password=_open(channel.token),
        sender=channel.sender,
    )


def _open(secret: SecretStr) -> str:
    return secret.get_secret_value()


def _answers(
    settings: NotifierSettings,
) -> Callable[[str, Notification], tuple[AnswerLink, ...]]:
    if settings.answer_url is None or settings.link_key is None:
        return lambda *_: ()
    return AnswerLinks(settings.answer_url, _open(settings.link_key), settings.link_good_for)


def _rates(settings: NotifierSettings) -> dict[str, Rate]:
    return {
        name: Rate.per_second(channel.per_second)
        for name, channel in settings.channels.items()
        if channel.per_second is not None
    }


def _gate(runtime: Runtime, settings: NotifierSettings) -> Gate:
    if settings.redis_url is None:
        return LocalGate(runtime.clock)
    gate = RedisGate(settings.redis_url.get_secret_value(), runtime.clock)
    runtime.on_stop(gate.close)
    return gate
