"""One module a source: bytes in, `Delivery` out.

A source is a function `parse(body: bytes) -> Delivery` that raises `Malformed` naming the field.
To add one, write the module, add it to `PARSERS`, and put a recorded example beside its test.
"""

from __future__ import annotations

from collections.abc import Callable

from ingestion.domain.delivery import Delivery, Malformed
from ingestion.domain.sources import alertmanager

PARSERS: dict[str, Callable[[bytes], Delivery]] = {"alertmanager": alertmanager.parse}


def parse(source: str, body: bytes) -> Delivery:
    """What the bytes of a source say.

    Raises:
        Malformed: They are not what the source sends, or there is no such source.
    """
    parser = PARSERS.get(source)
    if parser is None:
        known = ", ".join(sorted(PARSERS))
        raise Malformed("unknown_source", "source", f"no source {source[:50]!r}; known: {known}")
    return parser(body)
