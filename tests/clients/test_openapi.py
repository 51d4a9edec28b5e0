"""What the door says of itself is true: schemathesis asks it everything it says it answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from ingestion.adapters.documenting import routes_of
from ingestion.domain.sources import BUILT_IN
from tocsin_testkit.door import DoorUnderTest


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A door that listens and that anyone may use."""
    started = threading.Event()
    found: list[str] = []
    stop: list[Any] = []

    async def serve() -> None:
        door = DoorUnderTest(anonymous=True)
        over = asyncio.Event()
        async with door.served() as listening:
            found.append(listening)
            stop.extend((asyncio.get_running_loop(), over))
            started.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait()
    yield found[0]
    loop, over = stop
    loop.call_soon_threadsafe(over.set)
    thread.join()


VENDORS = {path for source in BUILT_IN if not source.keeps for _, path in routes_of(source)} | {
    "/api/v2/silences",
    "/api/v2/silence/{silence}",
    "/v1/answers/{token}",
}
"""Where a vendor's format is spoken and what breaks it refused: the document calls the body any
JSON and leaves the format to its vendor, so that to refuse some JSON is no contradiction. A link of
a mail is any text, and refused unless it was signed."""


def operations() -> list[tuple[str, str]]:
    described = DoorUnderTest(anonymous=True).door.application.openapi()
    return [(m, path) for path, methods in described["paths"].items() for m in methods]


@pytest.mark.parametrize(("method", "path"), operations())
def test_every_answer_is_one_that_is_documented(address: str, method: str, path: str) -> None:
    described = schemathesis.openapi.from_url(f"http://{address}/openapi.json")
    operation = described[path][method]

    @settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.one_of(
            [
                operation.as_strategy(generation_mode=mode)
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
            ]
        )
    )
    def check(case: Any) -> None:
        case.call_and_validate(
            excluded_checks=[positive_data_acceptance] if path in VENDORS else []
        )

    check()


async def test_every_route_of_every_source_is_described() -> None:
    door = DoorUnderTest()
    described = (await door.send("GET", "/openapi.json")).json()
    assert described["openapi"].startswith("3.1")
    paths = described["paths"]
    for source in BUILT_IN:
        for method, path in routes_of(source):
            assert paths[path][method.lower()]["tags"] == [source.name]
    ids = [each["operationId"] for path in paths.values() for each in path.values()]
    assert len(ids) == len(set(ids))
    jsonschema_rs.meta.validate(described)
