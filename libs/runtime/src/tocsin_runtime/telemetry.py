"""Traces and metrics: OpenTelemetry behind four small functions.

Instruments are made once, at import, by `counter`, `seconds` and `gauge`; they record nothing
until `start_telemetry`, so libraries and tests need no set-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Observation
from opentelemetry.sdk.metrics import Histogram as SdkHistogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import REGISTRY, generate_latest

from tocsin_runtime.records import Headers, Record

TRACEPARENT = "traceparent"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bucket bounds of every histogram of seconds."""

MAX_LINKS = 32
"""Traces a batch's span links to; the rest of a batch goes unlinked."""

_meter = metrics.get_meter("tocsin")
_tracer = trace.get_tracer("tocsin")
_propagator = TraceContextTextMapPropagator()


class Telemetry:
    """What was started, to be stopped at the end of the process."""

    def __init__(self, meters: MeterProvider, tracers: TracerProvider) -> None:
        self._meters = meters
        self._tracers = tracers

    def render(self) -> bytes:
        """Every metric in Prometheus' text format."""
        return generate_latest(REGISTRY)

    def stop(self) -> None:
        """Send what is still unsent."""
        self._tracers.shutdown()
        self._meters.shutdown()


def start_telemetry(service: str, *, otlp_endpoint: str | None = None) -> Telemetry:
    """Record from now on; once a process.

    Without an endpoint nothing leaves the process, and yet every trace has an id: it is in the
    records' headers and in the logs of all services, so that one alert can be followed.
    """
    resource = Resource.create({"service.name": service})
    readers: list[MetricReader] = [
        PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False)
    ]
    tracers = TracerProvider(resource=resource)
    if otlp_endpoint is not None:
        root = otlp_endpoint.rstrip("/")
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter(f"{root}/v1/metrics")))
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{root}/v1/traces")))
    trace.set_tracer_provider(tracers)
    buckets = View(
        instrument_type=SdkHistogram,
        instrument_unit="s",
        aggregation=ExplicitBucketHistogramAggregation(SECONDS),
    )
    meters = MeterProvider(readers, resource=resource, views=[buckets])
    metrics.set_meter_provider(meters)
    return Telemetry(meters, tracers)


def counter(name: str, description: str) -> Counter:
    """A count that only grows; `add(1, {"reason": …})`."""
    return _meter.create_counter(name, description=description)


def seconds(name: str, description: str) -> Histogram:
    """A distribution of durations; `record(0.12, {…})`, in seconds."""
    return _meter.create_histogram(name, unit="s", description=description)


def gauge(name: str, description: str, read: Callable[[], float]) -> None:
    """A value that is read when somebody looks."""

    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(read())

    _meter.create_observable_gauge(name, callbacks=[observe], description=description)


def gauges(
    name: str, description: str, read: Callable[[], Iterable[tuple[float, Mapping[str, str]]]]
) -> None:
    """Values told apart by labels, read when somebody looks."""

    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        for value, labels in read():
            yield Observation(value, dict(labels))

    _meter.create_observable_gauge(name, callbacks=[observe], description=description)


def traceparent() -> str | None:
    """The W3C trace context of the work going on, or `None` outside of any."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get(TRACEPARENT)


def inject(headers: Headers) -> Headers:
    """The headers with the trace context of the work going on, unless they carry one."""
    current = traceparent()
    if current is None or any(name == TRACEPARENT for name, _ in headers):
        return headers
    return (*headers, (TRACEPARENT, current.encode()))


@contextmanager
def working_on(name: str, records: Sequence[Record]) -> Iterator[None]:
    """A span around the handling of a batch.

    A batch of one continues the record's trace, which is the case at rest: webhook to page is
    one trace. A larger batch starts a trace of its own with links to its records'.
    """
    if len(records) == 1:
        context = _propagator.extract(_carrier(records[0]))
        with _tracer.start_as_current_span(name, context=context, kind=SpanKind.CONSUMER):
            yield
        return
    links = []
    for record in records[:MAX_LINKS]:
        span = trace.get_current_span(_propagator.extract(_carrier(record)))
        if span.get_span_context().is_valid:
            links.append(Link(span.get_span_context()))
    with _tracer.start_as_current_span(name, links=links, kind=SpanKind.CONSUMER):
        yield


@contextmanager
def span(name: str, parent: str | None = None) -> Iterator[None]:
    """A span around some work; `parent` is a `traceparent`, else the work going on."""
    context = None if parent is None else _propagator.extract({TRACEPARENT: parent})
    with _tracer.start_as_current_span(name, context=context):
        yield


def _carrier(record: Record) -> dict[str, str]:
    value = record.header(TRACEPARENT)
    return {} if value is None else {TRACEPARENT: value.decode("ascii", errors="replace")}
