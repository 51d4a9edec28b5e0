"""Mail, as a person's mail program gets it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
import trustme

from notifier.adapters.email import EmailChannel, Tls
from notifier.domain.answering import AnswerLinks
from notifier.domain.outcomes import Delivered, Refused, Unwell
from notifier.ports import Sending
from tocsin_contracts.incidents import Purpose
from tocsin_contracts.links import ACTIONS, BadLink, opened
from tocsin_incident.state import Notification, NotificationStatus
from tocsin_simulation.clock import EPOCH, ManualClock
from tocsin_testkit.builders import AN_INCIDENT_ID, a_message, a_sending
from tocsin_testkit.providers import MailServer

PAGE = a_sending(
    address="alice@example.com",
    message=a_message("Größe überschritten"),
)


@asynccontextmanager
async def channel_to(
    server: MailServer,
    *,
    tls: Tls = "none",
    context: ssl.SSLContext | None = None,
    ca_file: Path | None = None,
    password: str = "s3cret",  # noqa: S107 - of a server in this test
    to: tuple[str, ...] = (),
) -> AsyncIterator[EmailChannel]:
    async with server.serving(context, implicit=tls == "implicit") as url:
        where = urlsplit(url)
        yield EmailChannel(
            host=str(where.hostname),
            port=int(where.port or 0),
            sender="tocsin@example.com",
            clock=ManualClock(),
            tls=tls,
            to=to,
            username="tocsin" if tls != "none" else None,
            password=password if tls != "none" else None,
            timeout=timedelta(seconds=2),
            ca_file=ca_file,
        )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    trusted = tmp_path_factory.mktemp("tls") / "ca.pem"
    ca.cert_pem.write_to_path(trusted)
    return context, trusted


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_it_logs_in_through_tls(tls: Tls, authority: tuple[ssl.SSLContext, Path]) -> None:
    context, trusted = authority
    server = MailServer(login=("tocsin", "s3cret"))
    async with channel_to(server, tls=tls, context=context, ca_file=trusted) as channel:
        assert isinstance(await channel.send(PAGE), Delivered)
    assert server.mails[0]["To"] == "alice@example.com"
    # A socket that speaks TLS from the first byte is encrypted before SMTP knows of it.
    assert server.encrypted == [tls == "starttls"]


async def test_a_wrong_password_is_a_refusal(authority: tuple[ssl.SSLContext, Path]) -> None:
    context, trusted = authority
    server = MailServer(login=("tocsin", "s3cret"))
    async with channel_to(
        server, tls="starttls", context=context, ca_file=trusted, password="wrong"
    ) as channel:
        outcome = await channel.send(PAGE)
    assert isinstance(outcome, Refused)
    assert outcome.reason == "not_authenticated"
    assert server.mails == []


async def test_a_relay_without_tls_gets_neither_password_nor_mail() -> None:
    server = MailServer()
    async with channel_to(server, tls="starttls") as channel:
        assert isinstance(await channel.send(PAGE), Unwell)
    assert server.mails == []


async def test_mails_of_one_incident_are_one_thread_and_each_is_one_mail() -> None:
    server = MailServer()
    over = replace(PAGE, notification="n-2", purpose=Purpose.RESOLVED)
    async with channel_to(server) as channel:
        await channel.send(PAGE)
        await channel.send(over)
        await channel.send(replace(over, attempt=2))
    first, second, again = server.mails
    assert first["References"] == first["In-Reply-To"] == second["In-Reply-To"]
    assert first["Message-ID"] != second["Message-ID"] == again["Message-ID"]
    assert len(server.shown) == 2


async def test_no_machine_answers_it_and_its_subject_is_one_line() -> None:
    server = MailServer()
    told = a_message("down\r\nBcc: everyone@example.com", "line\n.\nQUIT\n")
    async with channel_to(server) as channel:
        await channel.send(replace(PAGE, message=told))
    [mail] = server.mails
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Subject"] == "down Bcc: everyone@example.com"
    assert mail["Bcc"] is None
    assert "QUIT" in part(mail, "plain")


def part(mail: EmailMessage, kind: Literal["plain", "html"]) -> str:
    found = mail.get_body((kind,))
    assert found is not None
    text: str = found.get_content()
    return text


LINK_KEY = "a key of tests, of thirty-two characters"


def answered_by(sending: Sending) -> Sending:
    """The page with the links that the notifier makes for it."""
    held = Notification(
        notification=sending.notification,
        purpose=sending.purpose,
        generation=1,
        target=sending.target,
        channel="email",
        kind="email",
        provider_key=sending.provider_key,
        message=sending.message,
        status=NotificationStatus.ATTEMPTED,
        requested_at=EPOCH,
    )
    links = AnswerLinks("https://door.example.com/", LINK_KEY, timedelta(hours=24))
    return replace(sending, answers=links(sending.incident, held))


async def test_a_page_can_be_answered_by_links_that_are_the_readers_own() -> None:
    server = MailServer()
    async with channel_to(server) as channel:
        await channel.send(answered_by(PAGE))
    [mail] = server.mails
    found = dict(
        line.split(": ", 1) for line in part(mail, "plain").splitlines() if "/v1/answers/" in line
    )
    assert set(found) == set(ACTIONS.values())
    for title, url in found.items():
        assert f'href="{url}"' in part(mail, "html")
        token = url.removeprefix("https://door.example.com/v1/answers/")
        link = opened(token, [LINK_KEY], EPOCH + timedelta(hours=23))
        assert (link.incident, link.contact) == (AN_INCIDENT_ID, "alice")
        assert ACTIONS[link.verb] == title
        with pytest.raises(BadLink):
            opened(token, [LINK_KEY], EPOCH + timedelta(hours=24))


async def test_a_page_that_is_tried_again_has_the_same_links_and_another_page_others() -> None:
    again = answered_by(replace(PAGE, attempt=2))
    assert again.answers == answered_by(PAGE).answers
    other = answered_by(replace(PAGE, notification="n-2"))
    assert not set(other.answers) & set(again.answers)


@pytest.mark.parametrize(
    "changes",
    [{"purpose": Purpose.RESOLVED}, {"target": None}, {"purpose": Purpose.REMINDER}],
)
def test_what_asks_nobody_for_an_answer_has_no_links(changes: dict[str, Any]) -> None:
    assert answered_by(replace(PAGE, **changes)).answers == ()


def test_a_link_shows_up_in_nothing_that_is_printed() -> None:
    assert "answers/" not in repr(answered_by(PAGE).answers)
    assert LINK_KEY not in repr(AnswerLinks("https://x", LINK_KEY, timedelta(hours=1)))


async def test_text_of_an_alert_is_text_in_the_html_of_a_mail_and_links_nowhere() -> None:
    server = MailServer()
    told = a_message(
        "down </h1><script>alert(1)</script>",
        '<a href="https://evil.example">click</a>\n<img src=x onerror=alert(1)> & "more"',
    )
    async with channel_to(server) as channel:
        await channel.send(replace(PAGE, message=told, link='https://t.example/"><b>'))
    [mail] = server.mails
    html = part(mail, "html")
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("href=") == 1 + html.count("&lt;a href=")
    assert "&lt;a href=&quot;https://evil.example&quot;&gt;" in html
    assert '"><b>' not in html


async def test_an_announcement_goes_to_the_addresses_of_the_settings() -> None:
    server = MailServer()
    announced = replace(PAGE, purpose=Purpose.OPENED, target=None, address=None)
    async with channel_to(server, to=("ops@example.com", "ceo@example.com")) as channel:
        assert isinstance(await channel.send(announced), Delivered)
        assert server.mails[0]["To"] == "ops@example.com, ceo@example.com"
        assert isinstance(await channel.send(replace(PAGE, address=None)), Refused)


async def test_an_address_that_is_none_is_refused_and_not_sent() -> None:
    server = MailServer()
    async with channel_to(server) as channel:
        outcome = await channel.send(replace(PAGE, address="a@b\r\nRCPT TO: <c@d>"))
    assert isinstance(outcome, Refused)
    assert server.mails == []
