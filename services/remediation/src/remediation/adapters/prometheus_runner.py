"""Prometheus steps: a query whose every sample must be as the playbook expects."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from remediation.adapters.http_exchange import Answer, Exchange, NotSent, Request, Unanswered
from remediation.adapters.outcomes import LOOK_EVERY, Timer, failed, fingerprint, no_undo, until
from remediation.domain.plan import Lost, Planned, Ran, evidence
from tocsin_policy import PrometheusCall
from tocsin_runtime.ports import Clock

MOST_SAMPLES = 100
"""Samples that are shown; all are judged."""

_OK = 200
_COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}


class _Sample(BaseModel):
    metric: dict[str, str] = Field(default_factory=dict)
    value: tuple[float, str]


class _Vector(BaseModel):
    resultType: Literal["vector"]  # noqa: N815 - Prometheus's name
    result: list[_Sample]


class _Scalar(BaseModel):
    resultType: Literal["scalar"]  # noqa: N815 - Prometheus's name
    result: tuple[float, str]


class _Answered(BaseModel):
    status: Literal["success"]
    data: Annotated[_Vector | _Scalar, Field(discriminator="resultType")]
    warnings: list[str] = Field(default_factory=list)


class _Refused(BaseModel):
    status: Literal["error"]
    error: str = ""


_ANSWER: TypeAdapter[_Answered | _Refused] = TypeAdapter(
    Annotated[_Answered | _Refused, Field(discriminator="status")]
)


class PrometheusRunner:
    """Asks `/api/v1/query`. A `Runner` that only ever looks.

    Where something is expected, no sample at all is not as expected: a metric that is gone proves
    nothing. NaN is as nobody expects.
    """

    def __init__(
        self, exchange: Exchange, clock: Clock, *, look_every: timedelta = LOOK_EVERY
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._look_every = look_every

    async def plan(self, call: PrometheusCall, timeout: timedelta) -> Planned | Ran:
        """What the query answers now."""
        seen = await self.run(call, timeout)
        if seen.reason in {"as_expected", "not_as_expected", "no_data"}:
            return Planned(state=seen.evidence.output, fingerprint=fingerprint(call.query))
        return seen

    async def run(self, call: PrometheusCall, timeout: timedelta) -> Ran:
        """Ask once."""
        timer = Timer(self._clock)
        # The server gives up before we do, so that it says why.
        left = max(1, int(timeout.total_seconds() * 900))
        asked = {"query": call.query, "timeout": f"{left}ms"}
        request = Request(
            "POST",
            "/api/v1/query",
            urlencode(asked).encode(),
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        answer = await self._exchange.send(call.endpoint, request, timeout)
        match answer:
            case NotSent(reason, detail):
                return failed(reason, detail, timer.took())
            case Unanswered(reason):
                return failed(reason, "no answer", timer.took())
            case Answer():
                return _judged(call, answer, timer.took())

    async def verify(self, call: PrometheusCall, timeout: timedelta) -> Ran | Lost:
        """Ask until every sample is as expected."""
        return await until(
            lambda left: self.run(call, left), timeout, self._clock, self._look_every
        )

    async def undo(
        self, call: PrometheusCall, changed: Mapping[str, str], timeout: timedelta
    ) -> Ran | Lost:
        """Nothing: a query changes nothing."""
        del call, changed, timeout
        return no_undo("a query changes nothing")


def _judged(call: PrometheusCall, answer: Answer, took: timedelta) -> Ran:
    def ran(reason: str, output: str, *, succeeded: bool = False) -> Ran:
        shown = evidence(output, took, http_status=answer.status)
        return Ran(succeeded=succeeded, reason=reason, evidence=shown)

    try:
        said = _ANSWER.validate_json(answer.body)
    except ValidationError:
        word = "unexpected_answer" if answer.status == _OK else "unexpected_status"
        return ran(word, answer.text)
    if isinstance(said, _Refused):
        return ran("query_refused", said.error)
    samples = _samples(said.data)
    shown = "\n".join(f"{_name(labels)} {value}" for labels, value in samples[:MOST_SAMPLES])
    if len(samples) > MOST_SAMPLES:
        shown += f"\n… and {len(samples) - MOST_SAMPLES} more"
    if call.expect is None:
        return ran("as_expected", shown or "no samples", succeeded=True)
    if not samples:
        return ran("no_data", "no samples")
    if all(holds(call.expect, float(value)) for _, value in samples):
        return ran("as_expected", shown, succeeded=True)
    return ran("not_as_expected", f"{shown}\nexpected: {call.expect}")


def holds(expect: str, value: float) -> bool:
    """Whether a value passes a comparison as in `< 0.01`; NaN passes none."""
    sign, _, number = expect.partition(" ")
    return not math.isnan(value) and _COMPARED[sign](value, float(number))


def _samples(data: _Vector | _Scalar) -> list[tuple[dict[str, str], str]]:
    if isinstance(data, _Scalar):
        return [({}, data.result[1])]
    return [(sample.metric, sample.value[1]) for sample in data.result]


def _name(labels: Mapping[str, Any]) -> str:
    pairs = ", ".join(f'{name}="{value}"' for name, value in labels.items() if name != "__name__")
    return f"{labels.get('__name__', '')}{{{pairs}}}"
