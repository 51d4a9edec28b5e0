"""Alertmanager's API v2, but for `POST /alerts`, which is the source `prometheus`.

For amtool, Prometheus, Grafana and karma. Answers and errors are Alertmanager 0.25's: errors of
the form are `{"code", "message"}`, those of the content a JSON string. What differs is listed in
`docs/sources.md`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from fastapi import Request
from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match

from ingestion.adapters.bodies import Unreadable, read_body
from ingestion.adapters.lookups import LogLookups
from ingestion.domain.authentication import Key, Token, Unauthenticated
from ingestion.domain.current import Current
from ingestion.domain.delivery import Malformed, Received
from ingestion.domain.normalising import UNCLAIMED
from ingestion.domain.reading import read
from ingestion.domain.silencing import (
    PostedSilence,
    SilenceRefused,
    expire_silence,
    set_silence,
)
from ingestion.domain.sources.prometheus import RESOLVE_TIMEOUT, form_error, unsupported
from ingestion.domain.sources.source import RETRY_AFTER_SECONDS, Reply
from tocsin_casebook import Policies, Silences
from tocsin_policy import Inhibitors, Matcher, MatcherError, Silence, matches, parse_matchers
from tocsin_policy.matchers import Pattern, compile_pattern
from tocsin_runtime.events import outgoing
from tocsin_runtime.failures import Transient
from tocsin_runtime.ports import Clock, Publisher

VERSION = "0.25.0"
"""The Alertmanager whose API this is; amtool compares it with its own."""

_TRUE = {"true", "1", "yes", "ok", "y", "on", "selected", "checked", "t", "enabled"}
_READ_TIMEOUT = timedelta(seconds=10)
_MOST_BYTES = 256 * 1024

Work = Callable[[Request], Awaitable[Response]]


class _Wrong(Exception):
    def __init__(self, status: int, body: object, *, line: bool = False) -> None:
        super().__init__(str(body))
        self.response = _json(body, status, line=line)


def _json(body: object, status: int = 200, *, line: bool = True) -> Response:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(
        text + ("\n" if line else ""),
        status,
        media_type="application/json",
        headers={"Vary": "Origin"},
    )


def _form(status: int, code: int, message: str) -> _Wrong:
    return _Wrong(status, {"code": code, "message": message})


def not_served(request: Request, error: HTTPException) -> Response:
    """404 and 405 under `/api/v2/`, in go-openapi's words."""
    path = request.url.path
    if error.status_code == 405:  # noqa: PLR2004 - the one that has an `Allow`
        allowed = ",".join(sorted(_methods(request), reverse=True))
        message = f"method {request.method} is not allowed, but [{allowed}] are"
        response = _form(405, 405, message).response
        response.headers["Allow"] = allowed
        return response
    return _form(error.status_code, error.status_code, f"path {path} was not found").response


def _methods(request: Request) -> set[str]:
    """What the path answers to, whichever route does."""
    found: set[str] = set()
    for route in request.app.routes:
        matched, _ = route.matches({**request.scope, "path_params": {}})
        if matched is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return found - {"HEAD"}


class AlertmanagerApi:
    """Looking at alerts, and silencing them.

    Args:
        read_tokens: Any of these lets one look.
        write_token: This one lets one silence, which is a person's decision.
    """

    def __init__(
        self,
        *,
        publisher: Publisher,
        policies: Policies,
        lookups: LogLookups,
        silences: Silences,
        clock: Clock,
        read_tokens: Iterable[SecretStr | None],
        write_token: SecretStr | None,
    ) -> None:
        self._publisher = publisher
        self._policies = policies
        self._lookups = lookups
        self._silences = silences
        self._clock = clock
        self._read_tokens = tuple(read_tokens)
        self._write_token = write_token
        self._started_at = clock.now()
        routes: tuple[tuple[str, str, Work, bool], ...] = (
            ("GET", "/api/v2/status", self._status, False),
            ("GET", "/api/v2/receivers", self._receivers, False),
            ("GET", "/api/v2/alerts", self._alerts, False),
            ("GET", "/api/v2/alerts/groups", self._groups, False),
            ("GET", "/api/v2/silences", self._list_silences, False),
            ("POST", "/api/v2/silences", self._set_silence, True),
            ("GET", "/api/v2/silence/{silence}", self._get_silence, False),
            ("DELETE", "/api/v2/silence/{silence}", self._expire_silence, True),
        )
        self.routes: tuple[tuple[str, str, Work], ...] = (
            *((method, path, self._guarded(work, writes=w)) for method, path, work, w in routes),
            ("GET", "/-/healthy", _healthy),
            ("GET", "/-/ready", _healthy),
        )
        """Method, path and what answers."""

    def _guarded(self, work: Work, *, writes: bool) -> Work:
        async def serve(request: Request) -> Response:
            try:
                self._check(request, writes=writes)
                return await work(request)
            except _Wrong as wrong:
                return wrong.response
            except Transient:
                response = _form(503, 503, "the log is away; try again").response
                response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
                return response

        return serve

    def _check(self, request: Request, *, writes: bool) -> None:
        tokens = (self._write_token,) if writes else (*self._read_tokens, self._write_token)
        if any(token is None for token in tokens):
            return
        keys = [Key(token) for token in tokens if token is not None]
        now = self._clock.now()
        try:
            Token().verify(Received(b"", now, dict(request.headers)), keys, now)
        except Unauthenticated as error:
            wrong = _form(401, 401, error.detail)
            wrong.response.headers["WWW-Authenticate"] = "Bearer"
            raise wrong from error

    # What it is

    async def _status(self, _request: Request) -> Response:
        lines = ["route:", "  receiver: unclaimed", "receivers:"]
        lines += [f"  - name: {name}" for name in self._names()]
        return _json(
            {
                "cluster": {"peers": [], "status": "disabled"},
                "config": {"original": "\n".join(lines) + "\n"},
                "uptime": _time(self._started_at),
                "versionInfo": {
                    "branch": "tocsin",
                    "buildDate": "",
                    "buildUser": "",
                    "goVersion": "",
                    "revision": "",
                    "version": VERSION,
                },
            }
        )

    async def _receivers(self, _request: Request) -> Response:
        return _json([{"name": name} for name in self._names()])

    def _names(self) -> list[str]:
        return [*(policy.system for policy in self._policies.all()), UNCLAIMED]

    # Alerts

    async def _alerts(self, request: Request) -> Response:
        now = self._clock.now()
        chosen = await self._chosen(request, now)
        return _json([self._document(alert, status, now) for alert, status in chosen])

    async def _groups(self, request: Request) -> Response:
        now = self._clock.now()
        groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[dict[str, Any]]] = {}
        for alert, status in await self._chosen(request, now):
            in_force = self._policies.get(alert.system)
            names = () if in_force is None else in_force.policy.grouping.by
            labels = tuple((name, alert.labels[name]) for name in names if name in alert.labels)
            document = self._document(alert, status, now)
            groups.setdefault((alert.system, labels), []).append(document)
        return _json(
            [
                {
                    "alerts": alerts,
                    "labels": dict(labels),
                    "receiver": {"name": system},
                }
                for (system, labels), alerts in sorted(groups.items(), key=lambda item: item[0])
            ]
        )

    async def _chosen(
        self, request: Request, now: datetime
    ) -> list[tuple[Current, dict[str, Any]]]:
        wanted = {
            name: request.query_params.get(name, "true").lower() in _TRUE
            for name in ("active", "silenced", "inhibited", "unprocessed")
        }
        filters = _filters(request)
        receiver = _receiver(request)
        chosen = []
        firing = await self._lookups.firing()
        inhibitors = self._inhibitors(firing)
        for alert in firing:
            status = self._status_of(alert, inhibitors, now)
            hidden = [
                *(["silenced"] if status["silencedBy"] else []),
                *(["inhibited"] if status["inhibitedBy"] else []),
            ] or ["active"]
            if not all(wanted[name] for name in hidden):
                continue
            if receiver is not None and not receiver.fits(alert.system):
                continue
            if matches(filters, alert.labels):
                chosen.append((alert, status))
        return chosen

    def _inhibitors(self, firing: Iterable[Current]) -> dict[str, Inhibitors]:
        """What inhibits, by system."""
        found: dict[str, Inhibitors] = {}
        for alert in firing:
            in_force = self._policies.get(alert.system)
            if in_force is None or not in_force.policy.inhibition.rules:
                continue
            rules = in_force.policy.inhibition.rules
            held = found.setdefault(alert.system, Inhibitors(rules))
            held.fires(alert.fingerprint, alert.labels)
        return found

    def _status_of(
        self, alert: Current, inhibitors: Mapping[str, Inhibitors], now: datetime
    ) -> dict[str, Any]:
        silenced_by = list(self._silences.book.muting(alert.labels, now))
        held = inhibitors.get(alert.system)
        inhibited_by = [] if held is None else list(held.sources(alert.labels))
        return {
            "inhibitedBy": inhibited_by,
            "silencedBy": silenced_by,
            "state": "suppressed" if silenced_by or inhibited_by else "active",
        }

    def _document(self, alert: Current, status: dict[str, Any], now: datetime) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "annotations": dict(alert.annotations),
            "endsAt": _time(alert.ends_at or now + RESOLVE_TIMEOUT),
            "fingerprint": alert.fingerprint,
            "receivers": [{"name": alert.system}],
            "startsAt": _time(alert.starts_at),
            "status": status,
            "updatedAt": _time(alert.updated_at),
        }
        if alert.generator_url:
            shown["generatorURL"] = alert.generator_url
        return {**shown, "labels": dict(alert.labels)}

    # Silences

    async def _list_silences(self, request: Request) -> Response:
        now = self._clock.now()
        filters = _filters(request)
        return _json(
            [
                _silence_document(silence, now)
                for silence in self._silences.book.shown(now)
                if all(_names_what(silence, matcher) for matcher in filters)
            ]
        )

    async def _get_silence(self, request: Request) -> Response:
        silence = self._silences.book.get(_silence_id(request))
        if silence is None:
            return Response(status_code=404, headers={"Vary": "Origin"})
        return _json(_silence_document(silence, self._clock.now()))

    async def _set_silence(self, request: Request) -> Response:
        wrong_kind = unsupported(request.headers.get("content-type", ""))
        if wrong_kind:
            raise _form(415, 415, wrong_kind)
        try:
            body = await read_body(request, most=_MOST_BYTES, within=_READ_TIMEOUT)
        except Unreadable as error:
            status = error.refusal.status
            raise _form(status, status, error.refusal.message) from error
        if not body.strip():
            raise _form(422, 602, "silence in body is required")
        try:
            posted = read(PostedSilence, body)
        except Malformed as error:
            raise _replied(form_error(error, "silence")) from error
        now = self._clock.now()
        try:
            silence, facts = set_silence(self._silences.book, posted, now)
        except SilenceRefused as error:
            raise _Wrong(error.status, str(error), line=True) from error
        await self._written(facts)
        return _json({"silenceID": silence})

    async def _expire_silence(self, request: Request) -> Response:
        try:
            facts = expire_silence(self._silences.book, _silence_id(request), "", self._clock.now())
        except SilenceRefused as error:
            raise _Wrong(error.status, str(error), line=True) from error
        await self._written(facts)
        return Response(status_code=200, headers={"Vary": "Origin"})

    async def _written(self, facts: Iterable[Any]) -> None:
        """Write them, and know of them at once: whoever asks next sees what they did."""
        events = tuple(facts)
        await self._publisher.publish([outgoing(event) for event in events])
        for event in events:
            self._silences.take(event)


async def _healthy(_request: Request) -> Response:
    return PlainTextResponse("OK")


def _replied(reply: Reply) -> _Wrong:
    return _Wrong(reply.status, json.loads(reply.body), line=reply.body.endswith(b"\n"))


def _silence_id(request: Request) -> str:
    given = request.path_params["silence"]
    try:
        return str(UUID(given))
    except ValueError as error:
        message = f'silenceID in path must be of type uuid: "{unquote(given)}"'
        raise _form(422, 601, message) from error


def _filters(request: Request) -> tuple[Matcher, ...]:
    found: list[Matcher] = []
    for text in request.query_params.getlist("filter"):
        try:
            found += parse_matchers(text)
        except MatcherError as error:
            raise _Wrong(400, f"bad matcher format: {text}", line=True) from error
    return tuple(found)


def _receiver(request: Request) -> Pattern | None:
    text = request.query_params.get("receiver")
    if not text:
        return None
    try:
        return compile_pattern(text)
    except MatcherError as error:
        raise _Wrong(400, f"failed to parse receiver param: {text}", line=True) from error


def _names_what(silence: Silence, wanted: Matcher) -> bool:
    """Whether a silence is about this: one of its matchers has the name and value asked for."""
    return any(
        matcher.name == wanted.name and wanted.fits({wanted.name: matcher.value})
        for matcher in silence.matchers
    )


def _silence_document(silence: Silence, now: datetime) -> Mapping[str, Any]:
    return {
        "id": silence.id,
        "status": {"state": str(silence.state(now))},
        "updatedAt": _time(silence.updated_at),
        "comment": silence.comment,
        "createdBy": silence.created_by,
        "endsAt": _time(silence.ends_at),
        "matchers": [
            {
                "isEqual": matcher.operator in {"=", "=~"},
                "isRegex": matcher.operator in {"=~", "!~"},
                "name": matcher.name,
                "value": matcher.value,
            }
            for matcher in silence.matchers
        ],
        "startsAt": _time(silence.starts_at),
    }


def _time(at: datetime) -> str:
    """As Alertmanager writes instants: exactly three digits of a second."""
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
