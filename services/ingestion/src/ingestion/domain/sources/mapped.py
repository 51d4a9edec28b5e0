"""Any JSON, mapped by CEL expressions of the settings.

Expressions are compiled and type-checked when the service starts. They see `body`, `headers`,
`item` (one of `alerts`) and `received_at`; what they cost is bounded by CEL's own budget. A label
or annotation that comes out as nothing, a list or an object is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from cel_expr_python import cel
from pydantic import BaseModel, ConfigDict, Field

from ingestion.domain.authentication import Token
from ingestion.domain.delivery import Delivery, Malformed, Received, Seen
from ingestion.domain.fingerprint import fingerprint
from ingestion.domain.reading import (
    LONGEST_VALUE,
    MOST_ALERTS,
    LabelName,
    Payload,
    When,
    labels_of,
    read_json,
    read_value,
    short,
    text,
)
from ingestion.domain.sources.source import MANY_ALERTS_BYTES, Documentation, Source
from tocsin_contracts.alerts import ObservationStatus

_Text = Annotated[str, Field(min_length=1, max_length=2_000)]


class AlertMapping(BaseModel):
    """How a JSON body becomes alerts; each value is a CEL expression.

    Attributes:
        alerts: A list, each of which is `item`; the default is the body itself.
        firing: Whether `item` fires.
        labels: Of the alert; `alertname` is needed.
        annotations: For people.
        starts_at: When it began, a timestamp or RFC 3339; may be absent.
        ends_at: When it ended, likewise.
        key: What names the alert; without it its labels do.
        url: Where it can be looked at.
        parameter: Query parameter that may hold the token, for senders that only take a URL.
        headers: Request headers that expressions may use; they are kept with the bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    alerts: _Text = "[body]"
    firing: _Text = "true"
    labels: Annotated[dict[LabelName, _Text], Field(min_length=1, max_length=100)]
    annotations: Annotated[dict[LabelName, _Text], Field(max_length=100)] = Field(
        default_factory=dict
    )
    starts_at: _Text | None = None
    ends_at: _Text | None = None
    key: _Text | None = None
    url: _Text | None = None
    parameter: str | None = None
    headers: tuple[str, ...] = ()


class MappingRefused(ValueError):
    """An expression does not compile, or gives another type than is needed."""


class _Times(Payload):
    starts_at: When | None = None
    ends_at: When | None = None


_ENVIRONMENT = cel.NewEnv(
    variables={
        "body": cel.Type.DYN,
        "item": cel.Type.DYN,
        "headers": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
        "received_at": cel.Type.TIMESTAMP,
    }
)

Evaluate = Callable[[Mapping[str, Any]], Any]


def _compiled(where: str, expression: str, *wanted: str) -> Evaluate:
    """The expression as a function.

    Raises:
        MappingRefused: It does not compile, or gives none of the types that are wanted.
    """
    try:
        program = _ENVIRONMENT.compile(expression)
    except RuntimeError as error:
        raise MappingRefused(f"{where}: {error}") from error
    given = program.return_type().name()
    if wanted and given != "DYN" and not given.startswith(wanted):
        raise MappingRefused(f"{where}: gives {given}, not {' or '.join(wanted)}")

    def evaluate(data: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever CEL gives
        try:
            value = program.eval(data=data)
        except (RuntimeError, TypeError, ValueError, OverflowError) as error:
            raise Malformed("not_mapped", where, short(str(error), 300)) from error
        if value.type().name() == "ERROR":
            raise Malformed("not_mapped", where, short(str(value.plain_value()), 300))
        return value.plain_value()

    return evaluate


@dataclass(frozen=True, slots=True)
class _Mapped:
    alerts: Evaluate
    firing: Evaluate
    labels: Mapping[str, Evaluate]
    annotations: Mapping[str, Evaluate]
    times: Mapping[str, Evaluate]
    key: Evaluate | None
    url: Evaluate | None
    headers: tuple[str, ...]

    def parse(self, received: Received) -> Delivery:
        data = {
            "body": read_json(received.body),
            "item": None,
            "headers": {name: received.header(name) for name in self.headers},
            "received_at": received.received_at,
        }
        items = self.alerts(data)
        if not isinstance(items, list) or len(items) > MOST_ALERTS:
            raise Malformed("not_mapped", "alerts", f"no list of at most {MOST_ALERTS}")
        return Delivery(alerts=tuple(self._seen(data | {"item": item}, received) for item in items))

    def _seen(self, data: Mapping[str, Any], received: Received) -> Seen:
        labels = labels_of({name: evaluate(data) for name, evaluate in self.labels.items()})
        if "alertname" not in labels:
            raise Malformed("not_mapped", "labels.alertname", "comes out as nothing")
        times = read_value(
            _Times, {n: _moment(evaluate(data)) for n, evaluate in self.times.items()}
        )
        firing = self.firing(data)
        if not isinstance(firing, bool):
            raise Malformed("not_mapped", "firing", "neither true nor false")
        key = "" if self.key is None else text(self.key(data))
        annotations = labels_of({n: evaluate(data) for n, evaluate in self.annotations.items()})
        return Seen(
            status=ObservationStatus.FIRING if firing else ObservationStatus.RESOLVED,
            fingerprint=fingerprint({"key": key} if key else labels),
            starts_at=times.starts_at,
            ends_at=times.ends_at or (None if firing else received.received_at),
            labels=labels,
            annotations=annotations,
            generator_url="" if self.url is None else text(self.url(data))[:LONGEST_VALUE],
            keyed=bool(key),
        )


def _moment(value: object) -> object:
    """CEL's timestamps are in UTC, with or without saying so."""
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return text(value) or None


def mapped_source(name: str, mapping: AlertMapping) -> Source:
    """The source of a mapping.

    Raises:
        MappingRefused: An expression in it is wrong.
    """
    if "alertname" not in mapping.labels:
        raise MappingRefused(f"{name}: labels.alertname is needed")
    times = {"starts_at": mapping.starts_at, "ends_at": mapping.ends_at}
    made = _Mapped(
        alerts=_compiled(f"{name}: alerts", mapping.alerts, "LIST"),
        firing=_compiled(f"{name}: firing", mapping.firing, "BOOL"),
        labels={n: _compiled(f"{name}: labels.{n}", e) for n, e in mapping.labels.items()},
        annotations={
            n: _compiled(f"{name}: annotations.{n}", e) for n, e in mapping.annotations.items()
        },
        times={
            n: _compiled(f"{name}: {n}", e, "TIMESTAMP", "STRING", "NULL")
            for n, e in times.items()
            if e is not None
        },
        key=_optional(f"{name}: key", mapping.key),
        url=_optional(f"{name}: url", mapping.url),
        headers=tuple(header.lower() for header in mapping.headers),
    )
    return Source(
        name=name,
        parse=made.parse,
        most_bytes=MANY_ALERTS_BYTES,
        scheme=Token(parameter=mapping.parameter),
        headers=made.headers,
        documentation=Documentation("JSON, mapped by expressions of the settings"),
    )


def _optional(where: str, expression: str | None) -> Evaluate | None:
    return None if expression is None else _compiled(where, expression)
