"""HTTP steps: to endpoints the operator named, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta

from remediation.adapters.http_exchange import (
    READS,
    Answer,
    Exchange,
    NotSent,
    Request,
    Unanswered,
)
from remediation.adapters.outcomes import LOOK_EVERY, Timer, failed, fingerprint, no_undo, until
from remediation.domain.plan import Lost, Planned, Ran, evidence
from tocsin_policy import HttpCall
from tocsin_runtime.ports import Clock

_NOBODY_KNOWS = frozenset({502, 504})
"""A proxy's word that it lost the server, which may have done what it was asked."""


class HttpxRunner:
    """Calls `endpoint + path`. A `Runner`.

    GET and HEAD only look; what any other method did is not known once the request has left and
    no answer came.
    """

    def __init__(
        self, exchange: Exchange, clock: Clock, *, look_every: timedelta = LOOK_EVERY
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._look_every = look_every

    async def plan(self, call: HttpCall, timeout: timedelta) -> Planned | Ran:
        """The request as it would be sent, and where to; only the name is looked up."""
        del timeout
        found = await self._exchange.where(call.endpoint, call.path)
        if isinstance(found, NotSent):
            return failed(found.reason, found.detail)
        url, addresses = found
        request = _text(call, url)
        where = f"{call.endpoint} is at {', '.join(addresses)}"
        if call.method in READS:
            return Planned(state=f"{where}\n{request}", fingerprint=fingerprint(request))
        return Planned(
            targets=(f"http:{call.endpoint}{call.path.partition('?')[0]}",),
            state=where,
            diff=request,
            pods=1,
            fingerprint=fingerprint(request),
        )

    async def run(self, call: HttpCall, timeout: timedelta) -> Ran | Lost:
        """Make the call once."""
        timer = Timer(self._clock)
        answer = await self._exchange.send(call.endpoint, _request(call), timeout)
        match answer:
            case NotSent(reason, detail):
                return failed(reason, detail, timer.took())
            case Unanswered(reason):
                # A look that got no answer changed nothing; anything else may have.
                if call.method in READS:
                    return failed(reason, "no answer", timer.took())
                return Lost(reason)
            case Answer():
                return _judged(call, answer, timer.took())

    async def verify(self, call: HttpCall, timeout: timedelta) -> Ran | Lost:
        """Ask until the answer is as expected; only what reads may be asked."""
        if call.method not in READS:
            return failed("not_a_look", f"{call.method} changes something")
        return await until(
            lambda left: self.run(call, left), timeout, self._clock, self._look_every
        )

    async def undo(
        self, call: HttpCall, changed: Mapping[str, str], timeout: timedelta
    ) -> Ran | Lost:
        """Nothing: what a request did only another request, which the playbook names, undoes."""
        del call, changed, timeout
        return no_undo("only another call takes an HTTP call back")


def _request(call: HttpCall) -> Request:
    if call.body is None:
        return Request(call.method, call.path)
    return Request(
        call.method, call.path, call.body.encode(), {"Content-Type": _content_type(call.body)}
    )


def _content_type(body: str) -> str:
    try:
        json.loads(body)
    except ValueError:
        return "text/plain; charset=utf-8"
    return "application/json"


def _text(call: HttpCall, url: str) -> str:
    body = f"\nContent-Type: {_content_type(call.body)}\n\n{call.body}" if call.body else ""
    return f"{call.method} {url}{body}"


def _judged(call: HttpCall, answer: Answer, took: timedelta) -> Ran | Lost:
    shown = evidence(answer.text, took, http_status=answer.status)
    if answer.status != call.expect_status:
        if answer.status in _NOBODY_KNOWS and call.method not in READS:
            return Lost(f"http_{answer.status}")
        return Ran(succeeded=False, reason="unexpected_status", evidence=shown)
    if call.expect_body_contains and call.expect_body_contains not in answer.text:
        return Ran(succeeded=False, reason="unexpected_body", evidence=shown)
    told = answer.text if call.method in READS else ""
    return Ran(succeeded=True, reason="as_expected", evidence=shown, answer=told)
