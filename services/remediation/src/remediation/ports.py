"""What remediation needs from outside."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from remediation.domain.plan import Lost, Ran
from tocsin_policy import CommandCall, HttpCall


class HttpRunner(Protocol):
    """Makes a step's HTTP call. Never raises for what the network does."""

    async def run(self, call: HttpCall, timeout: timedelta) -> Ran | Lost:
        """What the call showed; `Lost` if the request may have arrived without an answer."""
        ...


class CommandRunner(Protocol):
    """Runs a step's program: argv only, no shell."""

    async def run(self, call: CommandCall, timeout: timedelta) -> Ran | Lost:
        """What the program showed, killed as a whole group after `timeout`."""
        ...
