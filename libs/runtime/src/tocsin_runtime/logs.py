"""Structured logs to stderr: one line of JSON an event, or colours for a person."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog
from opentelemetry import trace

_NOISY = (
    "aiokafka",
    "faust",
    "mode",
    "uvicorn",
    "opentelemetry",
    "httpx",
    "httpcore",
    "tocsin_runtime.adapters.faust_engine",  # mode's chatter, under the name of our subclasses
)
"""Libraries of which only warnings are of use to an operator."""

_INDISCREET = ("apprise", "urllib3")
"""Libraries that write whole requests and answers, addresses that are secrets among them.

What became of a call is told by whoever made it.
"""


def start_logs(
    service: str,
    *,
    log_format: Literal["auto", "json", "console"] = "auto",
    level: str = "info",
) -> None:
    """Send structlog's and every library's log records to stderr in one form.

    Args:
        service: Bound to every line.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    people = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_trace,
    ]
    # Neither shows what variables held: among them are the headers of calls, secrets and all.
    last: list[structlog.typing.Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                pad_event_to=28, exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if people
        else [
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(default=str),
        ]
    )
    structlog.configure(
        processors=[*before, *last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*before, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    for name in _INDISCREET:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _with_trace(
    _logger: object, _method: str, line: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        line["trace_id"] = f"{context.trace_id:032x}"
    return line
