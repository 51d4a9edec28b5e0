"""Which adapter stands behind which port of the notifier."""

from __future__ import annotations

import os
import socket

import httpx

from notifier.adapters.clients import http_client
from notifier.adapters.email import EmailChannel
from notifier.adapters.pagerduty import PagerDutyChannel
from notifier.adapters.redis_gate import OpenGate, RedisGate
from notifier.adapters.slack import SlackChannel
from notifier.adapters.webhook import WebhookChannel
from notifier.handlers import Notifier
from notifier.ports import Channel, Gate
from notifier.settings import (
    ChannelSettings,
    EmailSettings,
    NotifierSettings,
    PagerDutySettings,
    SlackSettings,
    WebhookSettings,
)
from tocsin_casebook import INCIDENTS, Casebook, Policies
from tocsin_runtime.lifecycle import Runtime
from tocsin_runtime.ports import Clock
from tocsin_runtime.telemetry import gauge


async def wire(runtime: Runtime, settings: NotifierSettings) -> None:
    """Put the notifier together."""
    policies = Policies()
    await runtime.follow("policies", policies.apply)
    gauge("tocsin_policies_in_force", "Systems that have a policy", policies.__len__)
    started = runtime.clock.now().strftime("%Y%m%dT%H%M%S.%f")
    handler = Notifier(
        casebook=Casebook(runtime.reader),
        policies=policies,
        publisher=runtime.publisher,
        clock=runtime.clock,
        channels=_channels(runtime, settings),
        gate=_gate(runtime, settings),
        instance=f"{socket.gethostname()}-{os.getpid()}-{started}",
    )
    policies.on_change(handler.reconciler.policy_changed)
    runtime.consume(handler, (INCIDENTS,))
    runtime.background("calls", handler.run)
    gauge("tocsin_calls_waiting", "Provider calls that wait for a worker", handler.waiting)


def _channels(runtime: Runtime, settings: NotifierSettings) -> dict[str, Channel]:
    channels: dict[str, Channel] = {}
    for name, channel in settings.channels.items():
        # A client each: a provider that hangs holds up its own pool and no other's.
        client = http_client(settings.provider_timeout)
        runtime.on_stop(client.aclose)
        channels[name] = _channel(channel, client, runtime.clock, settings.provider_timeout)
    return channels


def _channel(
    channel: ChannelSettings, client: httpx.AsyncClient, clock: Clock, timeout_seconds: float
) -> Channel:
    match channel:
        case SlackSettings(url=url):
            return SlackChannel(client, url.get_secret_value())
        case PagerDutySettings(url=endpoint, routing_key=key):
            return PagerDutyChannel(client, str(endpoint), key.get_secret_value())
        case WebhookSettings(url=endpoint, secret=secret):
            return WebhookChannel(client, str(endpoint), secret.get_secret_value(), clock)
        case EmailSettings():
            password = channel.password
            return EmailChannel(
                host=channel.host,
                port=channel.port,
                sender=channel.sender,
                start_tls=channel.start_tls,
                username=channel.username,
                password=password.get_secret_value() if password is not None else None,
                timeout_seconds=timeout_seconds,
            )


def _gate(runtime: Runtime, settings: NotifierSettings) -> Gate:
    if settings.redis_url is None:
        return OpenGate()
    kinds = {name: channel.kind for name, channel in settings.channels.items()}
    gate = RedisGate(settings.redis_url.get_secret_value(), kinds)
    runtime.on_stop(gate.close)
    return gate
