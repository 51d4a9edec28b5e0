"""Summaries of many incidents, kept small: what is over is asked for once or twice more."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime

from tocsin_replay.shelving import Scratch, Shelf
from tocsin_replay.summing import Summary

_FAST = 1


class Kept(Mapping[str, Summary]):
    """Summaries by incident, each packed until somebody asks for it, many of them on disk.

    A summary of fifty alerts takes 60 kB as objects and below 2 kB packed. What is held of each is
    its name and when it opened. Another process takes them as they are.
    """

    def __init__(self, scratch: Scratch | None = None) -> None:
        self._packed = Shelf(scratch)
        self._opened: dict[str, datetime] = {}

    def put(self, one: Summary) -> None:
        """Add a summary, or put it in the place of an older one of its incident."""
        self._packed.put(one.incident, zlib.compress(one.model_dump_json().encode(), _FAST))
        self._opened[one.incident] = one.opened_at

    def settle(self) -> None:
        """There are no more: from now on they may be handed to another process."""
        self._packed.settle()

    def __getitem__(self, incident: str) -> Summary:
        packed = self._packed.get(incident)
        if packed is None:
            raise KeyError(incident)
        return Summary.model_validate_json(zlib.decompress(packed))

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened)

    def __len__(self) -> int:
        return len(self._opened)

    def __contains__(self, incident: object) -> bool:
        return incident in self._opened

    def same(self, incident: str, other: Kept) -> bool:
        """Whether another one says the very same of an incident; neither need be unpacked."""
        return self._packed.get(incident) == other._packed.get(incident)

    def opened_at(self, incident: str) -> datetime:
        """When an incident opened, without unpacking it."""
        return self._opened[incident]
