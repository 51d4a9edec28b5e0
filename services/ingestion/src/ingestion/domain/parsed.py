"""What the door has read already, so that the stage behind need not read the same bytes again."""

from __future__ import annotations

from collections import OrderedDict

from ingestion.domain.delivery import Delivery, Received

MOST_KEPT = 512
MOST_BYTES = 32 * 1024 * 1024
"""Bodies held at most; the stage behind is seldom further behind than that, or elsewhere."""


class Parsed:
    """Deliveries by what was received, each handed out once.

    Reading is a function of the source and what was received, so whether it is done here or there
    changes nothing but the time it takes.
    """

    def __init__(self, most: int = MOST_KEPT, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, bytes, object], Delivery] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, source: str, received: Received, delivery: Delivery) -> None:
        """Keep a delivery, for as long as there is room; what was kept longest goes first."""
        key = _key(source, received)
        if key in self._kept or len(received.body) > self._most_bytes:
            return
        self._kept[key] = delivery
        self._bytes += len(received.body)
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            (_, body, _), _ = self._kept.popitem(last=False)
            self._bytes -= len(body)

    def take(self, source: str, received: Received) -> Delivery | None:
        """The delivery, if it was kept; it is kept no longer."""
        found = self._kept.pop(_key(source, received), None)
        if found is not None:
            self._bytes -= len(received.body)
        return found


def _key(source: str, received: Received) -> tuple[str, bytes, object]:
    rest = (received.received_at, received.path, tuple(sorted(received.headers.items())))
    return source, received.body, rest
