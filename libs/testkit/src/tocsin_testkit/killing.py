"""What becomes of one message whose sender is killed while it sends, by kind of channel.

    print(kill_while_sending("sms", 7))

The real notifier with the real adapter sends one message to a double that speaks the provider's
protocol, on a log in memory and virtual time. The same seed is lived through twice: once untouched,
which says how many steps the process takes from the level in the log to the delivery in the log;
once with the process killed before one of these steps, drawn anew for each seed. What had left it
by then arrives. After odd seeds the same process is started again, after even ones another takes
over.

`python -m tocsin_testkit.killing FILE COUNT` runs every kind so often and writes the table into a
Markdown file, between its two marks.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import random
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import structlog

from notifier.adapters.apprise import AppriseChannel
from notifier.adapters.calling import Caller
from notifier.adapters.email import EmailChannel
from notifier.adapters.guarded import Guarded
from notifier.adapters.local_gate import LocalGate
from notifier.domain.doubt import InDoubt, in_doubt
from notifier.handlers import Notifier
from notifier.ports import Channel
from notifier.settings import NotifierSettings
from notifier.wiring import channel_of, redactor_of
from tocsin_casebook import Casebook, Policies
from tocsin_contracts.ids import incident_id
from tocsin_contracts.incidents import (
    LevelReached,
    NotificationDelivered,
    Purpose,
)
from tocsin_incident.state import Notification, NotificationStatus
from tocsin_policy import Policy
from tocsin_runtime.events import outgoing
from tocsin_runtime.ports import Clock, Handler
from tocsin_runtime.records import Record
from tocsin_simulation.faults import Faults, Rates, SeededFaults
from tocsin_simulation.loop import Actor, simulate
from tocsin_simulation.memory_log import call
from tocsin_simulation.system import SERVICES, Instance, Runs, Service, System, published
from tocsin_testkit.builders import a_target, an_alert, an_event, an_opening
from tocsin_testkit.policies import a_policy
from tocsin_testkit.providers import (
    AppriseTarget,
    GitHub,
    Jira,
    MailServer,
    PagerDuty,
    Provider,
    Request,
    Slack,
    SlackWebhook,
    Statuspage,
    Teams,
    Twilio,
    WebhookTarget,
)
from tocsin_testkit.providers.direct import Direct
from tocsin_testkit.providers.serving import Shown

BEGIN = "<!-- killed while sending: begin -->"
END = "<!-- killed while sending: end -->"

_TOKEN = "t0ken-t0ken"  # noqa: S105 - the doubles' own, which opens nothing
_ROUTING_KEY = "0" * 32
_SIGNING = "whsec_" + base64.b64encode(b"a secret for this table alone...").decode()
_ACCOUNT = "AC" + "0" * 32
_TWILIO = {"account": _ACCOUNT, "token": _TOKEN, "sender": "+15005550006"}

_SETTINGS: Mapping[str, Mapping[str, object]] = {
    "slack": {"url": "https://hooks.slack.com/services/T/B/t0ken"},
    "slack-app": {"token": _TOKEN, "channel": "C0ALL"},
    "pagerduty": {"routing_key": _ROUTING_KEY},
    "webhook": {"url": "https://hook.example.com/", "secret": _SIGNING},
    "email": {"host": "mail.example.com", "sender": "tocsin@example.com", "start_tls": False},
    "statuspage": {"page": "p4ge", "token": _TOKEN},
    "sms": _TWILIO,
    "voice": _TWILIO,
    "github": {"repository": "acme/shop", "token": _TOKEN},
    "jira": {
        "url": "https://acme.atlassian.net",
        "user": "t@example.com",
        "token": _TOKEN,
        "project": "OPS",
    },
    "teams": {"url": "https://x.logic.azure.com/workflows/1?sig=t0ken"},
    "apprise": {"url": "json://apprise.example.com/"},
}

KINDS = tuple(_SETTINGS)
"""Every kind of channel."""

RECORDS = frozenset({"statuspage", "github", "jira"})
"""Kinds that are told that an incident opened, rather than paging a person."""

LATE = Rates(
    crash=0,
    pause=0,
    refused=0,
    unknown=0,
    provider_refused=0,
    provider_unknown=0,
    gap=0,
    rewind=0,
    step=0,
)
"""Every message takes its time, and nothing else goes wrong."""

_LEAD = timedelta(seconds=20)
_INCIDENT = incident_id("shop", "killed")


@dataclass(frozen=True, slots=True)
class Killed:
    """What became of one message whose sender was killed before one of its steps.

    Attributes:
        step: Before which it was killed, counted from the level in the log, of so many `steps`.
        shown: How often people see the message.
        marked: How often it says that it may be a repeat.
        status: What the log says of it in the end.
    """

    kind: str
    seed: int
    step: int
    steps: int
    shown: int
    marked: int
    status: NotificationStatus

    @property
    def lost(self) -> bool:
        """Nobody sees it, and the log does not say that it is in doubt."""
        return self.shown == 0 and self.status is not NotificationStatus.IN_DOUBT

    @property
    def left_in_doubt(self) -> bool:
        """The log says that nobody knows, and leaves it to a person to look."""
        return self.status is NotificationStatus.IN_DOUBT


def purpose_of(kind: str) -> Purpose:
    """What a kind of channel is killed over: a page, where it pages."""
    return Purpose.OPENED if kind in RECORDS else Purpose.PAGE


Over = Callable[[Channel], Channel]


def _as_it_is(channel: Channel) -> Channel:
    return channel


def kill_while_sending(kind: str, seed: int, over: Over = _as_it_is) -> Killed:
    """What becomes of a message by this kind of channel when this seed kills its sender.

    Args:
        over: Put around the channel, to see a planted bug found.
    """
    untouched = simulate(_live(kind, seed, None, over), seed=seed)
    draw = random.Random(f"kill {kind} {seed}")  # noqa: S311 - a seeded schedule
    step = draw.randrange(untouched.steps)
    doom = (untouched.sender, untouched.first + step)
    lived = simulate(_live(kind, seed, doom, over), seed=seed)
    return Killed(
        kind=kind,
        seed=seed,
        step=step,
        steps=untouched.steps,
        shown=len(lived.shown),
        marked=sum("may be a repeat" in one.text for one in lived.shown),
        status=lived.held.status,
    )


@dataclass(slots=True)
class _Lived:
    """One life of one message: who sent it, from which of its steps on, and how many it took."""

    sender: str
    first: int
    steps: int
    shown: list[Shown]
    held: Notification


async def _live(kind: str, seed: int, doom: tuple[str, int] | None, over: Over) -> _Lived:
    faults = SeededFaults(seed, LATE)
    lines = _Lines(kind, faults, over)
    system = System(
        policies=[published(_policy(kind))],
        faults=faults,
        instances=1 + (seed + 1) % 2,
        services=[lines.service()],
    )
    lines.open(system)
    began: dict[str, int] = {}
    ended: dict[str, int] = {}

    def steps() -> dict[str, int]:
        actors = [one.actor for one in system.instances.values() if one.actor is not None]
        return {actor.name: actor.steps for actor in actors}

    def appended(record: Record) -> None:
        if record.header("ce_type") == NotificationDelivered.TYPE.encode() and not ended:
            ended.update(steps())

    system.log.appended.append(appended)
    if doom is not None:
        name, step = doom

        def strike(actor: Actor) -> None:
            if actor.name == name and actor.steps == step:
                system.kill(actor)

        system.loop.interfere = strike
    await system.start()
    await system.sleep(_LEAD)
    began.update(steps())
    for fact in (
        an_opening(incident=_INCIDENT, severity="critical", alerts=[an_alert("Down")]),
        LevelReached(
            level=1,
            generation=1,
            severity="critical",
            due_at=system.clock.now(),
            targets=(a_target(channels=() if kind in RECORDS else (kind,)),),
        ),
    ):
        event = an_event(fact, incident=_INCIDENT, at=system.clock.now())
        system.log.append(outgoing(event))
    await system.settle()
    (state,) = system.incidents().values()
    (held,) = state.notifications.values()
    sender = held.attempted_by or ""
    first = began.get(sender, 0)
    return _Lived(sender, first, ended.get(sender, first) - first, lines.shown(), held)


def _policy(kind: str) -> Policy:
    alice = {
        "name": "Alice",
        "role": "on-call engineer",
        "phone": "+41 44 555 01 00",
        "email": "alice@example.com",
        "slack": "U0ALICE",
        "channels": [kind],
    }
    return a_policy(
        contacts={"alice": alice},
        escalation={"critical": [{"number": 1, "after": "0m", "targets": ["contact:alice"]}]},
        schedules={},
        channels={kind: {"kind": kind, "endpoint": kind}},
        announcements={"critical": {"opened": [kind]}} if kind in RECORDS else {},
    )


class _Lines:
    """One provider, and the notifiers that are led to it."""

    def __init__(self, kind: str, faults: Faults, over: Over) -> None:
        self._kind = kind
        self._over = over
        self._faults = faults
        self._settings = NotifierSettings.model_validate(
            {"channels": {kind: {"kind": kind, **_SETTINGS[kind]}}}
        )
        self._double: Provider | MailServer | None = None

    def open(self, system: System) -> None:
        """Make the provider, once there is a clock."""
        self._double = double_of(self._kind, system.clock)

    def shown(self) -> list[Shown]:
        """What people see by now."""
        assert self._double is not None
        return self._double.shown

    def service(self) -> Service:
        """The notifier, led to the provider; nothing else runs."""
        (one,) = (service for service in SERVICES if service.name == "notifier")
        return replace(one, build=self._notifier)

    def _notifier(
        self, system: System, instance: Instance, policies: Policies
    ) -> tuple[Handler, Runs]:
        instance.casebook = Casebook(system.log)
        guarded = Guarded(self._channel(system), redactor_of(self._settings))
        handler = Notifier(
            casebook=instance.casebook,
            policies=policies,
            publisher=system.publisher,
            clock=system.clock,
            channels={self._kind: self._over(guarded)},
            gate=LocalGate(system.clock),
            instance=instance.name,
        )
        policies.on_change(handler.reconciler.policy_changed)
        return handler, (handler.run,)

    def _channel(self, system: System) -> Channel:
        double = self._double
        if isinstance(double, MailServer):
            return _Mail(double, system, self._faults)
        assert double is not None
        if isinstance(double, AppriseTarget):
            return _Apprise(double, self._faults)
        client = httpx.AsyncClient(transport=Direct(double, self._faults))
        calls = Caller(client, timedelta(seconds=10))
        return channel_of(self._settings.channels[self._kind], calls, system.clock, self._settings)


def settings_at(kind: str, url: str) -> dict[str, object]:
    """The operator's settings of a channel of this kind that leads to `double_of` it at a URL."""
    where = urlsplit(url)
    at: Mapping[str, Mapping[str, object]] = {
        "slack": {"url": f"{url}/services/T/B/t0ken"},
        "slack-app": {"url": f"{url}/api"},
        "pagerduty": {"url": f"{url}/v2/enqueue"},
        "email": {"host": where.hostname, "port": where.port},
        "statuspage": {"url": f"{url}/v1"},
        "teams": {"url": f"{url}/workflows/1?sig=t0ken"},
        "apprise": {"url": f"json://{where.netloc}/"},
    }
    return {"kind": kind, **_SETTINGS[kind], **at.get(kind, {"url": url})}


def double_of(kind: str, clock: Clock) -> Provider | MailServer:
    """A provider of this kind that nobody has spoken to yet."""
    made: Mapping[str, Callable[[], Provider | MailServer]] = {
        "slack": SlackWebhook,
        "slack-app": lambda: Slack(_TOKEN, "C0ALL", users=("U0ALICE",), clock=clock),
        "pagerduty": lambda: PagerDuty(_ROUTING_KEY),
        "webhook": lambda: WebhookTarget(_SIGNING, clock),
        "email": MailServer,
        "statuspage": lambda: Statuspage("p4ge", _TOKEN, ()),
        "sms": lambda: Twilio(_ACCOUNT, _TOKEN),
        "voice": lambda: Twilio(_ACCOUNT, _TOKEN),
        "github": lambda: GitHub("acme/shop", _TOKEN),
        "jira": lambda: Jira("OPS", "t@example.com", _TOKEN),
        "teams": Teams,
        "apprise": AppriseTarget,
    }
    return made[kind]()


class _Mail(EmailChannel):
    """Mail without a socket: each step of SMTP travels as a request does."""

    def __init__(self, double: MailServer, system: System, faults: Faults) -> None:
        super().__init__(
            host="mail.example.com",
            port=25,
            sender="tocsin@example.com",
            clock=system.clock,
            tls="none",
        )
        self._double = double
        self._faults = faults

    def _connection(self) -> Any:  # noqa: ANN401 - as much of aiosmtplib.SMTP as is called
        return _Talk(self._double, self._faults)


class _Talk:
    def __init__(self, double: MailServer, faults: Faults) -> None:
        self._double = double
        self._faults = faults

    async def connect(self) -> None:
        await call(lambda: None, self._faults.deliver())

    async def send_message(self, mail: EmailMessage, **_envelope: object) -> None:
        for _ in ("MAIL", "RCPT", "DATA"):
            await call(lambda: None, self._faults.deliver())
        taken = partial(self._double.take, mail.as_bytes(), encrypted=False)
        await call(taken, self._faults.deliver())

    def close(self) -> None:
        """Nothing is open."""


class _Apprise(AppriseChannel):
    """Apprise's call without its thread and its socket."""

    def __init__(self, double: AppriseTarget, faults: Faults) -> None:
        super().__init__("json://apprise.example.com/", timedelta(seconds=10))
        self._double = double
        self._faults = faults

    def _begin(self, title: str, body: str, notify_type: object) -> asyncio.Future[bool]:
        said = {"version": "1.0", "title": title, "message": body, "type": str(notify_type)}
        content = httpx.Request("POST", "http://apprise.example.com/", json=said).content
        asked = Request("POST", "/", {}, {}, content)

        async def post() -> bool:
            reply = await call(partial(self._double.take, asked), self._faults.deliver())
            return reply.status < 300

        return asyncio.ensure_future(post())


_IN_WORDS: Mapping[InDoubt, str] = {
    InDoubt.SAME_KEY: "again under the same key",
    InDoubt.LOOK_FIRST: "looks, then sends",
    InDoubt.AGAIN_MARKED: "again, marked",
    InDoubt.NEVER: "never again",
}


@dataclass(frozen=True, slots=True)
class Tally:
    """So many kills of one kind of channel.

    Attributes:
        twice: Messages that people see more than once.
        unmarked: Repeats that do not say that they may be one.
        in_doubt: Messages that the log leaves in doubt.
        in_doubt_unseen: Those of them that nobody sees.
    """

    kind: str
    kills: int
    lost: int
    twice: int
    unmarked: int
    in_doubt: int
    in_doubt_unseen: int

    @classmethod
    def of(cls, kind: str, kills: Iterable[Killed]) -> Tally:
        """What became of all of them."""
        held = list(kills)
        doubtful = [one for one in held if one.left_in_doubt]
        return cls(
            kind=kind,
            kills=len(held),
            lost=sum(one.lost for one in held),
            twice=sum(one.shown > 1 for one in held),
            unmarked=sum(max(0, one.shown - 1 - one.marked) for one in held),
            in_doubt=len(doubtful),
            in_doubt_unseen=sum(one.shown == 0 for one in doubtful),
        )

    def wrong(self) -> str:
        """What of it is not as the kind declares; empty if all is."""
        declared = in_doubt(self.kind, purpose_of(self.kind))
        found = []
        if self.lost:
            found.append(f"{self.lost} lost")
        if self.twice and declared is not InDoubt.AGAIN_MARKED:
            found.append(f"{self.twice} seen twice")
        if self.unmarked:
            found.append(f"{self.unmarked} repeats not marked")
        if self.in_doubt and declared is not InDoubt.NEVER:
            found.append(f"{self.in_doubt} left in doubt")
        return ", ".join(found)

    def row(self) -> str:
        """Its row of the table."""
        declared = _IN_WORDS[in_doubt(self.kind, purpose_of(self.kind))]
        doubtful = f"{self.in_doubt}"
        if self.in_doubt:
            doubtful += f", {self.in_doubt - self.in_doubt_unseen} of them had arrived"
        cells = (
            f"`{self.kind}`",
            declared,
            str(self.kills),
            str(self.lost),
            str(self.twice),
            str(self.unmarked),
            doubtful,
        )
        return f"| {' | '.join(cells)} |"


def table(tallies: Iterable[Tally]) -> str:
    """The table, in Markdown."""
    head = (
        "| kind | in doubt | kills | lost | seen twice | of them unmarked | left in doubt |",
        "|---|---|---|---|---|---|---|",
    )
    return "\n".join((*head, *(tally.row() for tally in tallies)))


def written(page: str, tallies: Iterable[Tally]) -> str:
    """The page with the table between its marks.

    Raises:
        ValueError: It has no marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table(tallies)}\n{END}{after}"


def main() -> None:
    """Run every kind so often, and write the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    page, count = Path(sys.argv[1]), int(sys.argv[2])
    tallies = []
    for kind in KINDS:
        tally = Tally.of(kind, (kill_while_sending(kind, seed) for seed in range(1, count + 1)))
        tallies.append(tally)
        sys.stdout.write(f"{tally.row()} {tally.wrong() or 'as declared'}\n")
    page.write_text(written(page.read_text(encoding="utf-8"), tallies), encoding="utf-8")
    if any(tally.wrong() for tally in tallies):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
