"""The silences there are, followed by every service that asks for them."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from tocsin_contracts.event import Event, Fact
from tocsin_policy import MatcherError, SilenceBook
from tocsin_runtime.events import decode
from tocsin_runtime.failures import Poison
from tocsin_runtime.records import Record

log = structlog.get_logger()


class Silences:
    """The book of silences, fed by a follower of the topic.

    Give `apply` to a `Follower` of the topic `silences`.
    """

    def __init__(self) -> None:
        self.book = SilenceBook()
        self._changed: Callable[[], None] | None = None

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called after each silence that comes, changes or ends early."""
        self._changed = changed

    def apply(self, record: Record) -> None:
        """Take in one record; one that holds no silence we can read changes nothing."""
        self.book.end = max(self.book.end, record.position.offset + 1)
        try:
            self.take(decode(record))
        except (Poison, MatcherError) as error:
            log.warning("silence.refused", position=record.position, detail=str(error))

    def take(self, event: Event[Fact]) -> None:
        """Take in one fact, read or just written."""
        self.book.apply(event)
        if self._changed is not None:
            self._changed()
