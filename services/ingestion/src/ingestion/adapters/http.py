"""The door over HTTP: a route for each source, and people's answers with their schema.

A 2xx is given only once the log has the record on every replica that must have it. When the log
is away or the door is full, the answer is 503 with `Retry-After`, which every sender retries;
Alertmanager does not retry 429.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from fastapi import APIRouter, Depends, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ingestion.adapters.alertmanager_api import AlertmanagerApi, not_served
from ingestion.adapters.answer_pages import AnswerPages
from ingestion.adapters.bodies import Unreadable, read_body
from ingestion.adapters.documenting import ANSWERS, REFUSALS, Accepted, document
from ingestion.adapters.senders import Senders
from ingestion.domain.answers import VERBS, Answer, Verb
from ingestion.domain.authentication import (
    BadCertificate,
    Key,
    Token,
    Unauthenticated,
    Verified,
)
from ingestion.domain.delivery import Delivery, Malformed, Received
from ingestion.domain.sources.source import (
    RETRY_AFTER_SECONDS,
    Refusal,
    Reply,
    Source,
    Taken,
    refused,
)
from ingestion.handlers import Door, UnknownContact, UnknownIncident
from ingestion.ports import Amazon, Replies
from tocsin_runtime.failures import Poison, Transient
from tocsin_runtime.ports import Clock
from tocsin_runtime.telemetry import counter, seconds, span, traceparent

T = TypeVar("T")

WEBHOOKS = "/v1/webhooks/"

STRICT = "handling=strict"
"""RFC 7240: who prefers this hears what is wrong with a body, where it would be kept else."""

_accepted = counter("tocsin_accepted_alerts", "Alerts accepted, by source")
_answered = counter("tocsin_accepted_answers", "People's answers accepted, by verb")
_refused = counter("tocsin_refused_requests", "Requests refused, by reason")
_kept = counter("tocsin_kept_bodies", "Bodies kept that nobody can read, by source and reason")
_repeated = counter("tocsin_repeated_deliveries", "Deliveries that came again, by source")
_unheard = counter("tocsin_unheard_answers", "Answers that reach no incident, by source")
_took = seconds("tocsin_door_duration", "From a request's last byte to its answer")


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def _refuse(status: int, reason: str, message: str, field: str = "") -> _Refused:
    return _Refused(Refusal(status, reason, message, field))


def _error(refusal: Refusal, shape: Callable[[Refusal], Reply], challenge: str) -> Response:
    _refused.add(1, {"reason": refusal.reason})
    reply = shape(refusal)
    headers = dict(reply.headers)
    if refusal.status in {429, 503}:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if refusal.status == 401:  # noqa: PLR2004 - RFC 9110 wants the challenge
        headers["WWW-Authenticate"] = challenge
    return _response(replace(reply, headers=headers))


def _response(reply: Reply) -> Response:
    return Response(
        reply.body, reply.status, headers=dict(reply.headers), media_type=reply.content_type
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
        keys: Secrets of sources, by source; those without any use `webhook_token`.
        per_second: Deliveries of one source a second; more are told to come again.
        public_url: Where senders know the door; for signatures over an address.
        max_requests: Requests in hand at once; the bound of the door's queue.
        accept_timeout: Longest a request waits for the log before it is told to come again.
        read_timeout: Longest a body may take to come.
        api: Alertmanager's own API, to look and to silence.
        pages: What the links of mails lead to.
        replies: Tells whoever pressed a button why nothing came of it.
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
        read_timeout: timedelta = timedelta(seconds=10),
        keys: Mapping[str, Sequence[Key]] | None = None,
        per_second: float = 5_000.0,
        public_url: str = "",
        amazon: Amazon | None = None,
        api: AlertmanagerApi | None = None,
        pages: AnswerPages | None = None,
        replies: Replies | None = None,
    ) -> None:
        self._door = door
        self._clock = clock
        self._api_token = api_token
        self._max_body = max_body_bytes
        self._max_requests = max_requests
        self._accept_timeout = accept_timeout.total_seconds()
        self._read_timeout = read_timeout
        self._public_url = public_url.rstrip("/")
        self._amazon = amazon
        self._replies = replies
        self._senders = Senders(
            door.sources,
            clock,
            keys=keys or {},
            token=webhook_token,
            people_token=api_token,
            anonymous=webhook_token is None,
            per_second=per_second,
            amazon=amazon,
        )
        self._in_hand = 0
        self.application = self._make(api, pages)

    def in_hand(self) -> int:
        """Requests being taken in now."""
        return self._in_hand

    def _make(self, api: AlertmanagerApi | None, pages: AnswerPages | None) -> FastAPI:
        made = FastAPI(
            title="Tocsin ingestion",
            version="1",
            description="The one door: what it accepts stands in the log.",
            docs_url=None,
            redoc_url=None,
        )
        # Bare routes: a model parameter would cost half of what the door can take. `documenting`
        # tells OpenAPI of them.
        made.add_route(WEBHOOKS + "{source}", self._webhook, methods=["POST", "PUT"])
        for source in self._door.sources:
            for route in source.routes:
                method, _, path = route.partition(" ")
                made.add_route(path, self._serving(source), methods=[method])
        if api is not None:
            for method, path, work in api.routes:
                made.add_route(path, work, methods=[method])
        if pages is not None:
            made.add_route(ANSWERS, self._page(pages.look), methods=["GET"])
            made.add_route(ANSWERS, self._page(pages.answer), methods=["POST"])
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
                responses=REFUSALS,
                response_model=Accepted,
            )
        made.include_router(router)
        made.add_exception_handler(RequestValidationError, _invalid)
        made.add_exception_handler(_Refused, _on_refusal)
        made.add_exception_handler(HTTPException, _unserved)
        document(made, self._door.sources)
        return made

    def _page(
        self, work: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def serve(request: Request) -> Response:
            try:
                return await self._limited(lambda: work(request))
            except _Refused as error:
                return _error(error.refusal, refused, "Bearer")

        return serve

    async def _authenticated(self, authorization: str | None = Header(default=None)) -> None:
        if not bearer_matches(authorization, self._api_token):
            raise _refuse(401, "unauthenticated", "the bearer token is missing or wrong")

    async def _webhook(self, request: Request) -> Response:
        name = request.path_params["source"]
        source = self._door.sources.get(name)
        if source is None or source.routes:
            known = f"no such source; known: {self._door.sources.names()}"
            return _error(Refusal(404, "unknown_source", known, "source"), refused, "Bearer")
        return await self._serve(source, request)

    def _serving(self, source: Source) -> Callable[[Request], Awaitable[Response]]:
        async def serve(request: Request) -> Response:
            return await self._serve(source, request)

        return serve

    async def _serve(self, source: Source, request: Request) -> Response:
        started = self._clock.monotonic()
        try:
            reply = await self._limited(lambda: self._take(source, request))
        except _Refused as error:
            return _error(error.refusal, source.refused, source.scheme.challenge)
        _took.record(self._clock.monotonic() - started)
        return _response(reply)

    async def _take(self, source: Source, request: Request) -> Reply:
        headers = dict(request.headers)
        raw_path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
        query: bytes = request.scope["query_string"]
        path = raw_path.partition(b"?")[0].decode("ascii", "replace")
        whole = f"{path}?{query.decode('ascii', 'replace')}" if query else path
        base = self._public_url or f"{request.scope['scheme']}://{headers.get('host', '')}"
        now = self._clock.now()
        received = Received(b"", now, headers, whole, base + whole)
        if self._senders.knows_by_headers(source):
            verified = await self._verified(source, received)  # a stranger's body is not even read
            body = await self._body(request, source)
            received = Received(body, now, headers, whole, base + whole)
        else:
            body = await self._body(request, source)
            received = Received(body, now, headers, whole, base + whole)
            verified = await self._verified(source, received)
        if isinstance(source.scheme, Token) and source.scheme.parameter:
            received = replace(received, path=path)  # a secret in it must not be kept
        if not self._senders.within_rate(source):
            raise _refuse(source.busy, "too_many", "more than this source's rate; come again")
        try:
            if self._senders.repeated(source, verified):
                _repeated.add(1, {"source": source.name})
                return source.answered(received, Taken(Delivery(), repeated=True))
        except Unauthenticated as error:
            raise _refuse(401, error.reason, error.detail) from error
        with span("webhook.accept", request.headers.get("traceparent")):
            trace = traceparent() or request.headers.get("traceparent")
            taken = await self._written_down(
                source, received, dict(verified.labels), verified.once, trace
            )
        # Remembered last: a visit that failed is made again with the sender's next attempt.
        await self._confirmed(taken.delivery.confirm_url)
        self._senders.remember(source, verified)
        _accepted.add(len(taken.delivery.alerts), {"source": source.name})
        if taken.unheard:
            _unheard.add(1, {"source": source.name})
            if self._replies is not None and taken.delivery.respond_to:
                words = f"Not done: {taken.unheard}."
                await self._replies.tell(taken.delivery.respond_to, words)
        elif taken.delivery.answer is not None:
            _answered.add(1, {"verb": taken.delivery.answer.verb})
        return source.answered(received, taken)

    async def _written_down(
        self,
        source: Source,
        received: Received,
        labels: dict[str, str],
        once: str | None,
        trace: str | None,
    ) -> Taken:
        try:
            return await self._written(
                self._door.take(
                    source, received, labels=labels, delivery_id=once, traceparent=trace
                )
            )
        except Malformed as error:
            strict = STRICT in received.header("prefer").lower()
            if strict or not source.keeps:
                status = 400 if error.reason == "not_json" else 422
                raise _refuse(status, error.reason, error.detail, error.field) from error
            _kept.add(1, {"source": source.name, "reason": error.reason})
            return await self._written(
                self._door.keep(source, received, error, labels=labels, traceparent=trace)
            )

    async def _verified(self, source: Source, received: Received) -> Verified:
        try:
            return await self._senders.verify(source, received)
        except Unauthenticated as error:
            raise _refuse(401, error.reason, error.detail) from error
        except BadCertificate as error:
            raise _refuse(503, "no_certificate", str(error)) from error

    async def _confirmed(self, url: str | None) -> None:
        if url is None or self._amazon is None:
            return
        try:
            await self._amazon.confirm(url)
        except BadCertificate as error:
            raise _refuse(503, "not_confirmed", str(error)) from error

    async def _body(self, request: Request, source: Source) -> bytes:
        most = min(self._max_body, source.most_bytes)
        try:
            return await read_body(request, most=most, within=self._read_timeout)
        except Unreadable as error:
            raise _Refused(error.refusal) from error

    async def _limited(self, work: Callable[[], Awaitable[T]]) -> T:
        if self._in_hand >= self._max_requests:
            raise _refuse(503, "busy", "too many requests at once; try again")
        self._in_hand += 1
        try:
            return await work()
        except Transient as error:
            raise _refuse(503, "log_unavailable", "the log is away; try again") from error
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
            raise _refuse(413, "too_large", error.detail) from error

    def _answering(self, verb: Verb) -> Callable[..., Awaitable[JSONResponse]]:
        body_type = verb.body

        async def answer(
            incident: str,
            body: Answer,
            idempotency_key: str | None = Header(default=None, max_length=200),
        ) -> JSONResponse:
            async def work() -> str:
                with span(f"answer.{verb.name}"):
                    return await self._written(
                        self._door.answer(
                            incident,
                            verb,
                            body,
                            idempotency_key=idempotency_key,
                            traceparent=traceparent(),
                        )
                    )

            try:
                event = await self._limited(work)
            except UnknownIncident as error:
                raise _refuse(404, "unknown_incident", str(error), "incident") from error
            except UnknownContact as error:
                raise _refuse(422, "unknown_contact", str(error), "contact") from error
            _answered.add(1, {"verb": verb.name})
            return JSONResponse({"status": "accepted", "event": event}, status_code=202)

        answer.__annotations__["body"] = body_type
        return answer


async def _on_refusal(_request: Request, error: Exception) -> Response:
    if not isinstance(error, _Refused):
        raise error
    return _error(error.refusal, refused, "Bearer")


async def _invalid(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    problem = error.errors()[0]
    place = [str(part) for part in problem["loc"] if part != "body"]
    if problem["type"] == "json_invalid":
        return _error(Refusal(400, "not_json", problem["msg"]), refused, "Bearer")
    refusal = Refusal(422, "invalid_field", problem["msg"], ".".join(place))
    return _error(refusal, refused, "Bearer")


async def _unserved(request: Request, error: Exception) -> Response:
    """What nobody serves, in the shape of who would have served it."""
    if not isinstance(error, HTTPException):
        raise error
    if request.url.path.startswith("/api/v2/"):
        return not_served(request, error)
    reason = "no_such_path" if error.status_code == 404 else "not_allowed"  # noqa: PLR2004
    refusal = Refusal(error.status_code, reason, str(error.detail))
    response = _error(refusal, refused, "Bearer")
    response.headers.update(error.headers or {})
    return response
