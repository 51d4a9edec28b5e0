"""Twilio: text messages, and calls that are spoken and answered by a key.

Format: `POST /2010-04-01/Accounts/{AC…}/Messages.json` or `/Calls.json`, form-encoded, basic
authentication; 201 with a `sid`. Errors are JSON with a `code`. There is no key to merge repeats
by: a page in doubt goes again and says that it may be a repeat; anything else is left.

A text asks for the incident's reply code (`tocsin_contracts.ids.reply_code`) to acknowledge. A
call asks for a key, and Twilio posts it (`Digits`) to the `answer_url` of the settings, with the
incident and the contact in its query.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

from notifier.adapters.calling import Answer, Caller, NotDone, judge
from notifier.adapters.markup import cut, one_line, plain, repeated
from notifier.domain.outcomes import Delivered, Outcome, Refused, Unknown, Unwell
from notifier.domain.speaking import says
from notifier.ports import Sending
from tocsin_contracts.ids import reply_code
from tocsin_contracts.incidents import Purpose

VALID_FOR = timedelta(minutes=10)
"""A text that could not be handed over by then is dropped: the next level has been paged."""
RINGS_FOR = timedelta(seconds=45)

_MOST_TEXT = 640
_MOST_SPOKEN = 500
_E164 = re.compile(r"\+[1-9]\d{6,14}")
_WRITTEN = re.compile(r"\(0\)|[\s().\-/]")
_UNSPEAKABLE = re.compile("[\ud800-\udfff\ufffe\uffff]")
_TOO_MANY = 20429
_PRESS = (
    "Press 1 to acknowledge, 2 to escalate now, 3 to mute it for an hour, 9 to say it is resolved."
)
_REASONS = {
    20003: "not_authenticated",
    21211: "bad_number",
    21214: "bad_number",
    21217: "bad_number",
    21610: "opted_out",
    21614: "bad_number",
}


@dataclass(frozen=True, slots=True)
class Account:
    """Whose messages they are.

    Attributes:
        user: The account's id, or that of an API key.
        sender: A number, or for texts a messaging service (`MG…`).
    """

    url: str
    account: str
    user: str
    password: str = field(repr=False)
    sender: str


class SmsChannel:
    """Sends texts to the number the policy has for the target.

    Args:
        answered: Whether a reply reaches us, so that it is asked for.
    """

    def __init__(self, calls: Caller, account: Account, *, answered: bool) -> None:
        self._calls = calls
        self._account = account
        self._answered = answered

    async def send(self, sending: Sending) -> Outcome:
        """Delivered once Twilio has it; the telephone may still be off."""
        number = dialled(sending.phone)
        if number is None:
            return Refused("no_number", "the target has no number like +41445550100 in the policy")
        service = self._account.sender.startswith("MG")
        form = {
            "To": number,
            "MessagingServiceSid" if service else "From": self._account.sender,
            "Body": self._text(sending),
            "ValidityPeriod": str(int(VALID_FOR.total_seconds())),
        }
        return await _posted(self._calls, self._account, "Messages", form)

    def _text(self, sending: Sending) -> str:
        end = ""
        if self._answered and sending.purpose is Purpose.PAGE:
            code = "the code of each" if sending.bundled else reply_code(sending.incident)
            end += f"\nReply {code} to acknowledge; RESOLVE, ESCALATE or MUTE before it."
        if sending.link is not None:
            end += f"\n{sending.link}"
        subject = repeated(one_line(sending.message.subject), may_repeat=sending.may_repeat)
        return cut(f"{subject}\n{sending.message.body}", _MOST_TEXT - len(end)) + end


class VoiceChannel:
    """Calls the number the policy has for the target.

    Args:
        answer_url: Where Twilio posts the key that was pressed; without it none is asked for.
    """

    def __init__(self, calls: Caller, account: Account, answer_url: str | None) -> None:
        self._calls = calls
        self._account = account
        self._answer_url = answer_url

    async def send(self, sending: Sending) -> Outcome:
        """Delivered once Twilio has it; it may still ring in vain."""
        if not says("voice", sending.purpose):
            return Refused("not_spoken", f"nobody is called for {sending.purpose}")
        number = dialled(sending.phone)
        if number is None:
            return Refused("no_number", "the target has no number like +41445550100 in the policy")
        form = {
            "To": number,
            "From": self._account.sender,
            "Twiml": self._speech(sending),
            "Timeout": str(int(RINGS_FOR.total_seconds())),
        }
        return await _posted(self._calls, self._account, "Calls", form)

    def _speech(self, sending: Sending) -> str:
        subject = repeated(one_line(sending.message.subject), may_repeat=sending.may_repeat)
        said = cut(f"{subject}. {one_line(sending.message.body)}", _MOST_SPOKEN, escape=_speakable)
        response = ET.Element("Response")
        asks = self._answer_url is not None and sending.purpose is Purpose.PAGE
        # One key says yes to one incident.
        asks = asks and not sending.bundled
        inside = response
        if asks:
            contact = sending.target.contact if sending.target is not None else ""
            query = urlencode({"incident": sending.incident, "contact": contact})
            inside = ET.SubElement(
                response,
                "Gather",
                numDigits="1",
                timeout="10",
                method="POST",
                action=f"{self._answer_url}?{query}",
            )
            said = f"{said} {_PRESS}"
        ET.SubElement(inside, "Say", loop="2").text = said
        return ET.tostring(response, encoding="unicode")


def dialled(phone: str | None) -> str | None:
    """A number as Twilio dials it, from a number as people write it.

    >>> dialled("+44 (0)20 7946-0100"), dialled("call the desk"), dialled("044 555 01 00")
    ('+442079460100', None, None)
    """
    number = _WRITTEN.sub("", phone or "")
    return number if _E164.fullmatch(number) else None


def _speakable(text: str) -> str:
    """Text that XML may hold; the links in it are not read out."""
    return re.sub(r"https?://\S+", "", _UNSPEAKABLE.sub("", plain(text)))


async def _posted(calls: Caller, account: Account, what: str, form: dict[str, str]) -> Outcome:
    try:
        answer = await calls.call(
            "POST",
            f"{account.url.rstrip('/')}/2010-04-01/Accounts/{account.account}/{what}.json",
            form=form,
            auth=(account.user, account.password),
            judged=_judge,
        )
    except NotDone as no:
        return no.outcome
    sid = answer.member("sid")
    if not sid:
        return Refused("unreadable_answer", answer.detail())
    return Delivered(str(sid))


def _judge(answer: Answer) -> Refused | Unwell | Unknown | None:
    outcome = judge(answer)
    code = answer.member("code")
    if isinstance(outcome, Refused) and isinstance(code, int) and code in _REASONS:
        return Refused(_REASONS[code], outcome.detail)
    if isinstance(outcome, Refused) and code == _TOO_MANY:
        return Unwell("rate_limited", outcome.detail)
    return outcome
