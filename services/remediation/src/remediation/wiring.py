"""Which adapter stands behind which port of remediation."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from remediation.adapters.aws_runner import AwsRunner
from remediation.adapters.command_runner import Limits, Program, Programs, SubprocessRunner
from remediation.adapters.github_runner import GitHubRunner
from remediation.adapters.guarded import Guarded
from remediation.adapters.http_exchange import Endpoint, Exchange
from remediation.adapters.http_runner import HttpxRunner
from remediation.adapters.kubernetes import Access, KubernetesRunner
from remediation.adapters.prometheus_runner import PrometheusRunner
from remediation.adapters.redis_runner import RedisRunner
from remediation.adapters.sql_runner import SqlRunner
from remediation.handlers import Remediator
from remediation.ports import Runner
from remediation.settings import RemediationSettings
from tocsin_casebook import CLAIMS, FREEZES, INCIDENTS, Casebook, Claims, Freezes, Policies
from tocsin_policy.redacting import Redactor
from tocsin_runtime.lifecycle import Runtime
from tocsin_runtime.ports import Clock
from tocsin_runtime.telemetry import gauge


async def wire(runtime: Runtime, settings: RemediationSettings) -> None:
    """Put remediation together."""
    policies = Policies()
    await runtime.follow("policies", policies.apply)
    freezes = Freezes()
    await runtime.follow(FREEZES, freezes.apply)
    claims = Claims()
    await runtime.follow(CLAIMS, claims.apply)
    gauge("tocsin_policies_in_force", "Systems that have a policy", policies.__len__)
    started = runtime.clock.now().strftime("%Y%m%dT%H%M%S.%f")
    handler = Remediator(
        casebook=Casebook(runtime.reader),
        policies=policies,
        freezes=freezes,
        claims=claims,
        publisher=runtime.publisher,
        clock=runtime.clock,
        runners=runners(settings, runtime.clock),
        instance=f"{socket.gethostname()}-{os.getpid()}-{started}",
    )
    policies.on_change(handler.reconciler.policy_changed)
    runtime.consume(handler, (INCIDENTS,))
    runtime.background("steps", handler.run)


def runners(settings: RemediationSettings, clock: Clock) -> Mapping[str, Runner[Any]]:
    """Every runner there is, by the name a playbook's step gives it; none tells a secret."""
    exchange = Exchange(_endpoints(settings), ca_file=settings.endpoint_ca_file)
    programs = Programs(
        {
            name: Program(
                path,
                _revealed(settings.program_environment.get(name, {})),
                settings.program_directories.get(name),
            )
            for name, path in settings.programs.items()
        },
        Limits(settings.program_memory, settings.program_files),
    )
    redact = Redactor(secrets=_secrets(settings))
    bare: dict[str, Runner[Any]] = {
        "http": HttpxRunner(exchange, clock),
        "command": SubprocessRunner(programs, clock),
        "github": GitHubRunner(exchange, clock),
        "prometheus": PrometheusRunner(exchange, clock),
        "sql": SqlRunner(_revealed(settings.database_urls), clock),
        "redis": RedisRunner(_revealed(settings.redis_urls), clock),
        "aws": AwsRunner(programs, settings.aws_profiles, clock),
        "kubernetes": KubernetesRunner(_clusters(settings), clock),
    }
    return {name: Guarded(runner, redact) for name, runner in bare.items()}


def _clusters(settings: RemediationSettings) -> dict[str, Access]:
    return {
        name: Access(each.kubeconfig, each.context, each.service_account, each.namespaces)
        for name, each in settings.clusters.items()
    }


def _endpoints(settings: RemediationSettings) -> dict[str, Endpoint]:
    tokens = settings.endpoint_tokens
    return {
        name: Endpoint(str(url), tokens[name].get_secret_value() if name in tokens else None)
        for name, url in settings.endpoints.items()
    }


def _revealed(secrets: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: secret.get_secret_value() for name, secret in secrets.items()}


def _secrets(settings: RemediationSettings) -> Iterator[str]:
    """Every secret of the settings, to be masked wherever it shows."""
    kept: list[SecretStr] = list(settings.endpoint_tokens.values())
    for variables in settings.program_environment.values():
        kept += variables.values()
    yield from (secret.get_secret_value() for secret in kept)
    for url in (*settings.database_urls.values(), *settings.redis_urls.values()):
        password = urlsplit(url.get_secret_value()).password or ""
        yield from {password, unquote(password)}
