"""From an adapter to a provider's double without a socket: in virtual time, on a bad day."""

from __future__ import annotations

import httpx

from tocsin_runtime.failures import Transient
from tocsin_simulation.faults import Faults, Outcome
from tocsin_simulation.memory_log import call
from tocsin_testkit.providers.serving import Provider, Reply, Request


class Direct(httpx.AsyncBaseTransport):
    """Carries requests to one provider, or loses them or their answers, as the day has it.

    What travels arrives, though whoever sent it may be dead by then.
    """

    def __init__(self, provider: Provider, faults: Faults) -> None:
        self._provider = provider
        self._faults = faults

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The provider's answer."""
        asked = Request(
            request.method,
            request.url.path,
            dict(request.url.params),
            {name.lower(): value for name, value in request.headers.items()},
            await request.aread(),
        )
        fate = self._faults.deliver()

        def arrive() -> Reply:
            if fate.outcome is Outcome.REFUSED:
                raise Transient("refused")
            self._provider.requests.append(asked)
            reply = self._provider.take(asked)
            if fate.outcome is Outcome.UNKNOWN:
                raise Transient("lost")
            return reply

        try:
            reply = await call(arrive, fate)
        except Transient as error:
            lost = fate.outcome is Outcome.UNKNOWN
            kind = httpx.ReadTimeout if lost else httpx.ConnectError
            raise kind(error.reason, request=request) from error
        return httpx.Response(reply.status, headers=dict(reply.headers), text=reply.body)
