"""Mail by SMTP.

The Message-ID is derived from the notification, so a retry after a lost answer is the same mail;
`References` keeps one incident one thread. 4xx answers are passing, 5xx are final (RFC 5321).
"""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP

import aiosmtplib

from notifier.domain.outcomes import Delivered, Outcome, Refused, Unknown, Unwell
from notifier.ports import Sending

_PERMANENT = 500


class EmailChannel:
    """Sends through one relay, to the address the policy has for the target."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        sender: str,
        start_tls: bool,
        username: str | None = None,
        password: str | None = None,
        timeout_seconds: float = 10.0,
    ) -> None:
        self._host = host
        self._port = port
        self._sender = sender
        self._start_tls = start_tls
        self._username = username
        self._password = password
        self._timeout = timeout_seconds

    async def send(self, sending: Sending) -> Outcome:
        """Delivered once the relay has taken the mail after its final dot."""
        address = sending.address
        if not address:
            return Refused("no_address", "the target has no e-mail address in the policy")
        message = self._mail(sending, address)
        try:
            await aiosmtplib.send(
                message,
                hostname=self._host,
                port=self._port,
                start_tls=self._start_tls,
                username=self._username,
                password=self._password,
                timeout=self._timeout,
            )
        except (aiosmtplib.SMTPConnectError, aiosmtplib.SMTPConnectTimeoutError) as error:
            return Unwell("unreachable", type(error).__name__)
        except aiosmtplib.SMTPRecipientsRefused as error:
            return Refused("recipient_refused", str(error)[:300])
        except aiosmtplib.SMTPResponseException as error:
            if error.code >= _PERMANENT:
                return Refused("refused", f"{error.code}: {error.message}"[:300])
            return Unwell("provider_error", f"{error.code}: {error.message}"[:300])
        except (TimeoutError, aiosmtplib.SMTPException, OSError) as error:
            return Unknown(f"no_answer_{type(error).__name__}")
        return Delivered(message["Message-ID"])

    def _mail(self, sending: Sending, address: str) -> EmailMessage:
        domain = self._sender.rpartition("@")[2]
        mail = EmailMessage(policy=SMTP)
        mail["From"] = self._sender
        mail["To"] = address
        mail["Subject"] = " ".join(sending.message.subject.split())
        mail["Message-ID"] = f"<{sending.notification}@{domain}>"
        mail["References"] = f"<{sending.incident}@{domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail["X-Auto-Response-Suppress"] = "All"
        mail.set_content(sending.message.body)
        return mail
