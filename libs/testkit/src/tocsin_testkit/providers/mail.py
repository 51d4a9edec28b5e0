"""A mail server: aiosmtpd, with a mailbox behind it that shows a Message-ID once."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as email_policy
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from tocsin_testkit.providers.serving import Fate, Said, Shown

_DRIP = 0.02
_MOST_LINE = 998


class _Smtp(SMTP):
    """One connection, kept where the server can end it."""

    def __init__(
        self,
        server: MailServer,
        connections: list[asyncio.WriteTransport],
        **options: Any,  # noqa: ANN401 - aiosmtpd's own
    ) -> None:
        super().__init__(server, **options)
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._connections.append(transport)
        super().connection_made(transport)


class MailServer:
    """A relay and a mailbox.

    Attributes:
        fates: What becomes of the next mails, from the end of their data on.
        shown: What its reader sees: each Message-ID once, as mail programs show it.
        mails: The mails themselves.
        encrypted: Whether each came through TLS.
    """

    def __init__(self, *, login: tuple[str, str] | None = None) -> None:
        self.fates: deque[Fate | Said] = deque()
        self.shown: list[Shown] = []
        self.complaints: list[str] = []
        self.mails: list[EmailMessage] = []
        self.encrypted: list[bool] = []
        self.url = ""
        self._login = login

    @asynccontextmanager
    async def serving(
        self, tls: ssl.SSLContext | None = None, *, implicit: bool = False
    ) -> AsyncIterator[str]:
        """Listen until the block ends; `smtp://` and where.

        Args:
            tls: Offer STARTTLS with this and take no mail without it.
            implicit: Speak TLS from the first byte instead.
        """
        loop = asyncio.get_running_loop()
        transports: list[asyncio.WriteTransport] = []

        def protocol() -> _Smtp:
            return _Smtp(
                self,
                transports,
                hostname="mail.test",
                loop=loop,
                tls_context=None if implicit else tls,
                require_starttls=tls is not None and not implicit,
                authenticator=self._authenticate,
                # aiosmtpd knows nothing of TLS beneath it, and warns.
                auth_required=self._login is not None and not implicit,
                auth_require_tls=not implicit,
            )

        server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=tls if implicit else None)
        self.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self.url
        finally:
            server.close()
            for transport in transports:
                transport.abort()
            await server.wait_closed()

    def _authenticate(
        self, _server: SMTP, _session: object, _envelope: object, _mechanism: str, data: object
    ) -> AuthResult:
        given = data if isinstance(data, LoginPassword) else LoginPassword(b"", b"")
        right = self._login == (given.login.decode(), given.password.decode())
        return AuthResult(success=right, handled=False)

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: ANN401, N802 - aiosmtpd's name
        """Take a mail, or fail as told."""
        fate = self.fates.popleft() if self.fates else Fate.ANSWERED
        if isinstance(fate, Said):
            return f"{fate.reply.status} {fate.reply.body or 'told to fail'}"
        if fate not in {Fate.HANGS, Fate.CUT}:
            self.take(envelope.content, encrypted=session.ssl is not None)
        transport = server.transport
        assert isinstance(transport, asyncio.WriteTransport)
        match fate:
            case Fate.ANSWERED:
                return "250 OK"
            case Fate.CUT:
                transport.abort()
            case Fate.TAKEN_AND_CUT:
                transport.write(b"25")
                transport.close()
            case Fate.DRIPS:
                transport.write(b"250-")
                while not transport.is_closing():
                    transport.write(b".")
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_DRIP):
                            await asyncio.get_running_loop().create_future()
        # Until the connection is gone, which cancels this.
        await asyncio.get_running_loop().create_future()
        return "451 never said"

    def take(self, content: bytes, *, encrypted: bool) -> None:
        """Take a mail; its reader sees it unless its Message-ID was there before."""
        if any(len(line) > _MOST_LINE for line in content.splitlines()):
            self.complaints.append("a line is longer than 998")
        mail = message_from_bytes(content, policy=email_policy)
        assert isinstance(mail, EmailMessage)
        for header in ("From", "To", "Subject", "Message-ID", "Date"):
            if not mail[header]:
                self.complaints.append(f"no {header}")
        self.mails.append(mail)
        self.encrypted.append(encrypted)
        key = str(mail["Message-ID"])
        if all(shown.key != key for shown in self.shown):
            body = mail.get_body(("plain",))
            text = body.get_content() if body is not None else ""
            self.shown.append(Shown(f"{mail['Subject']}\n{text}", key))
