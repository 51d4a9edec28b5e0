"""The running system as its surroundings see it: a door, and a log to read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tocsin_cli.receiver import Receiver, channel_settings
from tocsin_cli.stack import Stack
from tocsin_contracts import codec
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.ids import derive
from tocsin_contracts.policies import PolicyPublished
from tocsin_runtime.clock import SystemClock

_TRIES = 150
_BETWEEN_TRIES = timedelta(milliseconds=200)

Enough = Callable[[list[Event[Fact]]], bool]


@dataclass(frozen=True, slots=True)
class RealSystem:
    """A system of real processes.

    Attributes:
        bootstrap: Kafka.
        ingestion_url: The door.
        webhook_token: For senders of alerts.
        api_token: For people's tools.
        partitions: Of every keyed topic.
        patience: How long `until` waits.
    """

    bootstrap: str
    ingestion_url: str
    webhook_token: str
    api_token: str
    partitions: int
    patience: timedelta = timedelta(seconds=90)

    async def put_in_force(self, fact: PolicyPublished) -> None:
        """Publish a policy."""
        event: Event[Fact] = Event(
            id=derive(fact.TYPE, fact.system, fact.hash),
            source="tocsin/test",
            subject=fact.system,
            key=fact.system,
            occurred_at=SystemClock().now(),
            fact=fact,
        )
        wire = codec.encode(event)
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all") as producer:
            await producer.send_and_wait(
                wire.topic, wire.value, key=wire.key, headers=list(wire.headers)
            )

    async def push(self, webhook: bytes) -> int:
        """Post an Alertmanager webhook until it is taken; how many attempts that took.

        As Alertmanager does, it tries again after a broken connection and after a 5xx.

        Raises:
            AssertionError: It was refused, or not taken for half a minute.
        """
        return await self._post("/v1/webhooks/alertmanager", self.webhook_token, webhook)

    async def answer(self, incident: str, verb: str, body: bytes) -> None:
        """Post a person's answer, until it is taken."""
        await self._post(f"/v1/incidents/{incident}/{verb}", self.api_token, body)

    async def until(self, topic: str, enough: Enough) -> list[Event[Fact]]:
        """Every event of a topic from its beginning, once there are enough of them.

        Raises:
            AssertionError: There were not enough in time; it shows how many of each there were.
        """
        seen: list[Event[Fact]] = []
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        consumer.assign([TopicPartition(topic, number) for number in range(self.partitions)])
        try:
            async with asyncio.timeout(self.patience.total_seconds()):
                while not enough(seen):
                    records = await consumer.getmany(timeout_ms=1000)
                    seen += [
                        codec.decode(record.headers, record.value, record.key)
                        for batch in records.values()
                        for record in batch
                    ]
        except TimeoutError:
            raise AssertionError(f"not in {topic} in time; there are {_counted(seen)}") from None
        finally:
            await consumer.stop()
        return seen

    async def _post(self, path: str, token: str, body: bytes) -> int:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        async with httpx.AsyncClient(base_url=self.ingestion_url, timeout=10) as client:
            for attempt in range(1, _TRIES + 1):
                try:
                    answer = await client.post(path, content=body, headers=headers)
                except httpx.TransportError:
                    pass  # the door is being started again
                else:
                    if answer.is_success:
                        return attempt
                    assert answer.is_server_error, answer.text
                await SystemClock().sleep(_BETWEEN_TRIES)
        raise AssertionError(f"{path} was not taken in {_TRIES} attempts")


def _counted(seen: list[Event[Fact]]) -> Mapping[str, int]:
    kinds = [event.type for event in seen]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


@contextmanager
def acting_stack(root: Path, receiver: Receiver, *, partitions: int) -> Iterator[Stack]:
    """A whole system of its own; its pages and its steps of endpoint `ops` meet the receiver."""
    channels = {kind: channel_settings(receiver, kind, kind) for kind in ("slack", "pagerduty")}
    stack = Stack(
        root,
        partitions=partitions,
        ephemeral=True,
        env={
            "TOCSIN_CHANNELS": json.dumps(channels),
            "TOCSIN_ENDPOINTS": json.dumps({"ops": f"{receiver.url}/steps/ops"}),
        },
    )
    stack.start(print)
    try:
        yield stack
    finally:
        stack.stop()
