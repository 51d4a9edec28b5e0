"""Slack: the command `/incident`, and the buttons under a page.

Format: Slack documentation and `slack_sdk`. Buttons have the verb as `action_id` and the incident
as `value`; the list of people and the field for a note have it in their block's id. Slack waits
three seconds, shows a person what a 200 says and hides every other answer, so what is wrong with a
command is told with 200, and what is wrong with a button at the `response_url` it brought.

Anyone in the workspace may declare an incident. Only a contact of a policy may answer one.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
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
    "`/incident escalate INCIDENT [why]`, `/incident handover INCIDENT @who`, "
    "`/incident mute INCIDENT [minutes]`, `/incident unmute INCIDENT`, "
    "`/incident note INCIDENT what`, `/incident update INCIDENT what`"
)

_VERBS = {
    "acknowledge": "acknowledge",
    "ack": "acknowledge",
    "resolve": "resolve",
    "escalate": "escalate",
    "handover": "handover",
    "mute": "mute",
    "unmute": "unmute",
    "mitigate": "mitigate",
    "note": "notes",
    "update": "updates",
}
_WORDLESS = frozenset({"acknowledge", "unmute"})
_NEED_WORDS = frozenset({"notes", "updates", "handover"})
_APPROVALS: dict[str, tuple[str, ...]] = {
    "approve": ("remediation", "step", "plan"),
    "reject": ("remediation",),
}
"""Buttons whose value names, after the incident, what is answered."""
_BUTTONS = frozenset({"acknowledge", "resolve", "escalate", "mute", "unmute", "handover", "notes"})
BLOCK = "tocsin:"
"""How the id of a block begins that ends in the incident."""
_PAIR = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*):(.+)", re.DOTALL)
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"'})
_LONGEST_TITLE = 200
_LONGEST_COMMAND = 4_000
_MOST_PAIRS = 20
_MOST_MINUTES = 24 * 60


class _User(Payload):
    id: str = ""
    username: Annotated[str | None, Field(max_length=200)] = None
    name: Annotated[str | None, Field(max_length=200)] = None


class _Action(Payload):
    action_id: str = ""
    block_id: str = ""
    value: str | None = None
    selected_user: str | None = None


class _Interaction(Payload):
    type: str
    user: _User = _User()
    actions: list[_Action] = Field(default_factory=list)
    response_url: str = ""


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
        given = _given(action)
        if given is not None:
            user = interaction.user
            by = user.username or user.name or user.id or "slack"
            answer = replace(given, by=by[:200], handle=user.id)
            return Delivery(answer=answer, respond_to=interaction.response_url)
    return Delivery()


def _given(action: _Action) -> Given | None:
    """What a button, a choice or a typed note says."""
    verb, value = action.action_id, action.value or ""
    if verb in _APPROVALS:
        incident, *named = value.split(" ")
        fields = dict(zip(_APPROVALS[verb], named, strict=False))
        whole = incident and {"remediation", *_APPROVALS[verb][:2]} <= fields.keys()
        return _button(verb, incident, fields) if whole else None
    incident = value
    fields = {}
    if verb in {"handover", "notes"}:
        incident = action.block_id.removeprefix(BLOCK).rpartition(":")[2]
        fields = {"text": short(value, 10_000)} if verb == "notes" else {}
    chosen = action.selected_user if verb == "handover" else value
    if verb not in _BUTTONS or not incident or not chosen:
        return None
    return Given(
        verb=verb,
        by="",
        via="slack",
        fields=fields,
        incident=incident,
        to=(chosen,) if verb == "handover" else (),
        only_contacts=True,
    )


def _button(verb: str, incident: str, fields: dict[str, str]) -> Given:
    return Given(
        verb=verb, by="", via="slack", fields=fields, incident=incident, only_contacts=True
    )


def _said(form: dict[str, str]) -> Delivery:
    words = _words(form.get("text", ""))
    user = form.get("user_id", "")
    by = (form.get("user_name") or user or "slack")[:200]
    word = words[0].lower() if words else ""
    if word == "declare" and len(words) > 1:
        return _declared(words[1:], form, by, user)
    verb = _VERBS.get(word)
    if verb is None or len(words) < 2 or (verb in _NEED_WORDS and len(words) < 3):  # noqa: PLR2004
        raise Malformed("invalid_field", "text", USAGE)
    rest = words[2:]
    fields: dict[str, str] = {}
    to: tuple[str, ...] = ()
    if verb == "mute" and rest and rest[0].isascii() and rest[0].isdigit():
        minutes, *rest = rest
        if not 1 <= int(minutes[:9]) <= _MOST_MINUTES:
            raise Malformed("invalid_field", "text", f"a mute lasts 1 to {_MOST_MINUTES} minutes")
        fields["minutes"] = minutes
    if verb == "handover":
        to = (rest[0],)
        rest = rest[1:]
    if rest and verb not in _WORDLESS:
        fields["text"] = short(" ".join(rest), 10_000)
    return Delivery(
        answer=Given(
            verb=verb,
            by=by,
            via="slack",
            fields=fields,
            incident=words[1],
            handle=user,
            to=to,
            only_contacts=True,
        )
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
