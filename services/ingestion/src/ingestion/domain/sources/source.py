"""What a source is: a value that says how it is reached, who may send, and what its bytes mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ingestion.domain.authentication import Scheme, Token
from ingestion.domain.delivery import Delivery, Malformed, Received

RETRY_AFTER_SECONDS = 5

ONE_MEBIBYTE = 1024 * 1024
MANY_ALERTS_BYTES = 5 * ONE_MEBIBYTE
"""Of sources that send many alerts at once and prove themselves before they send them."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the caller hears."""

    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not taken in.

    Attributes:
        reason: One `snake_case` word for counting.
        field: What is wrong, dotted; empty for the request as a whole.
    """

    status: int
    reason: str
    message: str
    field: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a delivery that was read.

    Attributes:
        repeated: It came before; nothing was written again.
        unheard: Why an answer in it reaches no incident; empty when it does.
        problem: What is wrong with a body that was kept all the same.
    """

    delivery: Delivery
    repeated: bool = False
    unheard: str = ""
    problem: Malformed | None = None


def as_json(status: int, document: object, headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON reply."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Reply(status, body, "application/json", headers or {})


def accepted(_received: Received, taken: Taken) -> Reply:
    """202, with what was made of it; a body nobody can read is kept, and said to be wrong."""
    document: dict[str, Any] = {"status": "accepted", "alerts": len(taken.delivery.alerts)}
    if taken.repeated:
        document["status"] = "repeated"
    if taken.unheard:
        document["unheard"] = taken.unheard
    if taken.problem is not None:
        document = {
            "status": "kept",
            "alerts": 0,
            "error": _error(taken.problem.reason, taken.problem.field, taken.problem.detail),
        }
    return as_json(202, document)


def refused(refusal: Refusal) -> Reply:
    """The door's own shape of an error."""
    return as_json(
        refusal.status, {"error": _error(refusal.reason, refusal.field, refusal.message)}
    )


def _error(reason: str, where: str, message: str) -> dict[str, str]:
    return {"reason": reason, "field": where, "message": message}


@dataclass(frozen=True, slots=True)
class Documentation:
    """What OpenAPI says of a source.

    Attributes:
        summary: One line.
        content_types: What its bodies are.
        schema: Of the body. A source that keeps what it cannot read takes anything.
        statuses: What its own replies have, with a word on each.
        wordless: Its replies to what was taken have no body, or not always.
    """

    summary: str
    content_types: tuple[str, ...] = ("application/json",)
    schema: Mapping[str, Any] = field(default_factory=dict)
    statuses: Mapping[int, str] = field(default_factory=lambda: {202: "It stands in the log."})
    wordless: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """One kind of sender.

    Attributes:
        name: As the raw record's header `source` says it.
        parse: What the bytes say; the same function at the door and behind it.
        documentation: For OpenAPI.
        routes: `METHOD /path`, with `{names}` for parts that vary; the default is
            `POST /v1/webhooks/<name>`.
        scheme: How it proves who it is.
        answered: What the caller hears of a delivery that was taken in.
        refused: What the caller hears of one that was not.
        headers: Request headers the parser needs, kept with the bytes.
        keeps: A body that cannot be read is kept, dead-lettered and answered as taken: such a
            sender would repeat it for ever, and nobody looks at its errors. Else it is refused.
        most_bytes: A body is never larger; the settings may allow less. A sender that signs is
            known only once all of its body is in memory, so that this bounds what strangers cost.
        busy: The status for more than its rate.
        for_people: People's tools speak it too, so that their token counts as well.
    """

    name: str
    parse: Callable[[Received], Delivery]
    documentation: Documentation
    routes: tuple[str, ...] = ()
    scheme: Scheme = field(default_factory=Token)
    answered: Callable[[Received, Taken], Reply] = accepted
    refused: Callable[[Refusal], Reply] = refused
    headers: tuple[str, ...] = ()
    keeps: bool = True
    most_bytes: int = ONE_MEBIBYTE
    busy: int = 503
    for_people: bool = False
