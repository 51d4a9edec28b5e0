"""Pages arrive though notifiers are killed, Redis is gone, or a provider takes them and goes mute.

Real processes, real Kafka, a real Valkey; the providers are doubles that speak the protocols.
`SIGKILLS=25 make chaos` kills more often.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.console import Console

from notifier.domain.doubt import InDoubt, in_doubt
from tocsin_cli.stack import Stack
from tocsin_contracts import incidents
from tocsin_contracts.event import Event, Fact
from tocsin_policy import Policy
from tocsin_runtime.clock import SystemClock
from tocsin_simulation.system import published
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.killing import KINDS, RECORDS, double_of, purpose_of, settings_at
from tocsin_testkit.policies import a_policy
from tocsin_testkit.providers import Fate, MailServer, Provider
from tocsin_testkit.real_system import RealSystem

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]
ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 3
KILLS = int(os.environ.get("SIGKILLS", "3"))  # noqa: TID251 - the door to a long run
_MOMENT = timedelta(milliseconds=200)
_GLANCE = timedelta(milliseconds=2)
IN_A_ROUND = 4
"""Incidents while one notifier lives; no person gets so many messages that they are bundled."""


@dataclass
class World:
    """The system, and the doubles it calls."""

    stack: Stack
    system: RealSystem
    doubles: dict[str, Provider | MailServer]

    def seen(self, kind: str, title: str) -> list[str]:
        return [one.text for one in self.doubles[kind].shown if title in one.text]

    async def fire(self, system: str, titles: Sequence[str]) -> None:
        alerts = [an_alert(title, system=system, severity="critical") for title in titles]
        await self.system.push(a_webhook(*alerts))

    async def settled(self, titles: set[str], kinds: Sequence[str]) -> list[Event[Fact]]:
        """The facts, once every message of these incidents is delivered or left in doubt."""

        def enough(seen: list[Event[Fact]]) -> bool:
            return len(_ended(seen, titles)) == len(titles) * len(kinds)

        return await self.system.until("incidents", enough)

    def pid(self, service: str) -> int:
        (found,) = (one.said.pid for one in self.stack.status() if one.name == service)
        assert found is not None
        return found

    async def killed(self, service: str) -> None:
        """SIGKILL, and the supervisor's next one is ready."""
        before = self.pid(service)
        os.kill(before, signal.SIGKILL)
        async with asyncio.timeout(60):
            while True:
                await SystemClock().sleep(_MOMENT)
                (now,) = (one for one in self.stack.status() if one.name == service)
                if now.said.pid not in {before, None} and now.health == "ready":
                    return


def _ended(seen: list[Event[Fact]], titles: set[str]) -> set[tuple[str, str]]:
    """Incident and notification of what is delivered, or left in doubt for good."""
    ours = {
        event.subject
        for event in seen
        if isinstance(event.fact, incidents.Opened)
        and event.fact.title.removesuffix(" is firing") in titles
    }
    ended: set[tuple[str, str]] = set()
    for event in seen:
        match event.fact:
            case incidents.NotificationDelivered(notification=one):
                ended.add((event.subject, one))
            case incidents.NotificationInDoubt(notification=one, retry_at=None):
                ended.add((event.subject, one))
    return {(subject, one) for subject, one in ended if subject in ours}


def in_doubt_for_good(seen: list[Event[Fact]]) -> set[str]:
    return {
        event.fact.notification
        for event in seen
        if isinstance(event.fact, incidents.NotificationInDoubt) and event.fact.retry_at is None
    }


def policy_of(system: str, kinds: Sequence[str]) -> Policy:
    person = f"{system}-alice"
    paging = [kind for kind in kinds if kind not in RECORDS]
    told = [kind for kind in kinds if kind in RECORDS]
    return a_policy(
        system,
        contacts={
            person: {
                "name": "Alice",
                "role": "on-call engineer",
                "phone": "+41 44 555 01 00",
                "email": "alice@example.com",
                "slack": "U0ALICE",
                "channels": paging,
            }
        },
        schedules={},
        escalation={"critical": [{"number": 1, "after": "0m", "targets": [f"contact:{person}"]}]},
        channels={kind: {"kind": kind, "endpoint": kind} for kind in kinds},
        announcements={"critical": {"opened": told}} if told else {},
    )


@asynccontextmanager
async def a_world(kinds: Sequence[str], systems: Sequence[str], **env: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as held:
        doubles = {kind: double_of(kind, SystemClock()) for kind in kinds}
        channels = {}
        for kind, double in doubles.items():
            url = await held.enter_async_context(double.serving())
            channels[kind] = {**settings_at(kind, url), "per_second": 500}
        made = Stack(
            ROOT,
            partitions=PARTITIONS,
            ephemeral=True,
            env={"TOCSIN_CHANNELS": json.dumps(channels), **env},
        )
        await asyncio.to_thread(made.start, print)
        held.push_async_callback(asyncio.to_thread, made.stop)
        system = RealSystem(
            made.bootstrap, made.ingestion_url, made.webhook_token, made.api_token, PARTITIONS
        )
        for name in systems:
            await system.put_in_force(published(policy_of(name, kinds)))
        yield World(made, system, doubles)


@pytest.mark.timeout(1800)
async def test_a_notifier_killed_while_it_sends_loses_no_message_by_any_channel() -> None:
    draw = random.Random("sigkills")  # noqa: S311 - a seeded schedule
    systems = [f"shop{number:02d}" for number in range(KILLS)]
    titles: list[str] = []
    async with a_world(KINDS, systems) as world:
        for system in systems:
            fired = [f"{system}down{number:02d}" for number in range(IN_A_ROUND)]
            titles += fired
            before = sum(len(double.shown) for double in world.doubles.values())
            await world.fire(system, fired)
            # Somewhere between the first of these messages and the last.
            goal = before + draw.randrange(1, IN_A_ROUND * len(KINDS))
            async with asyncio.timeout(60):
                while sum(len(double.shown) for double in world.doubles.values()) < goal:
                    await SystemClock().sleep(_GLANCE)
            await world.killed("notifier")
        facts = await world.settled(set(titles), KINDS)
        doubtful = len(in_doubt_for_good(facts))
        wrong: list[str] = []
        for kind in KINDS:
            seen = [world.seen(kind, title) for title in titles]
            twice = [texts for texts in seen if len(texts) > 1]
            declared = in_doubt(kind, purpose_of(kind))
            unseen = sum(not texts for texts in seen)
            Console().print(f"{kind}: {len(titles)} messages, {unseen} unseen, {len(twice)} twice")
            if unseen and (declared is not InDoubt.NEVER or unseen > doubtful):
                wrong.append(f"{kind}: {unseen} lost")
            if twice and declared is not InDoubt.AGAIN_MARKED:
                wrong.append(f"{kind}: {len(twice)} seen twice")
            unmarked = [t for texts in twice for t in texts[1:] if "may be a repeat" not in t]
            if unmarked:
                wrong.append(f"{kind}: {len(unmarked)} repeats not marked")
        assert wrong == []
        assert {kind: double.complaints for kind, double in world.doubles.items()} == {
            kind: [] for kind in KINDS
        }


PAGING = ("pagerduty", "slack", "webhook", "sms", "email")


@pytest.mark.timeout(300)
async def test_pages_arrive_without_redis_and_by_a_provider_that_takes_them_and_is_mute() -> None:
    async with a_world(PAGING, ["shop"], TOCSIN_PROVIDER_TIMEOUT="1") as world:
        await world.fire("shop", ["calm"])
        await world.settled({"calm"}, PAGING)

        # Each provider takes the next page and never says so; the next attempt is answered.
        for double in world.doubles.values():
            double.fates.append(Fate.TAKEN_AND_HANGS)
        await world.fire("shop", ["mute"])
        await world.settled({"mute"}, PAGING)
        for kind in PAGING:
            texts = world.seen(kind, "mute")
            if in_doubt(kind, purpose_of(kind)) is InDoubt.AGAIN_MARKED:
                assert ["may be a repeat" in text for text in texts] == [False, True], kind
            else:
                assert len(texts) == 1, kind

        # Redis stops in the middle, for good: precision is gone, and nothing else.
        redis = Redis.from_url(world.stack.redis_url)
        await redis.shutdown(nosave=True, now=True, force=True)
        with pytest.raises(RedisError):
            await redis.ping()
        await redis.aclose()
        await world.fire("shop", ["without redis"])
        await world.settled({"without redis"}, PAGING)
        assert {kind: len(world.seen(kind, "without redis")) for kind in PAGING} == dict.fromkeys(
            PAGING, 1
        )

        # And both at once, with the notifier killed in the middle of it.
        for double in world.doubles.values():
            double.fates.append(Fate.TAKEN_AND_HANGS)
        await world.fire("shop", ["all at once"])
        await world.killed("notifier")
        await world.settled({"all at once"}, PAGING)
        assert all(world.seen(kind, "all at once") for kind in PAGING)
