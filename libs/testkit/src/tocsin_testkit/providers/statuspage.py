"""Statuspage: incidents of one page."""

from __future__ import annotations

from typing import Any

from tocsin_testkit.providers.serving import Provider, Reply, Request, Shown

_STATUSES = frozenset({"investigating", "identified", "monitoring", "resolved"})
_IMPACTS = frozenset({"none", "minor", "major", "critical"})
_COMPONENTS = frozenset(
    {"operational", "degraded_performance", "partial_outage", "major_outage", "under_maintenance"}
)


class Statuspage(Provider):
    """A page that customers read. It merges nothing, and every post goes out by mail.

    Attributes:
        components: Status by component id.
        incidents: In the order of their creation.
    """

    def __init__(self, page: str, key: str, components: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._root = f"/v1/pages/{page}/incidents"
        self._key = key
        self.components = dict.fromkeys(components, "operational")
        self.incidents: list[dict[str, Any]] = []

    def take(self, request: Request) -> Reply:
        """Create, update, or list what is not resolved."""
        if request.headers.get("authorization") != f"OAuth {self._key}":
            return Reply.of(401, {"error": "Could not authenticate"})
        if request.method == "GET" and request.path in {self._root, f"{self._root}/unresolved"}:
            unresolved = request.path.endswith("/unresolved")
            found = [one for one in self.incidents if not unresolved or one["status"] != "resolved"]
            return Reply.of(200, found)
        incident = request.document().get("incident", {})
        errors = self._errors(incident)
        if request.method == "POST" and request.path == self._root:
            if not incident.get("name"):
                errors.append("Name can't be blank")
            if errors:
                return self._refuse(errors)
            held = {"id": f"inc{len(self.incidents) + 1}", "incident_updates": [], **incident}
            self.incidents.append(held)
            return self._took(201, held, incident)
        identity = request.path.removeprefix(f"{self._root}/")
        for held in self.incidents:
            if request.method == "PATCH" and held["id"] == identity:
                if errors:
                    return self._refuse(errors)
                held.update(incident)
                return self._took(200, held, incident)
        return Reply.of(404, {"error": ["Not found"]})

    def _errors(self, incident: dict[str, Any]) -> list[str]:
        errors = []
        if incident.get("status", "investigating") not in _STATUSES:
            errors.append("Status is not included in the list")
        if incident.get("impact_override", "none") not in _IMPACTS:
            errors.append("Impact is not included in the list")
        for component, status in incident.get("components", {}).items():
            if component not in self.components or status not in _COMPONENTS:
                errors.append(f"component {component}")
        return errors

    def _refuse(self, errors: list[str]) -> Reply:
        self.complaints.extend(errors)
        return Reply.of(422, {"error": errors})

    def _took(self, status: int, held: dict[str, Any], incident: dict[str, Any]) -> Reply:
        self.components.update(incident.get("components", {}))
        if incident.get("body"):
            held["incident_updates"].append(incident["body"])
            self.shown.append(Shown(f"{held['name']}\n{incident['body']}", held["id"]))
        return Reply.of(status, held)
