"""HTTP steps: to endpoints the operator named, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import httpx

from remediation.domain.plan import Lost, Ran, evidence
from tocsin_policy import HttpCall
from tocsin_runtime.ports import Clock


class HttpxRunner:
    """Calls `endpoint + path`; a policy names endpoints, only settings say where they are.

    No redirect is followed, so the allow-list cannot be left.
    """

    def __init__(self, endpoints: Mapping[str, str], clock: Clock) -> None:
        self._endpoints = endpoints
        self._clock = clock

    async def run(self, call: HttpCall, timeout: timedelta) -> Ran | Lost:
        """What the call showed."""
        base = self._endpoints.get(call.endpoint)
        if base is None:
            return Ran(
                succeeded=False,
                reason="endpoint_not_configured",
                evidence=evidence(f"no settings for endpoint {call.endpoint!r}", timedelta()),
            )
        started = self._clock.monotonic()
        reads = call.method in {"GET", "HEAD"}
        try:
            async with httpx.AsyncClient(
                timeout=timeout.total_seconds(), follow_redirects=False
            ) as client:
                response = await client.request(call.method, base.rstrip("/") + call.path)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return self._failed("unreachable", error, started)
        except httpx.HTTPError as error:
            # A read that got no answer changed nothing; anything else may have.
            if reads:
                return self._failed("no_answer", error, started)
            return Lost(f"no_answer_{type(error).__name__}")
        took = timedelta(seconds=self._clock.monotonic() - started)
        shown = evidence(response.text, took, http_status=response.status_code)
        if response.status_code != call.expect_status:
            return Ran(succeeded=False, reason="unexpected_status", evidence=shown)
        if call.expect_body_contains and call.expect_body_contains not in response.text:
            return Ran(succeeded=False, reason="unexpected_body", evidence=shown)
        return Ran(succeeded=True, reason="as_expected", evidence=shown)

    def _failed(self, reason: str, error: Exception, started: float) -> Ran:
        took = timedelta(seconds=self._clock.monotonic() - started)
        return Ran(succeeded=False, reason=reason, evidence=evidence(type(error).__name__, took))
