"""When a service says that it is ready."""

from __future__ import annotations

from tocsin_runtime.lifecycle import Runtime
from tocsin_runtime.settings import RuntimeSettings


async def test_a_service_that_is_not_put_together_yet_is_not_ready() -> None:
    runtime = Runtime("notifier", RuntimeSettings())
    assert runtime.unready() == {"service": "starting"}
    assert runtime.health() == {}
