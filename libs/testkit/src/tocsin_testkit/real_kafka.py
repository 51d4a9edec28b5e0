"""The broker of a test run, as one test sees it: names of its own, and topics that go again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class RealKafka:
    """The broker of this test run.

    Attributes:
        bootstrap: `host:port` for clients.
        prefix: Different for each test; name topics and groups with it.
    """

    bootstrap: str
    prefix: str
    _created: list[str] = field(default_factory=list)

    def named(self, name: str) -> str:
        """A topic, group or client name that no other test uses."""
        return f"{self.prefix}.{name}"

    async def create(
        self, name: str, *, partitions: int = 1, configs: Mapping[str, str] | None = None
    ) -> str:
        """The full name of a new topic, `named(name)`, that is ready for use."""
        full = self.named(name)
        await self.create_exactly({full: partitions}, configs=configs)
        return full

    async def create_exactly(
        self, topics: Mapping[str, int], *, configs: Mapping[str, str] | None = None
    ) -> None:
        """Topics under just these names, with these partition counts."""
        wanted = [
            NewTopic(name, partitions, 1, topic_configs=dict(configs or {}))
            for name, partitions in topics.items()
        ]
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            answer = (await admin.create_topics(wanted)).to_object()
            refused = [topic for topic in answer["topic_errors"] if topic["error_code"]]
            assert not refused, refused
            self._created.extend(topics)
        finally:
            await admin.close()

    async def delete_created(self) -> None:
        """Remove what this test created, so that one broker bears the whole suite."""
        if not self._created:
            return
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.delete_topics(self._created)
        finally:
            await admin.close()
