"""Everything else, by the URLs of Apprise.

Apprise makes blocking calls and says only yes or no, so anything but a yes leaves open whether it
arrived. It runs here on a few threads of its own, each for a limited time; a thread that hangs
longer is waited for no more, and holds its place until it ends.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType
from apprise.plugins import NotifyBase

from notifier.adapters.markup import cut, one_line, plain, repeated
from notifier.domain.outcomes import Delivered, Outcome, Unknown, Unwell
from notifier.ports import Sending
from tocsin_contracts.incidents import Purpose

THREADS = 10
"""Calls under way at once; with as many hanging, the next is told to come again."""

_BODY = 10_000
_SUBJECT = 250


class NoSuchService(ValueError):
    """The settings hold a URL that Apprise does not understand."""


class AppriseChannel:
    """Sends to one URL of Apprise, which comes from the settings and from nowhere else.

    Args:
        timeout: Longest one call may take.
        ca_file: PEM file of an authority to trust instead of the public ones.

    Raises:
        NoSuchService: Apprise does not know what the URL means.
    """

    def __init__(self, url: str, timeout: timedelta, ca_file: Path | None = None) -> None:
        self._timeout = timeout.total_seconds()
        asset = AppriseAsset(async_mode=False, http_redirects=False, service_timeout=self._timeout)
        self._service = Apprise(asset=asset)
        plugin = Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        if not isinstance(plugin, NotifyBase):
            raise NoSuchService("Apprise does not understand this URL")
        # Whatever the URL asks for: a redirect could lead a message, secret and all, elsewhere.
        plugin.redirects = False
        plugin.socket_connect_timeout = self._timeout
        plugin.socket_read_timeout = self._timeout
        if ca_file is not None:
            # `requests`, to which this goes as it is, takes a file where Apprise says yes or no.
            plugin.verify_certificate = str(ca_file)  # type: ignore[assignment]
        self._service.add(plugin)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="apprise")
        self._busy = 0

    async def send(self, sending: Sending) -> Outcome:
        """Delivered if Apprise says yes."""
        if self._busy >= THREADS:
            return Unwell("busy", "all threads wait for the service")
        subject = repeated(one_line(sending.message.subject), may_repeat=sending.may_repeat)
        body = cut(sending.message.body, _BODY, sending.link, escape=plain)
        self._busy += 1
        running = self._begin(cut(subject, _SUBJECT), body, _type(sending))
        running.add_done_callback(self._freed)
        try:
            async with asyncio.timeout(self._timeout):
                yes = await asyncio.shield(running)
        except TimeoutError:
            return Unknown("no_answer_TimeoutError")
        return Delivered() if yes else Unknown("apprise_said_no")

    async def close(self) -> None:
        """Let go of the threads; what hangs is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, title: str, body: str, notify_type: NotifyType) -> asyncio.Future[bool]:
        return asyncio.get_running_loop().run_in_executor(
            self._threads, self._notify, title, body, notify_type
        )

    def _notify(self, title: str, body: str, notify_type: NotifyType) -> bool:
        return bool(
            self._service.notify(
                body=body, title=title, notify_type=notify_type, body_format=NotifyFormat.TEXT
            )
        )

    def _freed(self, running: asyncio.Future[bool]) -> None:
        self._busy -= 1
        if not running.cancelled():
            running.exception()


def _type(sending: Sending) -> NotifyType:
    if sending.purpose is Purpose.RESOLVED:
        return NotifyType.SUCCESS
    return NotifyType.FAILURE if sending.purpose is Purpose.PAGE else NotifyType.INFO
