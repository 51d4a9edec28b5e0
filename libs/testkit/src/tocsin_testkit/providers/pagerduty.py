"""PagerDuty: Events API v2 (`/v2/enqueue`, `/v2/change/enqueue`) and notes of the REST API."""

from __future__ import annotations

from typing import Any

from tocsin_testkit.providers.serving import Provider, Reply, Request, Shown

_SEVERITIES = frozenset({"critical", "error", "warning", "info"})


def _payload_errors(payload: dict[str, Any]) -> list[str]:
    errors = []
    if not 0 < len(payload.get("summary", "")) <= 1_024:
        errors.append("'payload.summary' is missing or too long")
    if not payload.get("source"):
        errors.append("'payload.source' is missing")
    if payload.get("severity") not in _SEVERITIES:
        errors.append("'payload.severity' is invalid")
    return errors


class PagerDuty(Provider):
    """One account.

    Attributes:
        notes: Content of notes, by the incident they are on.
        changes: Summaries of change events.
        merged: Whether its incident holds other alerts too, so that events do not acknowledge it.
        status: Of its incident.
        asked_by: Users in whose name it was acknowledged.
    """

    INCIDENT = "PT4KHLK"

    def __init__(self, routing_key: str, token: str = "") -> None:
        super().__init__()
        self._routing_key = routing_key
        self._token = token
        self.notes: dict[str, list[str]] = {}
        self.changes: list[str] = []
        self.states: dict[str, str] = {}
        self.merged = False
        self.status = ""
        self.asked_by: list[str] = []

    def take(self, request: Request) -> Reply:
        """As the reference says, for the calls the notifier makes."""
        if request.path == "/v2/enqueue":
            return self._event(request)
        if request.path == "/v2/change/enqueue":
            return self._change(request)
        return self._rest(request)

    def _event(self, request: Request) -> Reply:
        event = request.document()
        action = event.get("event_action")
        key = event.get("dedup_key", "")
        errors = []
        if event.get("routing_key") != self._routing_key:
            return Reply.of(400, {"status": "invalid event", "message": "Invalid routing key"})
        if action not in {"trigger", "acknowledge", "resolve"}:
            errors.append("'event_action' is invalid")
        if not 0 < len(key) <= 255:
            errors.append("'dedup_key' must be 1 to 255 characters")
        if action == "trigger":
            errors.extend(_payload_errors(event.get("payload", {})))
        if errors:
            self.complaints.extend(errors)
            return Reply.of(400, {"status": "invalid event", "errors": errors})
        if action == "trigger":
            if self.states.get(key, "resolve") == "resolve":
                text = f"{event['payload']['summary']}\n{event['payload']['custom_details']}"
                self.shown.append(Shown(text, key))
            self.states[key] = "trigger"
            self.status = "triggered"
        elif key in self.states:
            self.states[key] = str(action)
            if not self.merged:
                self.status = {"acknowledge": "acknowledged"}.get(str(action), "resolved")
        answer = {"status": "success", "message": "Event processed", "dedup_key": key}
        return Reply.of(202, answer)

    def _change(self, request: Request) -> Reply:
        event = request.document()
        payload = event.get("payload", {})
        if event.get("routing_key") != self._routing_key:
            return Reply.of(400, {"status": "invalid event", "message": "Invalid routing key"})
        self.require(0 < len(payload.get("summary", "")) <= 1_024, "a change needs a summary")
        self.require(payload.get("timestamp"), "a change has a time")
        self.changes.append(payload.get("summary", ""))
        return Reply.of(202, {"status": "success", "message": "Change event processed"})

    def _rest(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Token token={self._token}":
            return Reply.of(401, {"error": {"message": "no", "code": 2006, "errors": []}})
        accept = request.headers.get("accept", "")
        self.require("application/vnd.pagerduty+json;version=2" in accept, "no version accepted")
        if request.path == "/incidents":
            key = request.query.get("incident_key", "")
            found = [{"id": self.INCIDENT, "incident_key": key}] if key in self.states else []
            return Reply.of(200, {"incidents": found})
        if request.method == "PUT":
            return self._put(request)
        notes = self.notes.setdefault(request.path.split("/")[2], [])
        if request.method == "GET":
            return Reply.of(200, {"notes": [{"id": "P", "content": note} for note in notes]})
        self.require("@" in request.headers.get("from", ""), "a write needs From")
        notes.append(request.document()["note"]["content"])
        return Reply.of(201, {"note": {"id": f"N{len(notes)}", "content": notes[-1]}})

    def _put(self, request: Request) -> Reply:
        """Acknowledge the incident; again is an error with a code of its own."""
        user = request.headers.get("from", "")
        incident = request.document().get("incident", {})
        self.require("@" in user, "a write needs From")
        self.require(incident.get("type") == "incident_reference", "type is incident_reference")
        self.require(incident.get("status") == "acknowledged", "nothing else is asked for")
        code = {"resolved": 1001, "acknowledged": 1002}.get(self.status)
        if code is not None:
            said = {"message": f"Incident Already {self.status.title()}", "code": code}
            return Reply.of(400, {"error": said})
        self.status = "acknowledged"
        self.asked_by.append(user)
        return Reply.of(200, {"incident": {"id": self.INCIDENT, "status": self.status}})
