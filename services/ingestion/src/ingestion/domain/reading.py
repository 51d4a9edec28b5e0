"""Reading what strangers send: JSON, forms, times and labels, with a limit on each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from ingestion.domain.delivery import Malformed
from tocsin_contracts.event import Instant

M = TypeVar("M", bound=BaseModel)

MOST_ALERTS = 10_000
"""Alerts in one delivery at most."""

MOST_LABELS = 256
LONGEST_NAME = 1_024
LONGEST_VALUE = 16_384
MOST_FORM_FIELDS = 200

_ZONE_WITHOUT_COLON = re.compile(r"[+-]\d{4}$")
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_]")
_YEAR_ONE = datetime(1, 1, 2, tzinfo=UTC)


class Payload(BaseModel):
    """A part of what a source sends: unknown keys are ignored, known ones are strict."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


LabelName = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
LabelSet = Annotated[
    dict[LabelName, Annotated[str, Field(max_length=LONGEST_VALUE)]],
    Field(max_length=MOST_LABELS),
]


def _colon_in_zone(value: object) -> object:
    """`+0000`, as PagerDuty's and CloudWatch's examples have it, as `+00:00`."""
    # Nearly all have a Z or a colon there, and there are many: look at one character first.
    if isinstance(value, str) and value[-5:-4] in "+-" and _ZONE_WITHOUT_COLON.search(value):
        return f"{value[:-2]}:{value[-2:]}"
    return value


When = Annotated[Instant, Field(strict=False), BeforeValidator(_colon_in_zone)]
"""An instant with a zone."""


def present(value: datetime | None) -> datetime | None:
    """The instant, or nothing for Go's zero time."""
    return None if value is None or value < _YEAR_ONE else value


def read(model: type[M], body: bytes) -> M:
    """The body as this.

    Raises:
        Malformed: It is no JSON, or a field is wrong.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise malformed(error) from error


def read_value(model: type[M], value: object) -> M:
    """A value already read, as this. Raises as `read`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise malformed(error) from error


def read_json(body: bytes | str) -> object:
    """Whatever JSON it is, at most as deep as the parser goes (about 200 levels).

    Raises:
        Malformed: It is no JSON.
    """
    try:
        value: object = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Malformed("not_json", "", str(error)) from error
    return value


def read_form(body: bytes) -> dict[str, str]:
    """The fields of a form; of a repeated one the first.

    Raises:
        Malformed: There are too many.
    """
    try:
        pairs = parse_qsl(
            body.decode(errors="replace"),
            keep_blank_values=True,
            max_num_fields=MOST_FORM_FIELDS,
            errors="replace",
        )
    except ValueError as error:
        raise Malformed("not_a_form", "", str(error)) from error
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields.setdefault(name, value)
    return fields


def malformed(error: ValidationError) -> Malformed:
    """The first problem, naming its field."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "json_invalid":
        return Malformed("not_json", "", problem["msg"])
    if not where:
        return Malformed("not_an_object", "", problem["msg"])
    return Malformed("invalid_field", where, problem["msg"])


def labels_of(pairs: Mapping[str, object]) -> dict[str, str]:
    """Labels from what a source calls things: names made valid, values made short text.

    What is empty, a list or an object is left out, and so is what is beyond the limits: labels
    are identity, and a sender's habit must not make an alert unreadable.
    """
    labels: dict[str, str] = {}
    for name, value in pairs.items():
        shown = text(value)
        if shown and name and len(labels) < MOST_LABELS:
            labels[label_name(name)] = shown[:LONGEST_VALUE]
    return labels


def label_name(name: str) -> str:
    """The name as a Prometheus label name.

    >>> label_name("host.name"), label_name("5xx")
    ('host_name', '_5xx')
    """
    made = _NOT_IN_A_NAME.sub("_", name)[:LONGEST_NAME]
    return f"_{made}" if made[:1].isdigit() else made


def text(value: object) -> str:
    """A scalar as text; nothing for nothing, a list or an object."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return f"{value:.15g}" if isinstance(value, float) else _digits(value)
        case _:
            return ""


def _digits(value: int) -> str:
    return str(value) if value.bit_length() <= 1_024 else ""  # noqa: PLR2004 - longer is no id


def short(value: str, most: int) -> str:
    """At most so many characters, the last of which says that there were more."""
    return value if len(value) <= most else value[: most - 1] + "…"


def instant(seconds: float) -> datetime | None:
    """An instant from seconds since 1970, if there is such a one."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
