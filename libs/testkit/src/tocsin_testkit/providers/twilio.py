"""Twilio: `Messages.json` and `Calls.json` of the API of 2010-04-01."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree as ET

from tocsin_testkit.providers.serving import Provider, Reply, Request, Shown

_E164 = re.compile(r"\+[1-9]\d{6,14}")
_ACCOUNT = re.compile(r"AC[0-9a-f]{32}")


class Twilio(Provider):
    """One account. It merges nothing.

    Attributes:
        opted_out: Numbers that answered STOP.
    """

    def __init__(self, account: str, token: str) -> None:
        super().__init__()
        self._account = account
        self._basic = base64.b64encode(f"{account}:{token}".encode()).decode()
        self.opted_out: set[str] = set()
        self.forms: list[dict[str, str]] = []
        assert _ACCOUNT.fullmatch(account)

    def take(self, request: Request) -> Reply:
        """A message or a call."""
        if request.headers.get("authorization") != f"Basic {self._basic}":
            return self._no(401, 20003, "Authenticate")
        form = request.form()
        self.forms.append(form)
        if not _E164.fullmatch(form.get("To", "")):
            return self._no(400, 21211, "Invalid 'To' Phone Number")
        if form["To"] in self.opted_out:
            return self._no(400, 21610, "Attempt to send to unsubscribed recipient")
        if not ({"From", "MessagingServiceSid"} & form.keys()):
            return self._no(400, 21603, "A 'From' phone number is required")
        root = f"/2010-04-01/Accounts/{self._account}"
        if request.path == f"{root}/Messages.json":
            return self._message(form)
        if request.path == f"{root}/Calls.json":
            return self._voice(form)
        return self._no(404, 20404, "The requested resource was not found")

    def _message(self, form: dict[str, str]) -> Reply:
        if not form.get("Body"):
            return self._no(400, 21602, "Message body is required")
        if len(form["Body"]) > 1_600:
            return self._no(400, 21617, "The concatenated message body exceeds the limit")
        self.require(1 <= int(form.get("ValidityPeriod", "36000")) <= 36_000, "ValidityPeriod")
        self.shown.append(Shown(form["Body"], form["To"]))
        return Reply.of(201, {"sid": f"SM{len(self.forms):032x}", "status": "queued"})

    def _voice(self, form: dict[str, str]) -> Reply:
        given = {"Url", "Twiml", "ApplicationSid"} & form.keys()
        if len(given) != 1:
            return self._no(400, 21205, "Url, Twiml or ApplicationSid, and only one")
        self.require(len(form.get("Twiml", "")) <= 4_000, "Twiml is at most 4,000 characters")
        root = ET.fromstring(form["Twiml"])  # noqa: S314 - what our own adapter sent
        self.require(root.tag == "Response", "TwiML begins with Response")
        self.require(
            {node.tag for node in root.iter()} <= {"Response", "Gather", "Say", "Pause", "Hangup"},
            "an unknown verb",
        )
        self.shown.append(
            Shown("\n".join(node.text or "" for node in root.iter("Say")), form["To"])
        )
        return Reply.of(201, {"sid": f"CA{len(self.forms):032x}", "status": "queued"})

    @staticmethod
    def _no(status: int, code: int, message: str) -> Reply:
        return Reply.of(status, {"code": code, "message": message, "status": status})
