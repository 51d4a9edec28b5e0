"""Which adapter stands behind which port of remediation."""

from __future__ import annotations

import os
import socket

from remediation.adapters.command_runner import SubprocessRunner
from remediation.adapters.http_runner import HttpxRunner
from remediation.handlers import Remediator
from remediation.settings import RemediationSettings
from tocsin_casebook import INCIDENTS, Casebook, Policies
from tocsin_runtime.lifecycle import Runtime
from tocsin_runtime.telemetry import gauge


async def wire(runtime: Runtime, settings: RemediationSettings) -> None:
    """Put remediation together."""
    policies = Policies()
    await runtime.follow("policies", policies.apply)
    gauge("tocsin_policies_in_force", "Systems that have a policy", policies.__len__)
    started = runtime.clock.now().strftime("%Y%m%dT%H%M%S.%f")
    endpoints = {name: str(url) for name, url in settings.endpoints.items()}
    handler = Remediator(
        casebook=Casebook(runtime.reader),
        policies=policies,
        publisher=runtime.publisher,
        clock=runtime.clock,
        http=HttpxRunner(endpoints, runtime.clock),
        command=SubprocessRunner(settings.programs, runtime.clock),
        instance=f"{socket.gethostname()}-{os.getpid()}-{started}",
    )
    policies.on_change(handler.reconciler.policy_changed)
    runtime.consume(handler, (INCIDENTS,))
    runtime.background("steps", handler.run)
