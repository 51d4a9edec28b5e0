"""The door over HTTP: webhooks on a bare route, people's answers with their schema.

A 2xx is given only once the log has the record on every replica that must have it. When the log
is away or the door is full, the answer is 503 with `Retry-After`, which every sender retries;
Alertmanager does not retry 429.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from fastapi import APIRouter, Depends, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import SecretStr
from starlette.responses import Response

from ingestion.domain.answers import VERBS, Answer, Verb
from ingestion.domain.delivery import Malformed
from ingestion.domain.sources import PARSERS
from ingestion.handlers import Door, UnknownIncident
from tocsin_runtime.failures import Poison, Transient
from tocsin_runtime.ports import Clock
from tocsin_runtime.telemetry import counter, seconds, span, traceparent

T = TypeVar("T")

RETRY_AFTER_SECONDS = 5

_accepted = counter("tocsin_accepted_alerts", "Alerts accepted, by source")
_answered = counter("tocsin_accepted_answers", "People's answers accepted, by verb")
_refused = counter("tocsin_refused_requests", "Requests refused, by reason")
_took = seconds("tocsin_door_duration", "From a request's last byte to its answer")


class _Refusal(Exception):
    def __init__(self, status: int, reason: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.field = field


def _error(refusal: _Refusal) -> JSONResponse:
    _refused.add(1, {"reason": refusal.reason})
    headers = {}
    if refusal.status == 503:  # noqa: PLR2004 - the one status that asks for it
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if refusal.status == 401:  # noqa: PLR2004 - RFC 9110 wants the challenge
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(
        {
            "error": {
                "reason": refusal.reason,
                "field": refusal.field,
                "message": refusal.message,
            }
        },
        status_code=refusal.status,
        headers=headers,
    )


def bearer_matches(given: str | None, token: SecretStr | None) -> bool:
    """Whether an `Authorization` header carries the token; without a token, anything does.

    Compared in constant time.
    """
    if token is None:
        return True
    scheme, _, value = (given or "").partition(" ")
    expected = token.get_secret_value().encode()
    same = hmac.compare_digest(value.strip().encode(), expected)
    return same and scheme.lower() == "bearer"


class HttpDoor:
    """The ASGI application of ingestion.

    Args:
        max_requests: Requests in hand at once; the bound of the door's queue.
        accept_timeout: Longest a request waits for the log before it is told to come again.
    """

    def __init__(
        self,
        door: Door,
        clock: Clock,
        *,
        webhook_token: SecretStr | None,
        api_token: SecretStr | None,
        max_body_bytes: int,
        max_requests: int,
        accept_timeout: timedelta = timedelta(seconds=5),
    ) -> None:
        self._door = door
        self._clock = clock
        self._webhook_token = webhook_token
        self._api_token = api_token
        self._max_body = max_body_bytes
        self._max_requests = max_requests
        self._accept_timeout = accept_timeout.total_seconds()
        self._in_hand = 0
        self.application = self._make()

    def in_hand(self) -> int:
        """Requests being taken in now."""
        return self._in_hand

    def _make(self) -> FastAPI:
        api = FastAPI(
            title="Tocsin ingestion",
            version="1",
            description="The one door: what it accepts stands in the log.",
            docs_url=None,
            redoc_url=None,
        )
        # A bare route: a model parameter would cost half of what the door can take.
        api.add_route("/v1/webhooks/{source}", self._webhook, methods=["POST"])
        router = APIRouter(
            prefix="/v1/incidents/{incident}", dependencies=[Depends(self._authenticated)]
        )
        for verb in VERBS:
            router.add_api_route(
                f"/{verb.name}",
                self._answering(verb),
                methods=["POST"],
                status_code=202,
                name=verb.name,
                summary=(verb.body.__doc__ or "").partition("\n")[0],
            )
        api.include_router(router)
        api.add_exception_handler(RequestValidationError, _invalid)
        api.add_exception_handler(_Refusal, _on_refusal)
        return api

    async def _authenticated(self, authorization: str | None = Header(default=None)) -> None:
        if not bearer_matches(authorization, self._api_token):
            raise _Refusal(401, "unauthenticated", "the bearer token is missing or wrong")

    async def _webhook(self, request: Request) -> Response:
        started = self._clock.monotonic()
        source = request.path_params["source"]
        try:
            count = await self._limited(lambda: self._take(request, source))
        except _Refusal as refusal:
            return _error(refusal)
        _accepted.add(count, {"source": source})
        _took.record(self._clock.monotonic() - started)
        return JSONResponse({"status": "accepted", "alerts": count}, status_code=202)

    async def _take(self, request: Request, source: str) -> int:
        if not bearer_matches(request.headers.get("authorization"), self._webhook_token):
            raise _Refusal(401, "unauthenticated", "the bearer token is missing or wrong")
        if source not in PARSERS:
            known = ", ".join(sorted(PARSERS))
            raise _Refusal(404, "unknown_source", f"no such source; known: {known}", "source")
        body = await self._body(request)
        with span("webhook.accept", request.headers.get("traceparent")):
            try:
                return await self._written(
                    self._door.accept(
                        source,
                        body,
                        content_type=request.headers.get("content-type", "")[:200],
                        traceparent=traceparent() or request.headers.get("traceparent"),
                    )
                )
            except Malformed as error:
                status = 400 if error.reason == "not_json" else 422
                raise _Refusal(status, error.reason, error.detail, error.field) from error

    async def _body(self, request: Request) -> bytes:
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._max_body:
            raise self._too_large()
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_body:
                raise self._too_large()
        return bytes(body)

    def _too_large(self) -> _Refusal:
        return _Refusal(413, "too_large", f"the body is larger than {self._max_body} bytes")

    async def _limited(self, work: Callable[[], Awaitable[int]]) -> int:
        if self._in_hand >= self._max_requests:
            raise _Refusal(503, "busy", "too many requests at once; try again")
        self._in_hand += 1
        try:
            return await work()
        except Transient as error:
            raise _Refusal(503, "log_unavailable", "the log is away; try again") from error
        finally:
            self._in_hand -= 1

    async def _written(self, work: Awaitable[T]) -> T:
        """What the log made of it, before the sender loses patience.

        A record given up on may still arrive, and the sender's repeat of it is harmless.
        """
        try:
            async with asyncio.timeout(self._accept_timeout):
                return await work
        except TimeoutError as error:
            raise Transient("accept_timed_out") from error
        except Poison as error:
            raise _Refusal(413, "too_large", error.detail) from error

    def _answering(self, verb: Verb) -> Callable[..., Awaitable[JSONResponse]]:
        body_type = verb.body

        async def answer(
            incident: str,
            body: Answer,
            idempotency_key: str | None = Header(default=None, max_length=200),
        ) -> JSONResponse:
            given: list[str] = []

            async def work() -> int:
                with span(f"answer.{verb.name}"):
                    event = await self._written(
                        self._door.answer(
                            incident,
                            verb,
                            body,
                            idempotency_key=idempotency_key,
                            traceparent=traceparent(),
                        )
                    )
                given.append(event)
                return 1

            try:
                await self._limited(work)
            except UnknownIncident as error:
                raise _Refusal(404, "unknown_incident", str(error), "incident") from error
            _answered.add(1, {"verb": verb.name})
            return JSONResponse({"status": "accepted", "event": given[0]}, status_code=202)

        answer.__annotations__["body"] = body_type
        return answer


async def _on_refusal(_request: Request, error: Exception) -> Response:
    if not isinstance(error, _Refusal):
        raise error
    return _error(error)


async def _invalid(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    problem = error.errors()[0]
    place = [str(part) for part in problem["loc"] if part != "body"]
    if problem["type"] == "json_invalid":
        return _error(_Refusal(400, "not_json", problem["msg"]))
    return _error(_Refusal(422, "invalid_field", problem["msg"], ".".join(place)))
