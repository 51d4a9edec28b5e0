"""A consumer that says when its group last heard it, the same for both engines."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.group import JoinGroupRequest

from tocsin_runtime.tenure import Tenure


class GroupMember(AIOKafkaConsumer):
    """An aiokafka consumer that tells a `Tenure` of its heartbeats.

    aiokafka keeps when a heartbeat last succeeded in a local variable, so its sending is wrapped.
    `tests/chaos/test_a_process_that_was_paused.py` fails if a release moves it.

    Args:
        arguments: `AIOKafkaConsumer`'s.
    """

    def __init__(self, tenure: Tenure, **arguments: Any) -> None:  # noqa: ANN401 - aiokafka's
        super().__init__(**arguments)  # type: ignore[no-untyped-call]  # aiokafka's
        self._tenure = tenure

    async def start(self) -> None:
        """Connect, and listen to our own heart from then on."""
        await super().start()  # type: ignore[no-untyped-call]  # aiokafka's
        coordinator: Any = self._coordinator
        beat = coordinator._do_heartbeat  # noqa: SLF001 - see above

        async def beating() -> bool:
            asked_at = self._tenure.asking()
            heard: bool = await beat()
            if heard:
                self._tenure.heard(asked_at)
            elif coordinator.member_id == JoinGroupRequest.UNKNOWN_MEMBER_ID:
                # The group has gone on without us, whatever our clock says.
                self._tenure.lose()
            return heard

        coordinator._do_heartbeat = beating  # noqa: SLF001 - see above
