"""What OpenAPI says of the routes that FastAPI does not see."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from ingestion.domain.sources import Sources
from ingestion.domain.sources.source import Source

_PARAMETER = re.compile(r"{(\w+)}")


class Accepted(BaseModel):
    """It stands in the log."""

    status: str
    event: str


class Problem(BaseModel):
    """What is wrong."""

    reason: str
    field: str
    message: str


class Refused(BaseModel):
    """The body of every refusal."""

    error: Problem


_REFUSALS = {
    400: "The body cannot be read.",
    401: "The sender is not known.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The content coding is not known.",
    422: "A field is wrong.",
    429: "More than this source's rate.",
    503: "Busy, or the log is away; come again after `Retry-After`.",
}

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refused, "description": said}
    for status, said in {
        400: _REFUSALS[400],
        401: _REFUSALS[401],
        404: "No such incident, or no policy for its system.",
        422: _REFUSALS[422],
        503: _REFUSALS[503],
    }.items()
}
"""What an answer may hear instead, for FastAPI."""

ANSWERS = "/v1/answers/{token}"
"""Where the links of mails lead."""

_ANSWERED = {
    200: "A page: what it would do, or that it is done.",
    400: "A page: nothing is done, the button was not pressed.",
    403: "A page: the link is none of ours, or its reader is no contact any more.",
    404: "A page: no policy is in force for the incident's system.",
    410: "A page: the link has expired, or was used before.",
    422: "A page: something is missing.",
    503: "Busy, or the log is away.",
}

_SILENCE_ID = {
    "name": "silence",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
}


def document(application: FastAPI, sources: Sources) -> None:
    """Add the sources and Alertmanager's API to what the application says of itself."""
    plain = application.openapi

    def whole() -> dict[str, Any]:
        if application.openapi_schema is None:
            schema = plain()
            paths = schema["paths"]
            for source in sources:
                for method, path in routes_of(source):
                    paths.setdefault(path, {})[method.lower()] = _operation(source, method, path)
            if any(getattr(route, "path", "") == "/api/v2/status" for route in application.routes):
                _api_v2(paths)
            if any(getattr(route, "path", "") == ANSWERS for route in application.routes):
                paths[ANSWERS] = _answers()
            application.openapi_schema = schema
        return application.openapi_schema

    application.openapi = whole  # type: ignore[method-assign]


def routes_of(source: Source) -> list[tuple[str, str]]:
    """Method and path of each route of a source."""
    routes = source.routes or (f"POST /v1/webhooks/{source.name}",)
    split = [route.partition(" ") for route in routes]
    return [(method, path) for method, _, path in split]


def _operation(source: Source, method: str, path: str) -> dict[str, Any]:
    said = source.documentation
    responses: dict[str, Any] = {
        str(status): {"description": text, "content": {"*/*": {"schema": {}}}}
        for status, text in {**_REFUSALS, **said.statuses}.items()
    }
    if said.wordless:
        for status in said.statuses:
            del responses[str(status)]["content"]
    return {
        "operationId": re.sub(r"\W+", "_", f"{source.name}_{method}_{path}").strip("_").lower(),
        "summary": said.summary,
        "description": "The body is the vendor's: see docs/sources.md. "
        + ("What cannot be read is kept, and answered as taken." if source.keeps else ""),
        "tags": [source.name],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PARAMETER.findall(path)
        ],
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": dict(said.schema)} for kind in said.content_types},
        },
        "responses": responses,
    }


def _answers() -> dict[str, Any]:
    """A look changes nothing; only the form's button does."""
    pages = {
        str(status): {"description": text, "content": {"*/*": {"schema": {}}}}
        for status, text in _ANSWERED.items()
    }
    token = {"name": "token", "in": "path", "required": True, "schema": {"type": "string"}}
    shared = {"tags": ["answers"], "parameters": [token], "responses": pages}
    form = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("confirmed", "text", "contact")},
    }
    return {
        "get": {"operationId": "look_at_a_link", "summary": "What a mail's link does", **shared},
        "post": {
            "operationId": "use_a_link",
            "summary": "Do it, once",
            "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": form}}},
            **shared,
        },
    }


def _api_v2(paths: dict[str, Any]) -> None:
    """Alertmanager's own document says more; this names what is there."""
    for method, path, summary, statuses in (
        ("get", "/api/v2/status", "What it is", (200,)),
        ("get", "/api/v2/receivers", "Systems that have a policy", (200,)),
        ("get", "/api/v2/alerts", "Alerts that fire", (200, 400)),
        ("get", "/api/v2/alerts/groups", "The same, by system and grouping labels", (200, 400)),
        ("get", "/api/v2/silences", "Silences", (200, 400)),
        ("post", "/api/v2/silences", "Create or change one", (200, 400, 404, 408, 413, 415, 422)),
        ("get", "/api/v2/silence/{silence}", "One silence", (200, 404, 422)),
        ("delete", "/api/v2/silence/{silence}", "End one", (200, 400, 404, 422)),
        ("get", "/-/healthy", "The process answers", (200,)),
        ("get", "/-/ready", "The same", (200,)),
    ):
        operation: dict[str, Any] = {
            "operationId": re.sub(r"\W+", "_", f"{method}_{path}").strip("_"),
            "summary": summary,
            "tags": ["alertmanager"],
            "responses": {
                str(status): {
                    "description": "As Alertmanager's",
                    "content": {"*/*": {"schema": {}}},
                }
                for status in (*statuses, 401, 503)
            },
        }
        if "{silence}" in path:
            operation["parameters"] = [_SILENCE_ID]
        if method == "post":
            operation["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": {}}},
            }
        paths.setdefault(path, {})[method] = operation
