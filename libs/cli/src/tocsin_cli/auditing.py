"""What a periodic audit shows: metrics, and the rules by which Prometheus watches them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tocsin_replay.auditing import Audited, FindingKind

FINDINGS = "tocsin_audit_findings"
IN_FLIGHT = "tocsin_audit_in_flight"
FINISHED = "tocsin_audit_finished_timestamp_seconds"
FAILED = "tocsin_audit_failures_total"


class Auditor:
    """Holds the newest audit for whoever asks for metrics."""

    def __init__(self) -> None:
        self._audited: Audited | None = None
        self._finished_at: datetime | None = None
        self._failures = 0

    def passed(self, audited: Audited, at: datetime) -> None:
        """Take in a finished audit."""
        self._audited, self._finished_at = audited, at

    def failed(self) -> None:
        """Take in that one could not be made."""
        self._failures += 1

    def metrics(self) -> str:
        """The newest audit in Prometheus' text format.

        Findings of every kind are there, so that none is a new series when it is first found.
        Before the first audit has finished there are none: silence must not look like health.
        """
        lines = [
            f"# HELP {FAILED} Audits that could not read the log.",
            f"# TYPE {FAILED} counter",
            f"{FAILED} {self._failures}",
        ]
        if self._audited is not None and self._finished_at is not None:
            lines += [
                f"# HELP {FINDINGS} What the newest audit found, by kind.",
                f"# TYPE {FINDINGS} gauge",
                *(
                    f'{FINDINGS}{{kind="{kind}"}} {self._audited.found.get(kind, 0)}'
                    for kind in FindingKind
                ),
                f"# HELP {IN_FLIGHT} What the newest audit saw on its way.",
                f"# TYPE {IN_FLIGHT} gauge",
                f"{IN_FLIGHT} {self._audited.on_their_way}",
                f"# HELP {FINISHED} When the newest audit finished.",
                f"# TYPE {FINISHED} gauge",
                f"{FINISHED} {self._finished_at.timestamp():.3f}",
            ]
        return "\n".join(lines) + "\n"

    @asynccontextmanager
    async def serving(self, port: int, host: str = "0.0.0.0") -> AsyncIterator[asyncio.Event]:
        """Serve `/metrics` and `/healthz`; the event is set when the process is asked to stop."""

        async def shown(_request: Request) -> Response:
            return PlainTextResponse(self.metrics())

        async def alive(_request: Request) -> Response:
            return PlainTextResponse("ok")

        application = Starlette(routes=[Route("/metrics", shown), Route("/healthz", alive)])
        server = _Server(
            uvicorn.Config(application, host=host, port=port, log_config=None, access_log=False)
        )
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked.set)
        task = asyncio.create_task(server.serve())
        task.add_done_callback(lambda _: asked.set())
        try:
            yield asked
        finally:
            server.should_exit = True
            await task


class _Server(uvicorn.Server):
    """Leaves signals alone: uvicorn would end the process by the signal it had caught."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def audit_rules() -> dict[str, Any]:
    """The rule file by which Prometheus watches the audit.

    Its alerts are about Tocsin: have them reach people by something that is not Tocsin.
    """
    found = {
        "alert": "TocsinAuditFinding",
        "expr": f"max by (kind) ({FINDINGS}) > 0",
        "labels": {"severity": "critical", "system": "tocsin"},
        "annotations": {
            "summary": "The audit found {{ $value }} {{ $labels.kind }}",
            "description": "Something accepted is not accounted for, or somebody was not paged."
            " `tocsin audit --since 24h` names what.",
        },
    }
    stale = {
        "alert": "TocsinAuditStale",
        "expr": f"(time() - max({FINISHED})) > 10800 or absent({FINISHED})",
        "for": "5m",
        "labels": {"severity": "warning", "system": "tocsin"},
        "annotations": {
            "summary": "No audit has finished for three hours",
            "description": "Whether everything is accounted for is not known.",
        },
    }
    return {"groups": [{"name": "tocsin-audit", "rules": [found, stale]}]}
