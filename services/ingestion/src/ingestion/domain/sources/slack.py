"""Slack: the command `/incident`, and the buttons under a page.

Format: Slack documentation and `slack_sdk`. Buttons have the verb as `action_id` and the incident
as `value`. Slack waits three seconds, shows a person what a 200 says and hides every other answer,
so what is wrong with a command is told with 200.
"""

from __future__ import annotations

import re
import shlex
from datetime import datetime
from typing import Annotated

from pydantic import Field

from ingestion.domain.authentication import Signature
from ingestion.domain.delivery import Delivery, Given, Malformed, Received, Seen
from ingestion.domain.fingerprint import fingerprint
from ingestion.domain.reading import (
    Payload,
    instant,
    labels_of,
    read,
    read_form,
    read_json,
    short,
    text,
)
from ingestion.domain.sources.source import (
    Documentation,
    Refusal,
    Reply,
    Source,
    Taken,
    as_json,
)
from tocsin_contracts.alerts import ObservationStatus

AT = "x-slack-request-timestamp"

USAGE = (
    'Usage: `/incident declare "what is wrong" severity:critical system:shop`, '
    "`/incident acknowledge INCIDENT`, `/incident resolve INCIDENT [how]`, "
    "`/incident note INCIDENT what`"
)

_VERBS = {"acknowledge": "acknowledge", "ack": "acknowledge", "resolve": "resolve", "note": "notes"}
_BUTTONS = {"acknowledge": "acknowledge", "resolve": "resolve"}
_PAIR = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*):(.+)", re.DOTALL)
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"'})
_LONGEST_TITLE = 200
_LONGEST_COMMAND = 4_000
_MOST_PAIRS = 20


class _User(Payload):
    id: str = ""
    username: Annotated[str | None, Field(max_length=200)] = None
    name: Annotated[str | None, Field(max_length=200)] = None


class _Action(Payload):
    action_id: str = ""
    value: str | None = None


class _Interaction(Payload):
    type: str
    user: _User = _User()
    actions: list[_Action] = Field(default_factory=list)


def parse(received: Received) -> Delivery:
    """A declaration, an answer, or nothing to write."""
    if received.header("content-type").lower().startswith("application/json"):
        read_json(received.body)  # the challenge with which Slack checks the address
        return Delivery()
    form = read_form(received.body)
    if "payload" in form:
        return _pressed(read(_Interaction, form["payload"].encode()))
    if "command" not in form:
        raise Malformed("invalid_field", "command", "a command or a payload is needed")
    return _said(form)


def _pressed(interaction: _Interaction) -> Delivery:
    for action in interaction.actions:
        verb = _BUTTONS.get(action.action_id)
        if verb is not None and action.value:
            user = interaction.user
            by = user.username or user.name or user.id or "slack"
            return Delivery(
                answer=Given(
                    verb=verb, by=by[:200], via="slack", incident=action.value, handle=user.id
                )
            )
    return Delivery()


def _said(form: dict[str, str]) -> Delivery:
    words = _words(form.get("text", ""))
    user = form.get("user_id", "")
    by = (form.get("user_name") or user or "slack")[:200]
    word = words[0].lower() if words else ""
    if word == "declare" and len(words) > 1:
        return _declared(words[1:], form, by, user)
    verb = _VERBS.get(word)
    if verb is None or len(words) < 2 or (verb == "notes" and len(words) < 3):  # noqa: PLR2004
        raise Malformed("invalid_field", "text", USAGE)
    rest = short(" ".join(words[2:]), 10_000)
    fields = {"text": rest} if rest and verb != "acknowledge" else {}
    return Delivery(
        answer=Given(verb=verb, by=by, via="slack", fields=fields, incident=words[1], handle=user)
    )


def _words(command: str) -> list[str]:
    plain = command[:_LONGEST_COMMAND].translate(_QUOTES)
    for escaped, character in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        plain = plain.replace(escaped, character)
    try:
        return shlex.split(plain)
    except ValueError as error:
        raise Malformed("invalid_field", "text", f"{error}. {USAGE}") from error


def _declared(words: list[str], form: dict[str, str], by: str, user: str) -> Delivery:
    pairs: dict[str, object] = {}
    title: list[str] = []
    for word in words:
        found = _PAIR.fullmatch(word)
        if found is not None and len(pairs) < _MOST_PAIRS:
            pairs[found[1]] = found[2]
        else:
            title.append(word)
    named = short(" ".join(title).strip(), _LONGEST_TITLE)
    if not named:
        raise Malformed("invalid_field", "text", USAGE)
    labels = labels_of(
        {
            **pairs,
            "alertname": named,
            "declared_by": user or by,
            "declaration": form.get("trigger_id", ""),
        }
    )
    return Delivery(
        alerts=(
            Seen(
                status=ObservationStatus.FIRING,
                fingerprint=fingerprint(labels),
                starts_at=None,
                ends_at=None,
                labels=labels,
                annotations={"summary": named, "declared_by": by},
            ),
        )
    )


def answered(received: Received, taken: Taken) -> Reply:
    """What the person sees; a button needs no words."""
    if received.header("content-type").lower().startswith("application/json"):
        body = read_json(received.body)
        challenge = body.get("challenge") if isinstance(body, dict) else None
        return as_json(200, {"challenge": text(challenge)})
    if taken.problem is not None:
        return _only_to_them(taken.problem.detail)
    if "payload" in read_form(received.body):
        return Reply(200)
    if taken.unheard:
        return _only_to_them(f"Not done: {taken.unheard}.")
    if taken.delivery.answer is not None:
        answer = taken.delivery.answer
        return _to_all(f"{answer.by}: {answer.verb} {answer.incident}")
    title = taken.delivery.alerts[0].annotations["summary"] if taken.delivery.alerts else ""
    return _to_all(f"Declared: {title}")


def refused(refusal: Refusal) -> Reply:
    """What is wrong with a command is told to who gave it; a stranger is told nothing."""
    if refusal.status in {400, 422}:
        return _only_to_them(refusal.message)
    return as_json(refusal.status, {"error": refusal.reason})


def _to_all(words: str) -> Reply:
    return as_json(200, {"response_type": "in_channel", "text": _escaped(words)})


def _only_to_them(words: str) -> Reply:
    return as_json(200, {"response_type": "ephemeral", "text": _escaped(words)})


def _escaped(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _signed(received: Received) -> bytes | None:
    at = received.header(AT)
    return b"v0:" + at.encode() + b":" + received.body if at else None


def _dated(received: Received) -> datetime | None:
    at = received.header(AT)
    return instant(int(at)) if at.isascii() and at.isdigit() else None


SOURCE = Source(
    name="slack",
    parse=parse,
    scheme=Signature(
        "x-slack-signature", signed=_signed, prefix="v0=", dated=_dated, retried=False
    ),
    answered=answered,
    refused=refused,
    keeps=False,
    documentation=Documentation(
        "Slack: the command /incident, and buttons",
        content_types=("application/x-www-form-urlencoded", "application/json"),
        statuses={200: "What the person sees."},
        wordless=True,
    ),
)
