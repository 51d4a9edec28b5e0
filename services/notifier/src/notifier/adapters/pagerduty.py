"""PagerDuty: Events API v2, and notes of the REST API.

Format: `POST /v2/enqueue` with `routing_key`, `event_action`, `dedup_key` (255 characters) and,
for a trigger, `payload` with `summary` (1,024), `source` and `severity`; success is 202 with
`status: success`. The same `dedup_key` of an open alert is merged, so a retry is harmless.

What is told and need wake nobody, an update, is a change event (`/v2/change/enqueue`), and with a
REST key also a note on PagerDuty's own incident (`POST /incidents/{id}/notes`). An acknowledgement
with a REST key is one of that incident too (`PUT /incidents/{id}`), into which PagerDuty may have
merged the alert, and a note that says whose it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog

from notifier.adapters.calling import Answer, Caller, NotDone, judge
from notifier.adapters.markup import cut, one_line, plain, repeated
from notifier.domain.outcomes import Delivered, Outcome, Refused, Unknown, Unwell
from notifier.ports import Sending
from tocsin_contracts.incidents import Purpose
from tocsin_runtime.ports import Clock

log = structlog.get_logger()

_SUMMARY = 1_024
_KEY = 255
_NOTE = 2_000
_DETAIL = 8_000
_SEVERITIES = ("critical", "error", "warning")

_DONE_BEFORE = frozenset({1001, 1002})
"""Codes of errors that say an incident is resolved, or acknowledged, already."""
_ACTIONS = {Purpose.ACKNOWLEDGED: "acknowledge", Purpose.RESOLVED: "resolve"}


@dataclass(frozen=True, slots=True)
class Rest:
    """Access to the REST API.

    Attributes:
        user: E-mail address of the PagerDuty user in whose name notes are written.
    """

    url: str
    token: str = field(repr=False)
    user: str


class PagerDutyChannel:
    """Triggers, acknowledges and resolves alerts of one integration.

    Args:
        url: Of events; the one of change events stands beside it.
        rest: Where updates become notes, if they are to.
    """

    def __init__(
        self, calls: Caller, url: str, routing_key: str, clock: Clock, rest: Rest | None = None
    ) -> None:
        self._calls = calls
        self._url = url
        self._changes = url.removesuffix("/enqueue") + "/change/enqueue"
        self._routing_key = routing_key
        self._clock = clock
        self._rest = rest

    async def send(self, sending: Sending) -> Outcome:
        """Delivered once PagerDuty says that it has the event."""
        try:
            if sending.purpose is Purpose.UPDATE:
                return await self._update(sending)
            outcome = await self._event(sending)
            if self._rest is not None and sending.purpose is Purpose.ACKNOWLEDGED:
                await self._taken(self._rest, sending)
        except NotDone as no:
            return no.outcome
        return outcome

    async def _event(self, sending: Sending) -> Outcome:
        action = _ACTIONS.get(sending.purpose, "trigger")
        event: dict[str, object] = {
            "routing_key": self._routing_key,
            "event_action": action,
            "dedup_key": sending.provider_key[:_KEY],
        }
        if action == "trigger":
            event["client"] = "Tocsin"
            if sending.link is not None:
                event["client_url"] = sending.link
            event["payload"] = {
                "summary": cut(one_line(sending.message.subject), _SUMMARY),
                "source": sending.system,
                "severity": _SEVERITIES[min(sending.severity_rank, len(_SEVERITIES) - 1)],
                "custom_details": {
                    "incident": sending.incident,
                    "severity": sending.severity,
                    "for": sending.target.name if sending.target else "",
                    "message": cut(sending.message.body, _DETAIL, sending.link),
                },
            }
        answer = await self._calls.call("POST", self._url, document=event)
        return _success(answer)

    async def _update(self, sending: Sending) -> Outcome:
        """A change event, and a note where there is somewhere to put it.

        The note comes first, and is looked for before it is written again. A change event cannot
        be looked for; it wakes nobody, and says that it may be a repeat.
        """
        if self._rest is not None:
            await self._note(self._rest, sending)
        text = repeated(one_line(sending.message.subject), may_repeat=sending.may_repeat)
        change = {
            "routing_key": self._routing_key,
            "payload": {
                "summary": cut(text, _SUMMARY),
                "timestamp": self._clock.now().isoformat(),
                "source": sending.system,
                "custom_details": {
                    "incident": sending.incident,
                    "message": cut(sending.message.body, _DETAIL, sending.link),
                },
            },
            "links": [{"href": sending.link, "text": sending.incident}] if sending.link else [],
        }
        answer = await self._calls.call("POST", self._changes, document=change)
        return _success(answer)

    async def _taken(self, rest: Rest, sending: Sending) -> None:
        """Acknowledge PagerDuty's own incident, and say there who took it.

        The event has said so before: where the REST API says no, nothing is lost but the name.
        """
        url = rest.url.rstrip("/")
        try:
            incident = await self._incident(rest, sending.provider_key[:_KEY])
            if incident is None:
                return
            await self._calls.call(
                "PUT",
                f"{url}/incidents/{incident}",
                document={"incident": {"type": "incident_reference", "status": "acknowledged"}},
                headers=_headers(rest),
                repeatable=True,
                judged=_judge_done,
            )
            await self._noted(rest, incident, sending)
        except NotDone as no:
            if not isinstance(no.outcome, Refused):
                raise
            log.warning("pagerduty.refused", incident=sending.incident, detail=no.outcome.detail)

    async def _note(self, rest: Rest, sending: Sending) -> None:
        """A note on the incident of the first page that this channel delivered."""
        for earlier in sending.earlier:
            if earlier.purpose is not Purpose.PAGE or not earlier.ref:
                continue
            incident = await self._incident(rest, earlier.ref)
            if incident is not None:
                await self._noted(rest, incident, sending)
                return

    async def _noted(self, rest: Rest, incident: str, sending: Sending) -> None:
        headers = _headers(rest)
        url = f"{rest.url.rstrip('/')}/incidents/{incident}/notes"
        marker = f"[{sending.notification}]"
        if sending.may_repeat:
            notes = await self._calls.call("GET", url, headers=headers, repeatable=True)
            if marker in notes.text:
                return
        text = plain(f"{sending.message.subject}\n{sending.message.body}")
        content = f"{cut(text, _NOTE - len(marker) - 1, sending.link)}\n{marker}"
        await self._calls.call(
            "POST", url, document={"note": {"content": content}}, headers=headers
        )

    async def _incident(self, rest: Rest, key: str) -> str | None:
        """PagerDuty's incident of an alert."""
        answer = await self._calls.call(
            "GET",
            f"{rest.url.rstrip('/')}/incidents",
            query={"incident_key": key},
            headers=_headers(rest),
            repeatable=True,
        )
        for incident in answer.objects("incidents"):
            return str(incident.get("id"))
        return None


def _headers(rest: Rest) -> dict[str, str]:
    return {
        "Authorization": f"Token token={rest.token}",
        "Accept": "application/vnd.pagerduty+json;version=2",
        "From": rest.user,
    }


def _judge_done(answer: Answer) -> Refused | Unwell | Unknown | None:
    error = answer.member("error")
    code = error.get("code") if isinstance(error, dict) else None
    done = isinstance(code, int) and code in _DONE_BEFORE
    return None if done else judge(answer)


def _success(answer: Answer) -> Outcome:
    if answer.member("status") == "success":
        return Delivered(str(answer.member("dedup_key") or ""))
    return Refused("refused", answer.detail())
