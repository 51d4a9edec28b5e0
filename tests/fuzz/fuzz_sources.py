"""Coverage-guided fuzzing of every source's parser, by atheris (libFuzzer).

    make fuzz                   # after the hypothesis tests, a minute of this
    make fuzz FUZZ_SECONDS=3600

The first byte of an input chooses the source, the second a request of its example whose path and
headers it comes with; the rest is the body. Whatever comes, a source gives a delivery or says that
it is malformed: anything else ends the run, and libFuzzer leaves the input behind.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import atheris

with atheris.instrument_imports(include=["ingestion.domain"]):
    from ingestion.domain.context import Context, completed
    from ingestion.domain.delivery import Malformed, Received
    from ingestion.domain.sources import BUILT_IN

EXAMPLES = Path(__file__).resolve().parents[1] / "unit" / "ingestion" / "examples"
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def _requests(name: str) -> list[dict[str, Any]]:
    document = json.loads((EXAMPLES / f"{name}.json").read_text())
    return [exchange["request"] for exchange in document["exchanges"]]


REQUESTS = [_requests(source.name) for source in BUILT_IN]


def one_input(data: bytes) -> None:
    """Parse one input, and complete what it gave."""
    if len(data) < 2:
        return
    number = data[0] % len(BUILT_IN)
    request = REQUESTS[number][data[1] % len(REQUESTS[number])]
    headers = {name.lower(): value for name, value in request["headers"].items()}
    received = Received(data[2:], NOW, headers, request["path"])
    try:
        delivery = BUILT_IN[number].parse(received)
    except Malformed as error:
        if error.valid is None:
            return
        delivery = error.valid
    completed(delivery, Context(), NOW)


def main() -> None:
    """Fuzz, beginning with the examples."""
    with TemporaryDirectory(prefix="tocsin-fuzz-") as folder:
        for number, requests in enumerate(REQUESTS):
            for place, request in enumerate(requests):
                seed = bytes([number, place % 256]) + request["body"].encode()
                (Path(folder) / f"{number}-{place}").write_bytes(seed)
        atheris.Setup([*sys.argv, folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
