"""The real door and the stage behind it, on a log in memory: requests in, facts out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import uvicorn
from pydantic import SecretStr

from ingestion.adapters.alertmanager_api import AlertmanagerApi
from ingestion.adapters.answer_pages import AnswerPages
from ingestion.adapters.http import HttpDoor
from ingestion.adapters.lookups import OBSERVATIONS, LogLookups
from ingestion.domain.authentication import Key
from ingestion.domain.parsed import Parsed
from ingestion.domain.sources import Sources
from ingestion.handlers import RAW, RAW_URGENT, Door, Normaliser
from ingestion.ports import Amazon, Replies
from tocsin_casebook import InForce, Policies, Silences
from tocsin_contracts.alerts import Observation, Observed
from tocsin_contracts.event import Event, Fact
from tocsin_policy import Policy, policy_hash
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.events import decode
from tocsin_runtime.failures import Poison
from tocsin_runtime.ports import Clock
from tocsin_runtime.records import Record
from tocsin_simulation.clock import ManualClock
from tocsin_simulation.memory_log import MemoryLog, registered_topics
from tocsin_testkit.policies import a_policy

WEBHOOK_TOKEN = "for-alerts"  # noqa: S105 - of tests
API_TOKEN = "for-people"  # noqa: S105 - of tests
LINK_KEY = "a key of tests, of thirty-two characters"
PARTITIONS = 2


class MemoryTail:
    """A `Tail` of observations on a log in memory, from its beginning."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._seen = dict.fromkeys(OBSERVATIONS, 0)

    async def news(self) -> AsyncGenerator[Sequence[Record], None]:
        """See `Tail`."""
        for topic in OBSERVATIONS:
            records = sorted(self._log.records(topic), key=lambda record: record.recorded_at)
            new = records[self._seen[topic] :]
            self._seen[topic] = len(records)
            yield new


class DoorUnderTest:
    """A door whose clock stands still, and everything it writes.

    Args:
        keys: Secrets of sources, with the labels they bring.
        policies: In force; the default is `a_policy()`, which claims `system="shop"`.
        anonymous: Nobody needs a secret.
        real_time: Go by the machine's clock, for programs that do.
        log: Another door's, which stands for a second instance.

    Attributes:
        dead_letters: Records that the stage gave up, with why.
    """

    def __init__(
        self,
        *,
        keys: Mapping[str, Sequence[Key]] | None = None,
        policies: Iterable[Policy] | None = None,
        anonymous: bool = False,
        clock: ManualClock | None = None,
        real_time: bool = False,
        sources: Sources | None = None,
        amazon: Amazon | None = None,
        people: Mapping[str, str] | None = None,
        per_second: float = 1_000_000.0,
        max_body_bytes: int = 100_000,
        log: MemoryLog | None = None,
        link_keys: Sequence[str] = (LINK_KEY,),
        replies: Replies | None = None,
    ) -> None:
        self.clock = clock or ManualClock()
        time: Clock = SystemClock() if real_time else self.clock
        self.log = log or MemoryLog(time, registered_topics(PARTITIONS))
        self.dead_letters: list[tuple[Record, Poison]] = []
        self._handled = {topic: len(self.log.records(topic)) for topic in (RAW_URGENT, RAW)}
        known = Policies()
        for policy in policies if policies is not None else (a_policy(),):
            known.publish(InForce(policy, policy_hash(policy)))
        sources = sources or Sources()
        self.sources = sources
        self.lookups = LogLookups(self.log, time, MemoryTail(self.log))
        self.silences = Silences()
        api_token = None if anonymous else SecretStr(API_TOKEN)
        webhook_token = None if anonymous else SecretStr(WEBHOOK_TOKEN)
        parsed = Parsed()
        self._stage = Normaliser(publisher=self.log, policies=known, sources=sources, parsed=parsed)
        handler = Door(
            publisher=self.log,
            policies=known,
            clock=time,
            sources=sources,
            lookups=self.lookups,
            people=people,
            parsed=parsed,
        )
        self.door = HttpDoor(
            handler,
            time,
            replies=replies,
            pages=AnswerPages(handler, self.lookups, time, [SecretStr(key) for key in link_keys]),
            webhook_token=webhook_token,
            api_token=api_token,
            max_body_bytes=max_body_bytes,
            max_requests=10,
            read_timeout=timedelta(seconds=1),
            keys=keys,
            per_second=per_second,
            amazon=amazon,
            api=AlertmanagerApi(
                publisher=self.log,
                policies=known,
                lookups=self.lookups,
                silences=self.silences,
                clock=time,
                read_tokens=(webhook_token,),
                write_token=api_token,
            ),
        )

    async def send(
        self,
        method: str,
        path: str,
        content: bytes | str = b"",
        *,
        token: str | None = WEBHOOK_TOKEN,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The door's answer to a request; what it wrote is normalised before this returns."""
        given = {"Content-Type": "application/json"}
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        given.update(headers or {})
        transport = httpx.ASGITransport(self.door.application)
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            answer = await client.request(method, path, content=content, headers=given)
        await self.normalise()
        return answer

    async def normalise(self) -> None:
        """Have the stage handle what it has not handled yet, one record at a time."""
        for topic in self._handled:
            records = sorted(self.log.records(topic), key=lambda record: record.recorded_at)
            for record in records[self._handled[topic] :]:
                try:
                    await self._stage.handle([record])
                except Poison as error:
                    self.dead_letters.append((record, error))
            self._handled[topic] = len(records)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """`host:port` at which the door listens until the block ends; the stage runs behind it."""
        config = uvicorn.Config(
            self.door.application, host="127.0.0.1", port=0, log_config=None, lifespan="off"
        )
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            following = asyncio.create_task(self._follow())
            try:
                yield f"127.0.0.1:{listening.getsockname()[1]}"
            finally:
                server.should_exit = True
                await serving
                following.cancel()

    async def until(self, enough: Callable[[DoorUnderTest], bool], within: float = 60.0) -> None:
        """Return once this holds; it is asked whenever the log has grown.

        Raises:
            TimeoutError: It never held.
        """
        async with asyncio.timeout(within):
            while True:
                grown = self.log.arrival("alerts", "alerts.urgent", "incidents", "silences")
                if enough(self):
                    return
                await grown

    async def _follow(self) -> None:
        while True:
            grown = self.log.arrival(*self._handled)
            await self.normalise()
            await grown

    async def again(self) -> None:
        """Have the stage handle everything once more, as after a crash."""
        self._handled = dict.fromkeys(self._handled, 0)
        await self.normalise()

    def raw(self) -> list[Record]:
        """Records of both raw lanes."""
        return [*self.log.records(RAW_URGENT), *self.log.records(RAW)]

    def facts(self, topic: str) -> list[Event[Fact]]:
        """Facts of a topic, in the order in which they were written."""
        records = sorted(self.log.records(topic), key=lambda record: record.recorded_at)
        return [decode(record) for record in records]

    def observed(self) -> list[tuple[str, Observation]]:
        """Every observation with the system whose it is, urgent ones first."""
        return [
            (event.subject, seen)
            for topic in ("alerts.urgent", "alerts")
            for event in self.facts(topic)
            if isinstance(event.fact, Observed)
            for seen in event.fact.observations
        ]

    def written(self) -> int:
        """Records in all topics."""
        return sum(len(self.log.records(topic)) for topic in registered_topics(PARTITIONS))


def as_json(response: httpx.Response) -> Any:  # noqa: ANN401 - whatever JSON holds
    """The JSON body of an answer."""
    return response.json()
