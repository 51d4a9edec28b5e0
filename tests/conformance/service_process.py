"""A service of nothing but its runtime; FOLLOWED and CONSUMED name its topics."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tocsin_runtime.lifecycle import Runtime, run_service
from tocsin_runtime.records import Record
from tocsin_runtime.settings import RuntimeSettings


class Settings(RuntimeSettings):
    followed: str
    consumed: str


class Fragile:
    """Says what it handles; the value `bug` is one. A `Handler`."""

    async def assigned(self, partitions: frozenset[int]) -> None: ...

    async def revoked(self, partitions: frozenset[int]) -> None: ...

    async def handle(self, batch: Sequence[Record]) -> None:
        for record in batch:
            if record.value == b"bug":
                raise ZeroDivisionError
            sys.stdout.write(f"handled {record.position.offset}\n")
            sys.stdout.flush()


async def wire(runtime: Runtime, settings: Settings) -> None:
    followed: list[Record] = []
    await runtime.follow(settings.followed, followed.append)
    sys.stdout.write(f"followed {len(followed)}\n")
    runtime.consume(Fragile(), (settings.consumed,))


if __name__ == "__main__":
    run_service("fragile", Settings(), wire)  # type: ignore[call-arg]  # from the environment
