"""A receiver on this machine that speaks providers' protocols, errors included.

Slack incoming webhooks, PagerDuty Events API v2, Standard Webhooks, SMTP, and the endpoints that
remediation steps call. For the demo and for tests: it keeps what arrives, and can be told to fail.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes
from email.policy import default as email_policy
from typing import Any

import uvicorn
from aiosmtpd.controller import Controller
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tocsin_runtime.ports import Clock

_KEY_LENGTH = 32
_MOST_DEDUP_KEY = 255
_MOST_SUMMARY = 1_024
_SEVERITIES = frozenset({"critical", "error", "warning", "info"})
_TOLERANCE_SECONDS = 300
_PER_SECOND = 500
_STEP_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_RUN = 1001

SECRET = "whsec_" + base64.b64encode(b"a secret for this machine alone!").decode()
"""Secret of the receiver's webhooks; it guards nothing outside this machine."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message a provider took, or one call a step made.

    Attributes:
        endpoint: The operator's name of the place it came to.
        key: What the provider merges repeats by, where it has such a thing.
    """

    at: datetime
    kind: str
    endpoint: str
    key: str
    subject: str
    action: str = ""
    body: str = field(default="", repr=False)


class Receiver:
    """What arrived, in order.

    Args:
        arrived: Called with each arrival, from the receiver's thread.
    """

    def __init__(self, clock: Clock, arrived: Callable[[Arrival], None] | None = None) -> None:
        self._clock = clock
        self._arrived = arrived
        self._lock = threading.Lock()
        self._arrivals: list[Arrival] = []
        self._failing: dict[str, list[tuple[int, dict[str, str]]]] = {}
        self.port = 0
        self.smtp_port = 0
        self.application = Starlette(
            routes=[
                Route("/slack/{endpoint}", self._slack, methods=["POST"]),
                Route("/pagerduty/{endpoint}/v2/enqueue", self._pagerduty, methods=["POST"]),
                Route("/webhook/{endpoint}", self._webhook, methods=["POST"]),
                Route("/steps/{endpoint}/{path:path}", self._step, methods=[*_STEP_METHODS]),
            ]
        )

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

    def arrivals(self) -> tuple[Arrival, ...]:
        """What arrived so far."""
        with self._lock:
            return tuple(self._arrivals)

    def fail_next(self, endpoint: str, *statuses: int, retry_after: int | None = None) -> None:
        """Answer the next calls to an endpoint with these statuses."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        with self._lock:
            queue = self._failing.setdefault(endpoint, [])
            queue.extend((status, headers) for status in statuses)

    def _keep(
        self, kind: str, endpoint: str, key: str, subject: str, action: str = "", body: str = ""
    ) -> None:
        arrival = Arrival(self._clock.now(), kind, endpoint, key, subject, action, body)
        with self._lock:
            self._arrivals.append(arrival)
        if self._arrived is not None:
            self._arrived(arrival)

    def _failure(self, endpoint: str) -> Response | None:
        with self._lock:
            queue = self._failing.get(endpoint)
            if not queue:
                return None
            status, headers = queue.pop(0)
        return PlainTextResponse("told to fail", status_code=status, headers=headers)

    async def _slack(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        if (failure := self._failure(endpoint)) is not None:
            return failure
        payload = await _object(request)
        if payload is None:
            return PlainTextResponse("invalid_payload", status_code=400)
        text = payload.get("text")
        if not isinstance(text, str) or not text:
            return PlainTextResponse("no_text", status_code=400)
        key = ""
        for block in payload.get("blocks", ()):
            if block.get("type") == "context":
                key = block["elements"][0]["text"]
        self._keep("slack", endpoint, key, text, body=json.dumps(payload.get("blocks", [])))
        return PlainTextResponse("ok")

    async def _pagerduty(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        if (failure := self._failure(endpoint)) is not None:
            return failure
        event = await _object(request)
        errors = ["body is no JSON object"] if event is None else _event_errors(event)
        if errors or event is None:
            return JSONResponse(
                {
                    "status": "invalid event",
                    "message": "Event object is invalid",
                    "errors": errors,
                },
                status_code=400,
            )
        payload = event.get("payload", {})
        details = payload.get("custom_details", {})
        self._keep(
            "pagerduty",
            endpoint,
            event["dedup_key"],
            payload.get("summary", ""),
            event["event_action"],
            str(details.get("for", "")),
        )
        return JSONResponse(
            {
                "status": "success",
                "message": "Event processed",
                "dedup_key": event["dedup_key"],
            },
            status_code=202,
        )

    async def _webhook(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        if (failure := self._failure(endpoint)) is not None:
            return failure
        body = await request.body()
        message_id = request.headers.get("webhook-id", "")
        timestamp = request.headers.get("webhook-timestamp", "")
        if not timestamp.isdigit():
            return PlainTextResponse("no timestamp", status_code=400)
        if abs(self._clock.now().timestamp() - int(timestamp)) > _TOLERANCE_SECONDS:
            return PlainTextResponse("timestamp too old", status_code=400)
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        signed = f"{message_id}.{timestamp}.".encode() + body
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        given = request.headers.get("webhook-signature", "").split()
        if not any(hmac.compare_digest(one, f"v1,{expected}") for one in given):
            return PlainTextResponse("bad signature", status_code=401)
        event = json.loads(body)
        data = event["data"]
        self._keep("webhook", endpoint, data["key"], data["subject"], event["type"], data["body"])
        return Response(status_code=204)

    async def _step(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        if (failure := self._failure(endpoint)) is not None:
            return failure
        path = "/" + request.path_params["path"]
        body = (await request.body()).decode(errors="replace")
        self._keep("step", endpoint, "", f"{request.method} {path}", request.method, body)
        if (answer := _github(request.method, path)) is not None:
            return JSONResponse(answer)
        return JSONResponse({"status": "healthy", "path": path})

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: ANN401, N802 - aiosmtpd's name
        """Take a mail, as aiosmtpd asks."""
        mail = message_from_bytes(envelope.content, policy=email_policy)
        if (failure := self._failure("email")) is not None:
            return f"{failure.status_code} told to fail"
        body = mail.get_body(("plain",))
        text = body.get_content() if body is not None else ""
        self._keep("email", "email", str(mail["Message-ID"]), str(mail["Subject"]), "", text)
        return "250 OK"

    @contextmanager
    def serving(self) -> Iterator[Receiver]:
        """Listen on free ports of the loopback until the block ends."""
        server = uvicorn.Server(
            uvicorn.Config(
                self.application, host="127.0.0.1", port=0, log_config=None, lifespan="off"
            )
        )
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        # Whoever calls before the server runs waits, and is not refused.
        listener.listen()
        self.port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        mail = Controller(self, hostname="127.0.0.1", port=_free_port())
        mail.start()
        self.smtp_port = mail.port
        try:
            yield self
        finally:
            mail.stop()
            server.should_exit = True
            thread.join(timeout=5)
            listener.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _github(method: str, path: str) -> dict[str, Any] | None:
    """What GitHub answers to somebody who starts a workflow and waits; every run succeeds."""
    root, _, rest = path.partition("/actions/")
    match (method, rest.split("/")):
        case ("GET", ["workflows", name]):
            return {"name": name, "path": f".github/workflows/{name}", "state": "active"}
        case ("GET", ["workflows", _, "runs"]):
            return {"total_count": 0, "workflow_runs": []}
        case ("POST", ["workflows", _, "dispatches"]):
            return {"workflow_run_id": _RUN, "run_url": f"{root}/actions/runs/{_RUN}"}
        case ("GET", ["runs", number]):
            page = f"https://github.com{root.removeprefix('/repos')}/actions/runs/{number}"
            run = {"id": int(number), "html_url": page, "head_branch": "main", "head_sha": _HEAD}
            return {**run, "status": "completed", "conclusion": "success"}
        case ("GET", [""]) if "/commits/" in path:
            return {"sha": _HEAD}
    return None


_HEAD = hashlib.sha256(b"the last commit of the demo").hexdigest()[:40]


async def _object(request: Request) -> dict[str, Any] | None:
    try:
        value = await request.json()
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _event_errors(event: dict[str, Any]) -> list[str]:
    """What PagerDuty's reference says of an event, as its errors."""
    errors = []
    routing_key = event.get("routing_key")
    if not isinstance(routing_key, str) or len(routing_key) != _KEY_LENGTH:
        errors.append("'routing_key' must be 32 characters long")
    action = event.get("event_action")
    if action not in {"trigger", "acknowledge", "resolve"}:
        errors.append("'event_action' must be one of trigger, acknowledge, resolve")
    dedup_key = event.get("dedup_key")
    if not isinstance(dedup_key, str) or not 0 < len(dedup_key) <= _MOST_DEDUP_KEY:
        errors.append("'dedup_key' must be a string of at most 255 characters")
    if action != "trigger":
        return errors
    payload = event.get("payload")
    if not isinstance(payload, dict):
        return [*errors, "'payload' is missing or blank"]
    summary = payload.get("summary")
    if not isinstance(summary, str) or not 0 < len(summary) <= _MOST_SUMMARY:
        errors.append("'payload.summary' is missing, blank or too long")
    if not payload.get("source"):
        errors.append("'payload.source' is missing or blank")
    if payload.get("severity") not in _SEVERITIES:
        errors.append("'payload.severity' is invalid")
    return errors


def channel_settings(receiver: Receiver, kind: str, endpoint: str) -> dict[str, Any]:
    """The operator's settings of a channel that leads to the receiver, which is never tired.

    A kind whose protocol it does not speak reaches it as a signed webhook.
    """
    return {"per_second": _PER_SECOND, **_leading(receiver, kind, endpoint)}


def _leading(receiver: Receiver, kind: str, endpoint: str) -> dict[str, Any]:
    match kind:
        case "slack":
            return {"kind": kind, "url": f"{receiver.url}/slack/{endpoint}"}
        case "pagerduty":
            key = hashlib.sha256(endpoint.encode()).hexdigest()[:_KEY_LENGTH]
            url = f"{receiver.url}/pagerduty/{endpoint}/v2/enqueue"
            return {"kind": kind, "url": url, "routing_key": key}
        case "email":
            return {
                "kind": "email",
                "host": "127.0.0.1",
                "port": receiver.smtp_port,
                "sender": "tocsin@localhost.localdomain",
                "to": ["people@localhost.localdomain"],
                "start_tls": False,
            }
        case _:
            return {
                "kind": "webhook",
                "url": f"{receiver.url}/webhook/{endpoint}",
                "secret": SECRET,
            }
