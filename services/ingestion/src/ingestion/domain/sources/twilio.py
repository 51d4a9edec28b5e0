"""Twilio: replies to a text, and keys pressed in a call.

Format: Twilio documentation, signature checked against its SDK. A text holds the reply code of the
incident (`reply_code`), and who sends it must be a contact of a policy: anyone can send a text.
Of a call, the address that was signed names the incident and the contact. Twilio dates nothing, so
a message or a key of a call counts once, by the ids that are signed with it.
"""

from __future__ import annotations

import re
from html import escape
from urllib.parse import parse_qsl, urlsplit

from ingestion.domain.authentication import Signature
from ingestion.domain.delivery import Delivery, Given, Malformed, Received
from ingestion.domain.reading import read_form
from ingestion.domain.sources.source import Documentation, Refusal, Reply, Source, Taken

HELP = (
    "Reply with the six digits of the page to acknowledge it. Before them you can say RESOLVE, "
    "ESCALATE or MUTE; HANDOVER with who, or NOTE with what, behind them."
)
DONE = {
    "acknowledge": "Acknowledged",
    "resolve": "Resolved",
    "escalate": "Escalated",
    "mute": "Muted for an hour",
    "handover": "Handed over",
    "notes": "Noted",
}

_CODE = re.compile(r"(?<!\d)(\d{6})(?!\d)", re.ASCII)
_RESOLVES = re.compile(r"\b(?:resolved?|done|fixed)\b", re.IGNORECASE)
_FIRST = re.compile(r"\s*(escalate|mute|hand ?over|note)\b", re.IGNORECASE)
_KEYS = {"1": "acknowledge", "2": "escalate", "3": "mute", "9": "resolve"}
_MOST_TEXT = 1_600
_MOST_FIELDS = 200


def parse(received: Received) -> Delivery:
    """An answer; a report on a message's way says nothing here."""
    form = read_form(received.body)
    query = dict(parse_qsl(urlsplit(received.path).query, errors="replace"))
    if "Digits" in form or "incident" in query:
        return _pressed(form, query)
    if "Body" not in form:
        return Delivery()
    found = _CODE.search(form["Body"])
    if found is None:
        raise Malformed("invalid_field", "Body", HELP)
    number = form.get("From", "")[:50]
    verb = _verb(form["Body"])
    rest = form["Body"][found.end() :].strip()[:_MOST_TEXT]
    if verb in {"notes", "handover"} and not rest:
        raise Malformed("invalid_field", "Body", HELP)
    return Delivery(
        answer=Given(
            verb=verb,
            by=number or "sms",
            via="sms",
            fields={"text": rest} if verb in {"notes", "escalate"} and rest else {},
            code=found[1],
            handle=number,
            to=(rest,) if verb == "handover" else (),
            only_contacts=True,
        )
    )


def _verb(body: str) -> str:
    first = _FIRST.match(body)
    if first is not None:
        word = first[1].lower().replace(" ", "")
        return "notes" if word == "note" else word
    return "resolve" if _RESOLVES.search(body) else "acknowledge"


def _pressed(form: dict[str, str], query: dict[str, str]) -> Delivery:
    contact = query.get("contact", "")[:200]
    verb = _KEYS.get(form.get("Digits", ""))
    if verb is None or "incident" not in query:
        return Delivery()
    return Delivery(
        answer=Given(
            verb=verb,
            by=contact or form.get("To", "")[:50] or "phone",
            via="phone",
            incident=query["incident"],
            handle=contact,
            only_contacts=True,
        )
    )


def answered(received: Received, taken: Taken) -> Reply:
    """TwiML: what is texted back, or said."""
    answer = taken.delivery.answer
    spoken = answer is not None and answer.via == "phone"
    if taken.unheard:
        words = f"Not done: {taken.unheard}."
    elif answer is None:
        words = "Nothing is changed." if b"Digits=" in received.body else ""
        spoken = bool(words)
    else:
        done = DONE[answer.verb]
        words = f"{done}. Thank you." if spoken else f"{done}: {answer.incident}"
    return _twiml(words, spoken=spoken)


def refused(refusal: Refusal) -> Reply:
    """A text that nobody understands is answered with what to write."""
    if refusal.status in {400, 422}:
        return _twiml(refusal.message)
    return Reply(refusal.status, refusal.reason.encode(), "text/plain")


def _twiml(words: str, *, spoken: bool = False) -> Reply:
    tag = "Say" if spoken else "Message"
    inside = f"<{tag}>{escape(words)}</{tag}>" if words else ""
    body = f'<?xml version="1.0" encoding="UTF-8"?><Response>{inside}</Response>'
    return Reply(200, body.encode(), "application/xml")


def _signed(received: Received) -> bytes:
    """The address, then each field's name and value, by name."""
    fields = parse_qsl(received.body.decode(errors="replace"), keep_blank_values=True)
    pairs = sorted(fields[:_MOST_FIELDS])
    return (received.url + "".join(name + value for name, value in pairs)).encode()


def _once(received: Received) -> str:
    """The message, or the call and the key; an idempotency token is a header that is not signed."""
    try:
        form = read_form(received.body)
    except Malformed:
        return ""
    if "MessageSid" in form:
        return form["MessageSid"][:100]
    return f"{form['CallSid'][:100]} {form.get('Digits', '')[:10]}" if "CallSid" in form else ""


SOURCE = Source(
    name="twilio",
    parse=parse,
    scheme=Signature(
        "x-twilio-signature",
        signed=_signed,
        digest="sha1",
        base64=True,
        once="i-twilio-idempotency-token",
        once_signed=_once,
    ),
    answered=answered,
    refused=refused,
    keeps=False,
    documentation=Documentation(
        "Twilio: replies to a text, keys pressed in a call",
        content_types=("application/x-www-form-urlencoded",),
        statuses={200: "TwiML: what is texted back, or said."},
    ),
)
