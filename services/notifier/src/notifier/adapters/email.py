"""Mail by SMTP.

The Message-ID is derived from the notification, so a retry after a lost answer is the same mail;
`References` and `In-Reply-To` keep one incident one thread. 4xx answers are passing, 5xx are final
(RFC 5321).

Where the settings say so, a page has links to answer by: each leads to a page that asks first, so
that a program which follows all links of a mail answers nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from datetime import timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from html import escape
from pathlib import Path
from typing import Literal

import aiosmtplib

from notifier.adapters.calling import MOST_DETAIL
from notifier.adapters.markup import cut, one_line, plain
from notifier.domain.outcomes import Delivered, Outcome, Refused, Unknown, Unwell
from notifier.ports import Sending
from tocsin_runtime.ports import Clock

_PERMANENT = 500
_SUBJECT = 200
_URGENT_RANK = 0

_BUTTON = (
    "display:inline-block;margin:4px 8px 4px 0;padding:10px 16px;border-radius:4px;"
    "background:#9c1c1c;color:#ffffff;text-decoration:none;font-weight:bold"
)

Tls = Literal["starttls", "implicit", "none"]
"""`implicit` speaks TLS from the first byte (port 465)."""


class EmailChannel:
    """Sends through one relay, to the address the policy has for the target.

    Args:
        to: Who reads what is told to the channel rather than to a person.
        ca_file: PEM file of an authority to trust instead of the public ones.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        sender: str,
        clock: Clock,
        tls: Tls = "starttls",
        to: Sequence[str] = (),
        username: str | None = None,
        password: str | None = None,
        timeout: timedelta = timedelta(seconds=10),
        ca_file: Path | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._sender = sender
        self._clock = clock
        self._tls = tls
        self._to = tuple(to)
        self._username = username
        self._password = password
        self._timeout = timeout.total_seconds()
        self._context = None
        if tls != "none":
            self._context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)

    async def send(self, sending: Sending) -> Outcome:
        """Delivered once the relay has taken the mail after its final dot."""
        addresses = [sending.address] if sending.address else []
        if sending.target is None:
            addresses = list(self._to)
        if not addresses:
            return Refused("no_address", "neither the policy nor the settings have an address")
        try:
            mail = self._mail(sending, addresses)
        except ValueError as error:
            return Refused("bad_address", str(error)[:MOST_DETAIL])
        # Whatever happens before the data are sent, the relay has nothing.
        smtp = self._connection()
        try:
            async with asyncio.timeout(self._timeout):
                await smtp.connect()
                if self._username is not None and self._password is not None:
                    await smtp.login(self._username, self._password)
        except (TimeoutError, aiosmtplib.SMTPException, OSError) as error:
            smtp.close()
            return _before(error)
        try:
            async with asyncio.timeout(self._timeout):
                await smtp.send_message(mail, sender=self._sender, recipients=addresses)
        except (TimeoutError, aiosmtplib.SMTPException, OSError) as error:
            return _after(error)
        finally:
            smtp.close()
        return Delivered(str(mail["Message-ID"]))

    def _connection(self) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            timeout=self._timeout,
            use_tls=self._tls == "implicit",
            start_tls=self._tls == "starttls",
            tls_context=self._context,
        )

    def _mail(self, sending: Sending, addresses: Sequence[str]) -> EmailMessage:
        domain = self._sender.rpartition("@")[2]
        thread = f"<{sending.incident}@{domain}>"
        mail = EmailMessage(policy=SMTP)
        mail["From"] = Address("Tocsin", addr_spec=self._sender)
        mail["To"] = [Address(addr_spec=one) for one in addresses]
        mail["Subject"] = cut(one_line(sending.message.subject), _SUBJECT)
        mail["Date"] = self._clock.now()
        mail["Message-ID"] = f"<{sending.identity}@{domain}>"
        # No mail has this id: it is the incident's, and every mail of it answers to it.
        mail["In-Reply-To"] = thread
        mail["References"] = thread
        mail["Auto-Submitted"] = "auto-generated"
        mail["X-Auto-Response-Suppress"] = "All"
        if sending.severity_rank == _URGENT_RANK:
            mail["Importance"] = "high"
        mail.set_content(_text(sending))
        mail.add_alternative(_html(sending), subtype="html")
        return mail


def _text(sending: Sending) -> str:
    parts = [plain(sending.message.body)]
    if sending.link:
        parts.append(sending.link)
    if sending.answers:
        parts.append("\n".join(f"{answer.title}: {answer.url}" for answer in sending.answers))
    return "\n\n".join(parts)


def _html(sending: Sending) -> str:
    """The same as HTML: text from alerts is text, and only our own links are links."""
    lines = "<br>".join(escape(plain(sending.message.body)).splitlines())
    buttons = "".join(
        f'<a href="{escape(answer.url)}" style="{_BUTTON}">{escape(answer.title)}</a> '
        for answer in sending.answers
    )
    link = ""
    if sending.link:
        link = f'<p><a href="{escape(sending.link)}">{escape(sending.incident)}</a></p>'
    return (
        '<!doctype html><html><body style="font-family:sans-serif;line-height:1.5">'
        f'<h1 style="font-size:18px">{escape(one_line(sending.message.subject))}</h1>'
        f"<p>{lines}</p><p>{buttons}</p>{link}</body></html>"
    )


def _before(error: Exception) -> Outcome:
    match error:
        case aiosmtplib.SMTPAuthenticationError():
            return Refused("not_authenticated", f"{error.code}"[:MOST_DETAIL])
        case aiosmtplib.SMTPConnectError() | OSError() if isinstance(
            error.__cause__ or error, ssl.SSLError
        ):
            return Unwell("tls_failed", type(error).__name__)
        case aiosmtplib.SMTPResponseException() if error.code >= _PERMANENT:
            return Refused("refused", f"{error.code}: {error.message}"[:MOST_DETAIL])
    return Unwell("unreachable", type(error).__name__)


def _after(error: Exception) -> Outcome:
    match error:
        case aiosmtplib.SMTPRecipientsRefused():
            codes = [each.code for each in error.recipients]
            said = "; ".join(f"{each.code}: {each.message}" for each in error.recipients)
            if all(code >= _PERMANENT for code in codes):
                return Refused("recipient_refused", said[:MOST_DETAIL])
            return Unwell("recipient_deferred", said[:MOST_DETAIL])
        case aiosmtplib.SMTPResponseException() if error.code >= _PERMANENT:
            return Refused("refused", f"{error.code}: {error.message}"[:MOST_DETAIL])
        case aiosmtplib.SMTPResponseException():
            return Unwell("provider_error", f"{error.code}: {error.message}"[:MOST_DETAIL])
    return Unknown(f"no_answer_{type(error).__name__}")
