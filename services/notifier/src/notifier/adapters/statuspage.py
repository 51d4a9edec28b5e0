"""Statuspage: what customers read, created, updated and resolved with its components.

Format: `POST /v1/pages/{page}/incidents` and `PATCH …/{id}` with `{"incident": {…}}` and
`Authorization: OAuth <key>`; 201 and 200. There is no key to merge repeats by, and each post is
mailed to subscribers. So a post in doubt is left, an answer that leaves any doubt is doubt, and the
next post finds what the last one made, by the metadata it left.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from notifier.adapters.calling import Answer, Caller, NotDone, judge_warily, retry_after
from notifier.adapters.markup import cut, one_line, plain
from notifier.domain.outcomes import Delivered, Outcome, Refused, Unknown, Unwell
from notifier.domain.speaking import says
from notifier.ports import Sending
from tocsin_contracts.incidents import Purpose

_NAME = 255
_BODY = 10_000
_IMPACTS = ("critical", "major", "minor")
_HARM = ("major_outage", "partial_outage", "degraded_performance")
_STATUSES = {
    "open": "investigating",
    "acknowledged": "identified",
    "mitigated": "monitoring",
}
_PATIENCE = timedelta(seconds=60)
"""The limit is counted over a minute; whoever passed it waits one."""


class StatuspageChannel:
    """Posts to one page.

    Args:
        components: Ids of the page's components, by the service that an incident is about, or that
            is affected by it.
    """

    def __init__(
        self, calls: Caller, url: str, page: str, token: str, components: Mapping[str, str]
    ) -> None:
        self._calls = calls
        self._url = f"{url.rstrip('/')}/pages/{page}/incidents"
        self._headers = {"Authorization": f"OAuth {token}"}
        self._components = dict(components)

    async def send(self, sending: Sending) -> Outcome:
        """Delivered once it stands on the page."""
        if not says("statuspage", sending.purpose):
            return Refused("not_for_customers", f"a status page shows no {sending.purpose}")
        try:
            identity = await self._identity(sending)
            if identity is not None:
                await self._post("PATCH", f"{self._url}/{identity}", self._incident(sending))
                return Delivered(identity)
            if sending.purpose is Purpose.RESOLVED:
                return Refused("never_posted", "customers read nothing of it")
            made = await self._post("POST", self._url, self._opened(sending))
        except NotDone as no:
            return no.outcome
        return Delivered(made.name_of("id"))

    async def _identity(self, sending: Sending) -> str | None:
        """The page's id of the incident, from the log, or else from the page itself."""
        for earlier in sending.earlier:
            if earlier.ref:
                return earlier.ref
        if sending.purpose is Purpose.OPENED:
            return None
        answer = await self._calls.call(
            "GET",
            f"{self._url}/unresolved",
            headers=self._headers,
            repeatable=True,
            judged=_judge,
        )
        for incident in answer.objects():
            if _about(incident) == sending.incident:
                return str(incident.get("id"))
        return None

    async def _post(self, method: str, url: str, incident: dict[str, Any]) -> Answer:
        answer = await self._calls.call(
            method, url, document={"incident": incident}, headers=self._headers, judged=_judge
        )
        answer.name_of("id")
        return answer

    def _opened(self, sending: Sending) -> dict[str, Any]:
        rank = min(sending.severity_rank, len(_IMPACTS) - 1)
        return self._incident(sending) | {
            "name": cut(one_line(sending.message.subject), _NAME),
            "impact_override": _IMPACTS[rank],
            "deliver_notifications": True,
            "metadata": {"tocsin": {"incident": sending.incident}},
        }

    def _incident(self, sending: Sending) -> dict[str, Any]:
        over = sending.purpose is Purpose.RESOLVED
        incident: dict[str, Any] = {
            "status": "resolved" if over else _STATUSES.get(sending.status, "investigating"),
            "body": cut(plain(sending.message.body), _BODY),
        }
        harmed = self._harmed(sending)
        if harmed:
            # Resolving alone does not set a component right again.
            incident["components"] = {
                one: "operational" if over else harm for one, harm in harmed.items()
            }
            incident["component_ids"] = list(harmed)
        return incident

    def _harmed(self, sending: Sending) -> dict[str, str]:
        """How bad it is for each component: of what else is affected no more is known than that."""
        affected = (self._components.get(name) for name in sending.components)
        harmed = {one: _HARM[-1] for one in affected if one is not None}
        component = self._components.get(sending.service or "")
        if component is not None:
            harmed[component] = _HARM[min(sending.severity_rank, len(_HARM) - 1)]
        return harmed


def _judge(answer: Answer) -> Refused | Unwell | Unknown | None:
    if answer.status in {420, 429}:
        return Unwell("rate_limited", answer.detail(), retry_after(answer) or _PATIENCE)
    return judge_warily(answer)


def _about(incident: dict[str, Any]) -> object:
    found: object = incident
    for name in ("metadata", "tocsin", "incident"):
        found = found.get(name) if isinstance(found, dict) else None
    return found
