"""CEL on what an alert says: checked when a policy is loaded, bounded when it runs.

Variables are `labels` and `annotations` (text by name) and `values` (numbers by name). The library
checks types when it compiles, and stops an expression that runs too long.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

from cel_expr_python import cel
from pydantic import AfterValidator, Field

_TEXTS = cel.Type.Map(cel.Type.STRING, cel.Type.STRING)
_ENVIRONMENT = cel.NewEnv(
    variables={
        "labels": _TEXTS,
        "annotations": _TEXTS,
        "values": cel.Type.Map(cel.Type.STRING, cel.Type.DOUBLE),
    }
)
_NUMBER = re.compile(r"\s*(-?\d{1,18}(?:\.\d{1,18})?(?:[eE][+-]?\d{1,3})?)\s*(%?)\s*", re.ASCII)
_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")


def check(text: str) -> str:
    """The expression, if it compiles and says yes or no. Raises `ValueError` with the column."""
    expression = _compiled(text)
    if expression.return_type() != cel.Type.BOOL:
        raise ValueError(f"{text!r} gives {expression.return_type()}, not true or false")
    return text


Expression = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(check)]
"""CEL that says yes or no of an alert."""


@lru_cache(maxsize=10_000)
def _compiled(text: str) -> Any:  # noqa: ANN401 - the library's type has no stub
    try:
        return _ENVIRONMENT.compile(text)
    except RuntimeError as error:
        found = _ERROR.search(str(error))
        if found is None:
            raise ValueError(f"{text!r} is no CEL: {error}") from error
        line, column, said = found.groups()
        place = f"column {column}" if line == "1" else f"line {line}, column {column}"
        raise ValueError(f"{text!r} is no CEL: {said} ({place} of the expression)") from error


def values_of(annotations: Mapping[str, str]) -> dict[str, float]:
    """The annotations that are numbers; `7 %` is 0.07.

    >>> values_of({"value": "0.07", "share": "7 %", "summary": "7 pods"})
    {'value': 0.07, 'share': 0.07}
    """
    found: dict[str, float] = {}
    for name, text in annotations.items():
        number = _NUMBER.fullmatch(text)
        if number is not None:
            value = float(number[1])
            found[name] = value / 100 if number[2] else value
    return found


def misses(
    text: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    values: Mapping[str, float],
) -> str | None:
    """Why the expression does not hold of an alert, or `None` if it does.

    One that asks for what the alert does not say, or that fails as it runs, does not hold.
    """
    said = _compiled(text).eval(
        data={"labels": dict(labels), "annotations": dict(annotations), "values": dict(values)}
    )
    if said.type() == cel.Type.BOOL:
        return None if said.value() else "it is false"
    return str(said.value()).partition(": ")[2][:200] or "it fails"
