"""Golden examples: one record of every fact type, as it stands on the wire.

`python -m tocsin_testkit.examples` writes those that are missing under `libs/contracts/examples`
and the schemas that are not released yet under `libs/contracts/released`; it never changes one
that exists. Tests hold the code to them.
"""

from __future__ import annotations

import json
import sys
import types
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import AwareDatetime, BaseModel

from tocsin_contracts import codec
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.ids import derive, incident_id
from tocsin_contracts.registry import FACTS
from tocsin_contracts.schemas import fact_schema

AT = datetime(2026, 11, 21, 8, 30, 15, 123456, tzinfo=UTC)

_BY_NAME: dict[str, Any] = {
    "fingerprint": "95299025236b9f56",
    "hash": "0f" * 32,
    "level": 2,
    "generation": 2,
    "number": 1,
    "attempt": 1,
    "severity": "P0",
    "severity_from": "P1",
    "severity_to": "P0",
    "system": "mpc-transformer",
    "into": incident_id("mpc-transformer", "another"),
}


def example(kind: Any, name: str = "") -> Any:  # noqa: ANN401 - one return a kind of type
    """A value of a type, the same every time."""
    origin = get_origin(kind)
    if origin is Annotated:
        return example(get_args(kind)[0], name)
    if origin in {Union, types.UnionType}:
        return example(next(a for a in get_args(kind) if a is not type(None)), name)
    if origin is Literal:
        return get_args(kind)[0]
    if origin is tuple:
        parts = get_args(kind)
        if parts[-1] is Ellipsis:
            return (example(parts[0], name),)
        return tuple(example(part, name) for part in parts)
    if origin is dict:
        return {"alertname": "HighErrorRate"} if name in {"labels", "annotations"} else {}
    if name in _BY_NAME and not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return _BY_NAME[name]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields.items()
        return kind(**{field: example(_kind(info), field) for field, info in fields})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind))
    values: dict[Any, Any] = {
        str: name.replace("_", " ") or "text",
        int: 7,
        float: 1.5,
        bool: True,
        bytes: b"\x00bytes",
        UUID: derive("example", name),
        datetime: AT,
        AwareDatetime: AT,
        timedelta: timedelta(minutes=5),
        Any: "anything",
    }
    return values[kind]


def _kind(info: Any) -> Any:  # noqa: ANN401 - pydantic's FieldInfo
    return info.annotation


def example_event(fact: type[Fact]) -> Event[Fact]:
    """An event of this kind, the same every time."""
    subject = incident_id("mpc-transformer", "example")
    return Event(
        id=derive("example", fact.TYPE),
        source=f"tocsin/{fact.WRITER}",
        subject=subject,
        key="mpc-transformer",
        occurred_at=AT,
        fact=example(fact),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


def document(event: Event[Fact]) -> dict[str, Any]:
    """A record as JSON: key, headers in wire order, value."""
    wire = codec.encode(event)
    return {
        "topic": wire.topic,
        "key": wire.key.decode(),
        "headers": [[name, value.decode()] for name, value in wire.headers],
        "value": json.loads(wire.value),
    }


def write_missing(contracts: Path) -> list[Path]:
    """Write the examples and released schemas that are missing; those written."""
    written = []
    for fact in FACTS.values():
        files = {
            contracts / "examples" / fact.TOPIC / f"{fact.TYPE}.json": document(
                example_event(fact)
            ),
            contracts / "released" / f"{fact.TYPE}.json": fact_schema(fact),
        }
        for path, content in files.items():
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
            written.append(path)
    return written


if __name__ == "__main__":
    for new in write_missing(Path("libs/contracts")):
        sys.stdout.write(f"wrote {new}\n")
