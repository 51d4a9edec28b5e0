"""Every kind of channel means the same by the same answer, or by none.

One suite, run on every adapter against a provider on the loopback that speaks its protocol and
fails in every way a provider fails. What a person sees is counted where people look.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from notifier.adapters.apprise import AppriseChannel
from notifier.adapters.calling import MOST_PATIENCE, Caller
from notifier.adapters.clients import http_client
from notifier.adapters.email import EmailChannel
from notifier.adapters.github import GitHubChannel
from notifier.adapters.guarded import Guarded
from notifier.adapters.jira import JiraChannel
from notifier.adapters.pagerduty import PagerDutyChannel
from notifier.adapters.slack import SlackChannel
from notifier.adapters.slack_app import SlackAppChannel
from notifier.adapters.statuspage import StatuspageChannel
from notifier.adapters.teams import TeamsChannel
from notifier.adapters.twilio import Account, SmsChannel, VoiceChannel
from notifier.adapters.webhook import WebhookChannel
from notifier.domain.doubt import InDoubt, in_doubt, tried_again
from notifier.domain.outcomes import Delivered, Refused, Unknown, Unwell
from notifier.domain.speaking import says
from notifier.ports import Channel, Sending
from tocsin_cli.receiver import SECRET
from tocsin_contracts.incidents import Purpose
from tocsin_policy.redacting import Redactor
from tocsin_runtime.clock import SystemClock
from tocsin_testkit.builders import a_message, a_sending, a_target
from tocsin_testkit.providers import (
    AppriseTarget,
    Fate,
    GitHub,
    Jira,
    MailServer,
    PagerDuty,
    Provider,
    Reply,
    Said,
    Slack,
    SlackWebhook,
    Statuspage,
    Teams,
    Twilio,
    WebhookTarget,
)

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
"""Apprise imports it."""

PATIENCE = timedelta(seconds=1.5)
"""With a provider that says nothing. Every test that meets one takes as long."""
CLOCK = SystemClock()
CANARY = "canary-7f3k2q9x"
"""Stands in the secret of every channel here."""
ROUTING_KEY = CANARY.ljust(32, "0")

Double = Provider | MailServer


@asynccontextmanager
async def calling(url: str, ca_file: Path | None) -> AsyncIterator[Caller]:
    async with http_client(PATIENCE.total_seconds(), [url], ca_file=ca_file) as client:
        yield Caller(client, PATIENCE)


@dataclass(frozen=True)
class Kind:
    """One kind of channel.

    Attributes:
        double: A provider nobody has spoken to yet.
        over: The adapter that calls a URL.
        purpose: What the suite sends by it.
        yes_but_no: Answers of success whose body says no, for good.
        yes_but_later: Answers of success whose body says to come again.
        mute: Its library says yes or no, and not why, so that every no is in doubt.
    """

    double: Callable[[], Double]
    over: Callable[[Caller, str], Channel]
    purpose: Purpose = Purpose.PAGE
    yes_but_no: tuple[Reply, ...] = ()
    yes_but_later: tuple[Reply, ...] = ()
    no: tuple[int, ...] = (301, 307, 400, 401, 403, 404, 410)
    trouble: tuple[int, ...] = (408, 500, 502, 503)
    mute: bool = False

    def means(self, outcome: type[Refused | Unwell]) -> type[Refused | Unwell | Unknown]:
        """What its adapter can make of an answer that means this."""
        return Unknown if self.mute else outcome

    @asynccontextmanager
    async def channel(self, url: str, ca_file: Path | None = None) -> AsyncIterator[Channel]:
        async with calling(url, ca_file) as calls:
            yield Guarded(self.over(calls, url), Redactor(secrets=[CANARY]))


class Long(Kind):
    """The long tail has a library of its own."""

    @asynccontextmanager
    async def channel(self, url: str, ca_file: Path | None = None) -> AsyncIterator[Channel]:
        where = f"{url.replace('http', 'json', 1)}/?redirect=yes&key={CANARY}"
        apprise = AppriseChannel(where, PATIENCE, ca_file)
        yield Guarded(apprise, Redactor(secrets=[CANARY]))
        await apprise.close()


class Mail(Kind):
    """Mail has no HTTP, and its own numbers."""

    @asynccontextmanager
    async def channel(self, url: str, ca_file: Path | None = None) -> AsyncIterator[Channel]:
        where = urlsplit(url)
        yield Guarded(
            EmailChannel(
                host=str(where.hostname),
                port=int(where.port or 0),
                sender="tocsin@example.com",
                clock=CLOCK,
                tls="none" if ca_file is None else "starttls",
                timeout=PATIENCE,
                ca_file=ca_file,
            ),
            Redactor(secrets=[CANARY]),
        )


ACCOUNT = "AC" + "0" * 32


def twilio(url: str) -> Account:
    return Account(url, ACCOUNT, ACCOUNT, CANARY, "+15005550006")


KINDS: dict[str, Kind] = {
    "slack": Kind(
        SlackWebhook,
        lambda calls, url: SlackChannel(calls, f"{url}/services/T/B/{CANARY}"),
        yes_but_no=(Reply(200, "no_text"), Reply.of(200, {"ok": False})),
    ),
    "slack-app": Kind(
        lambda: Slack(CANARY, "C0INCIDENTS"),
        lambda calls, url: SlackAppChannel(calls, f"{url}/api", CANARY, "C0INCIDENTS"),
        yes_but_no=(
            Reply.of(200, {"ok": False, "error": "channel_not_found"}),
            Reply.of(200, {"ok": False, "error": "invalid_auth"}),
            Reply(200, "<html>"),
        ),
        yes_but_later=(
            Reply.of(200, {"ok": False, "error": "ratelimited"}),
            Reply.of(200, {"ok": False, "error": "internal_error"}),
        ),
    ),
    "pagerduty": Kind(
        lambda: PagerDuty(ROUTING_KEY),
        lambda calls, url: PagerDutyChannel(calls, f"{url}/v2/enqueue", ROUTING_KEY, CLOCK),
        yes_but_no=(Reply.of(200, {"ok": False}), Reply.of(202, {"status": "invalid event"})),
    ),
    "webhook": Kind(
        lambda: WebhookTarget(SECRET, CLOCK),
        lambda calls, url: WebhookChannel(calls, url, SECRET, CLOCK),
    ),
    "statuspage": Kind(
        lambda: Statuspage("p4ge", CANARY, ("c0mp",)),
        lambda calls, url: StatuspageChannel(calls, f"{url}/v1", "p4ge", CANARY, {"api": "c0mp"}),
        purpose=Purpose.OPENED,
    ),
    "sms": Kind(
        lambda: Twilio(ACCOUNT, CANARY),
        lambda calls, url: SmsChannel(calls, twilio(url), answered=True),
        yes_but_no=(Reply.of(200, {"code": 20003, "message": "no", "status": 401}),),
    ),
    "voice": Kind(
        lambda: Twilio(ACCOUNT, CANARY),
        lambda calls, url: VoiceChannel(calls, twilio(url), "https://door.example.com/voice"),
        yes_but_no=(Reply.of(200, {"code": 20003, "message": "no", "status": 401}),),
    ),
    "github": Kind(
        lambda: GitHub("acme/shop", CANARY),
        lambda calls, url: GitHubChannel(calls, url, "acme/shop", CANARY, CLOCK, labels=["oops"]),
        purpose=Purpose.OPENED,
        # Too many is told by what else the answer says; GitHub answers 403 for a no, too.
        no=(301, 307, 400, 401, 403, 404, 410, 422),
    ),
    "jira": Kind(
        lambda: Jira("OPS", "t@example.com", CANARY),
        lambda calls, url: JiraChannel(calls, url, "t@example.com", CANARY, "OPS"),
        purpose=Purpose.OPENED,
    ),
    "teams": Kind(
        Teams,
        lambda calls, url: TeamsChannel(calls, f"{url}/workflows/1/?sig={CANARY}"),
        yes_but_no=(Reply(200, "Webhook message delivery failed"),),
        yes_but_later=(Reply(200, "delivery failed: endpoint returned HTTP error 429"),),
    ),
    "apprise": Long(
        AppriseTarget, lambda _calls, _url: pytest.fail("Apprise calls by itself"), mute=True
    ),
    "email": Mail(
        MailServer,
        lambda _calls, _url: pytest.fail("mail is not called over HTTP"),
        no=(550, 551, 552, 554),
        trouble=(421, 450, 451, 452),
    ),
}
HTTP = [name for name in KINDS if name != "email"]
TALKING = [name for name in HTTP if not KINDS[name].mute]
every_kind = pytest.mark.parametrize("kind", KINDS)
every_http = pytest.mark.parametrize("kind", HTTP)
every_that_says_why = pytest.mark.parametrize("kind", TALKING)


def sending(kind: str, **changed: Any) -> Sending:
    """The first attempt at a message by this kind of channel."""
    first = a_sending(
        notification="0b0b6b6a-5b0c-5d0a-8a3e-8c5c0a4b8d11",
        system="mpc-transformer",
        purpose=KINDS[kind].purpose,
        provider_key="a key",
        target=a_target() if KINDS[kind].purpose is Purpose.PAGE else None,
        address="alice@example.com",
        phone="+41 44 555 01 00",
        title="GlobalServiceUnavailable",
        link="https://tocsin.example.com/incidents/1",
    )
    return replace(first, **changed)


@asynccontextmanager
async def meeting(kind: str, *fates: Fate | Said) -> AsyncIterator[tuple[Double, Channel]]:
    """A provider with these fates ahead of it, and a channel to it."""
    double = KINDS[kind].double()
    async with double.serving() as url, KINDS[kind].channel(url) as channel:
        double.fates.extend(fates)
        yield double, channel


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """TLS of a server, and the authority that vouches for it."""
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    trusted = tmp_path_factory.mktemp("tls") / "ca.pem"
    ca.cert_pem.write_to_path(trusted)
    return context, trusted


@every_kind
async def test_a_providers_yes_is_delivered_once_and_whole(kind: str) -> None:
    async with meeting(kind) as (double, channel):
        assert isinstance(await channel.send(sending(kind)), Delivered)
        [shown] = double.shown
        assert "GlobalServiceUnavailable" in shown.text
        assert "It is down." in shown.text
        assert double.complaints == []


@every_kind
async def test_a_no_is_final_and_shows_nothing(kind: str) -> None:
    for status in KINDS[kind].no:
        elsewhere = {"Location": "http://127.0.0.1:1/elsewhere"}
        async with meeting(kind, Said(Reply(status, "", elsewhere))) as (double, channel):
            outcome = await channel.send(sending(kind))
            assert isinstance(outcome, KINDS[kind].means(Refused)), f"{status}: {outcome}"
            assert double.shown == []


@every_http
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(kind: str, status: int) -> None:
    async with meeting("webhook") as (elsewhere, _):
        assert isinstance(elsewhere, Provider)
        away = Said(Reply(status, "", {"Location": elsewhere.url}))
        async with meeting(kind, away) as (_, channel):
            assert not isinstance(await channel.send(sending(kind)), Delivered)
        assert elsewhere.requests == []


@every_that_says_why
async def test_too_many_waits_as_long_as_the_provider_says(kind: str) -> None:
    async with meeting(kind, Said(Reply(429, "", {"Retry-After": "7"}))) as (double, channel):
        outcome = await channel.send(sending(kind))
        assert isinstance(outcome, Unwell)
        assert outcome.retry_after == timedelta(seconds=7)
        assert double.shown == []


@every_that_says_why
async def test_no_provider_makes_a_page_wait_for_a_year(kind: str) -> None:
    async with meeting(kind, Said(Reply(429, "", {"Retry-After": "31536000"}))) as (_, channel):
        outcome = await channel.send(sending(kind))
        assert isinstance(outcome, Unwell)
        assert outcome.retry_after == MOST_PATIENCE


@every_kind
async def test_a_providers_own_trouble_passes(kind: str) -> None:
    wary = in_doubt(kind, KINDS[kind].purpose) is InDoubt.NEVER
    for status in KINDS[kind].trouble:
        async with meeting(kind, Said(Reply(status))) as (double, channel):
            outcome = await channel.send(sending(kind))
            assert isinstance(outcome, Unknown if wary else KINDS[kind].means(Unwell)), (
                f"{status}: {outcome}"
            )
            assert double.shown == []


@every_kind
@pytest.mark.parametrize("fate", [Fate.HANGS, Fate.CUT])
async def test_what_was_lost_on_the_way_is_unknown_and_then_shown_once(
    kind: str, fate: Fate
) -> None:
    async with meeting(kind, fate) as (double, channel):
        outcome = await channel.send(sending(kind))
        assert isinstance(outcome, Unknown), outcome
        assert double.shown == []
        if tried_again(in_doubt(kind, KINDS[kind].purpose), KINDS[kind].purpose):
            assert isinstance(await channel.send(sending(kind, attempt=2)), Delivered)
            assert len(double.shown) == 1


@every_kind
@pytest.mark.parametrize("fate", [Fate.TAKEN_AND_HANGS, Fate.TAKEN_AND_CUT, Fate.DRIPS])
async def test_what_was_taken_without_a_word_goes_as_the_channel_declares(
    kind: str, fate: Fate
) -> None:
    async with meeting(kind, fate) as (double, channel):
        outcome = await channel.send(sending(kind))
        assert isinstance(outcome, Unknown), outcome
        assert len(double.shown) == 1
        doubt = in_doubt(kind, KINDS[kind].purpose)
        if not tried_again(doubt, KINDS[kind].purpose):
            return
        assert isinstance(await channel.send(sending(kind, attempt=2)), Delivered)
        first, *repeats = double.shown
        assert "may be a repeat" not in first.text
        if doubt is InDoubt.AGAIN_MARKED:
            [repeat] = repeats
            assert "may be a repeat" in repeat.text
        else:
            assert repeats == []


@every_kind
async def test_an_answer_of_success_that_says_no_is_none(kind: str) -> None:
    for reply in KINDS[kind].yes_but_no:
        async with meeting(kind, Said(reply)) as (double, channel):
            assert isinstance(await channel.send(sending(kind)), Refused)
            assert double.shown == []
    for reply in KINDS[kind].yes_but_later:
        async with meeting(kind, Said(reply)) as (double, channel):
            assert isinstance(await channel.send(sending(kind)), Unwell)
            assert double.shown == []


WORDLESS = {"webhook", "apprise", "email"}
"""Where a status is all that is ever said."""


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WORDLESS])
@pytest.mark.parametrize(
    "reply", [Reply.of(200, {"ok": False}), Reply(200, "<html>"), Reply.of(200, [])]
)
async def test_a_success_in_words_that_are_not_the_providers_is_no_delivery(
    kind: str, reply: Reply
) -> None:
    async with meeting(kind, Said(reply)) as (double, channel):
        outcome = await channel.send(sending(kind))
        assert isinstance(outcome, Refused | Unknown), outcome
        assert double.shown == []


@every_kind
@pytest.mark.parametrize("fate", [Fate.TAKEN_AND_HANGS, Fate.TAKEN_AND_CUT, Fate.DRIPS])
async def test_a_remediation_notice_in_doubt_is_sent_once(kind: str, fate: Fate) -> None:
    if not says(kind, Purpose.APPROVAL):
        return
    asks = sending(kind, purpose=Purpose.APPROVAL, target=None)
    if kind in {"sms", "voice", "email"}:
        asks = replace(asks, target=a_target())
    async with meeting(kind, fate) as (double, channel):
        assert isinstance(await channel.send(asks), Unknown)
        doubt = in_doubt(kind, Purpose.APPROVAL)
        if tried_again(doubt, Purpose.APPROVAL):
            assert isinstance(await channel.send(replace(asks, attempt=2)), Delivered)
        assert isinstance(double, Provider) or len(double.mails) == 1
        assert len(double.shown) == 1


@every_kind
async def test_what_cannot_be_reached_got_nothing(kind: str) -> None:
    async with KINDS[kind].channel("http://127.0.0.1:1") as channel:
        outcome = await channel.send(sending(kind))
        assert isinstance(outcome, KINDS[kind].means(Unwell))
        assert outcome.reason == "unreachable" or KINDS[kind].mute


@every_kind
async def test_a_provider_whose_certificate_nobody_vouches_for_hears_nothing(
    kind: str, authority: tuple[ssl.SSLContext, Path], tmp_path: Path
) -> None:
    context, _ = authority
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    double = KINDS[kind].double()
    async with double.serving(context) as url, KINDS[kind].channel(url, stranger) as channel:
        outcome = await channel.send(sending(kind))
        assert isinstance(outcome, KINDS[kind].means(Unwell))
        assert outcome.reason == "tls_failed" or KINDS[kind].mute
        assert double.shown == []


@every_kind
async def test_a_provider_behind_a_private_authority_is_trusted_when_told_so(
    kind: str, authority: tuple[ssl.SSLContext, Path]
) -> None:
    context, trusted = authority
    double = KINDS[kind].double()
    async with double.serving(context) as url, KINDS[kind].channel(url, trusted) as channel:
        assert isinstance(await channel.send(sending(kind)), Delivered)
        assert len(double.shown) == 1


HOSTILE = a_message(
    "down <!channel> @everyone",
    "<https://e.example|click> [click](https://e.example) <img src=x> @acme/all fixes #12 "
    "</Say><Dial>1</Dial> *bold* \x1b[31m\u202etxt",
)
ACTIVE = {
    "slack": ("<!channel", "<https:"),
    "slack-app": ("<!channel", "<https:"),
    "github": ("@everyone", "@acme", "<img", "[click]", "#12"),
    "teams": ("[click]", "*bold*"),
}
"""What each kind would read as more than text."""


@every_kind
async def test_text_of_an_alert_is_only_text_wherever_it_is_shown(kind: str) -> None:
    async with meeting(kind) as (double, channel):
        assert isinstance(await channel.send(sending(kind, message=HOSTILE)), Delivered)
        [shown] = double.shown
        for active in (*ACTIVE.get(kind, ()), "\u202e", "\x1b"):
            assert not _stands_in_markup(kind, active, shown.text), active
        assert double.complaints == []


def _stands_in_markup(kind: str, active: str, text: str) -> bool:
    if kind in {"slack", "slack-app", "github"}:
        # No markup is read in Slack's header and in GitHub's title.
        text = "\n".join(line for line in text.splitlines() if not line.startswith("down <"))
    return active in text


@every_kind
async def test_a_long_message_is_cut_to_what_the_provider_takes(kind: str) -> None:
    long = a_message("<&> " * 120, "it burns & \u20ac <b>\n" * 1_000)
    async with meeting(kind) as (double, channel):
        assert isinstance(await channel.send(sending(kind, message=long)), Delivered)
        assert len(double.shown) == 1
        assert double.complaints == []


@every_kind
async def test_no_secret_leaves_by_a_message_or_comes_back_by_a_refusal(kind: str) -> None:
    told = a_message("down", f"login with password={CANARY} failed for {CANARY}")
    async with meeting(kind) as (double, channel):
        await channel.send(sending(kind, message=told))
        assert CANARY not in double.shown[0].text
    answer = Reply(KINDS[kind].no[-1], f"you sent {CANARY}")
    async with meeting(kind, Said(answer)) as (_, channel):
        outcome = await channel.send(sending(kind))
        assert CANARY not in repr(outcome)


@every_that_says_why
async def test_an_answer_without_end_is_read_to_a_limit(kind: str) -> None:
    endless = Said(Reply(400, "x" * 3_000_000))
    async with meeting(kind, endless) as (_, channel):
        outcome = await channel.send(sending(kind))
        assert isinstance(outcome, Refused)
        assert len(outcome.detail) < 400
