"""Starting, watching and stopping a service.

A service is one call: `run_service(name, settings, wire)`. `wire` puts adapters behind ports with
what `Runtime` offers, and names what is to run; everything else (clients, health, metrics,
signals, order of stopping, exit code) is here.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import structlog
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tocsin_runtime.adapters.aiokafka_engine import AiokafkaEngine
from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.adapters.kafka_publisher import KafkaPublisher
from tocsin_runtime.adapters.kafka_reader import KafkaReader
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.consuming import EXIT_CODE, Budgets, HandlerCrashed
from tocsin_runtime.dead_lettering import DeadLetters
from tocsin_runtime.following import Follower
from tocsin_runtime.logs import start_logs
from tocsin_runtime.ports import Clock, Engine, Handler, Publisher, Reader
from tocsin_runtime.records import Record
from tocsin_runtime.settings import EngineName, RuntimeSettings
from tocsin_runtime.telemetry import Telemetry, start_telemetry
from tocsin_runtime.tenure import Tenure, TenuredPublisher

log = structlog.get_logger()

S = TypeVar("S", bound=RuntimeSettings)
Work = Callable[[], Awaitable[None]]

GC_THRESHOLDS = (50_000, 20, 100)
"""Allocations before a young collection; young before a middle; middle before a full one."""

_KAFKA_WAIT = timedelta(seconds=1)


class Runtime:
    """What `wire` puts a service together from.

    Attributes:
        clock: The machine's.
        publisher: One producer for the whole process. It writes nothing more once others own what
            this process was given.
        reader: Reads outside of any group.
    """

    def __init__(self, name: str, settings: RuntimeSettings) -> None:
        self.name = name
        self.settings = settings
        self.clock: Clock = SystemClock()
        connection = KafkaConnection.from_settings(settings, name)
        self._connection = connection
        self._publisher = KafkaPublisher(connection, self.clock)
        self._reader = KafkaReader(connection)
        self._tenured = TenuredPublisher(self._publisher)
        self.publisher: Publisher = self._tenured
        self.reader: Reader = self._reader
        self._engines: list[Engine] = []
        self._work: dict[str, Work] = {}
        self._doors: list[_Server] = []
        self._closing: list[Work] = []
        self._ready: dict[str, Callable[[], bool]] = {}
        self._started: list[asyncio.Task[None]] = []
        self._wired = False

    async def follow(self, topic: str, apply: Callable[[Record], object]) -> Follower:
        """A follower that has applied all that is in `topic` now, and goes on."""
        follower = Follower(self.reader, topic, apply)
        task = asyncio.create_task(_run(follower.run), name=f"follow {topic}")
        self._started.append(task)
        caught_up = asyncio.create_task(follower.caught_up())
        try:
            await asyncio.wait({task, caught_up}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            caught_up.cancel()
        return follower

    def consume(
        self,
        handler: Handler,
        topics: Sequence[str],
        *,
        engine: EngineName = EngineName.AIOKAFKA,
        group: str | None = None,
        owns: bool = True,
    ) -> Engine:
        """Have records of `topics` (lanes, most urgent first) handled.

        Args:
            engine: The service's choice; the operator's setting comes before it.
            group: Consumer group; the operator's setting comes before it, then the service's name.
            owns: Whether what is written rests on nobody else having these partitions.
        """
        settings = self.settings
        tenure = Tenure(self.clock, settings.kafka_session_timeout)
        if owns:
            self._tenured.tenures.append(tenure)
        arguments: dict[str, Any] = {
            "dead_letter": DeadLetters(self.publisher, self.clock, self.name),
            "clock": self.clock,
            "budgets": Budgets(
                max_batch=settings.max_batch,
                handler=settings.handler_budget,
                drain=settings.kafka_session_timeout / 2,
            ),
            "session_timeout": settings.kafka_session_timeout,
            "instance": settings.kafka_instance,
            "tenure": tenure,
        }
        chosen = settings.engine or engine
        place = (self._connection, settings.kafka_group or group or self.name, topics, handler)
        made: Engine
        if chosen is EngineName.FAUST:
            from tocsin_runtime.adapters.faust_engine import (  # noqa: PLC0415 - 60 MB that a service without it need not load
                FaustEngine,
            )

            made = FaustEngine(*place, **arguments)
        else:
            made = AiokafkaEngine(*place, **arguments)
        self._engines.append(made)
        return made

    def background(self, name: str, work: Work) -> None:
        """Run `work` as long as the service runs; if it ends or fails, the service does."""
        self._work[name] = work

    def serve(self, application: Any, host: str, port: int) -> None:  # noqa: ANN401 - an ASGI application has no useful type
        """Serve an ASGI application; it stops accepting first of all when the service stops."""
        self._doors.append(_server(application, host, port))

    def ready_when(self, name: str, check: Callable[[], bool]) -> None:
        """Have `/readyz` ask `check` too."""
        self._ready[name] = check

    def on_stop(self, work: Work) -> None:
        """Do `work` when everything else has stopped, last asked first done."""
        self._closing.append(work)

    def health(self) -> dict[str, str]:
        """What is wrong with progress, by engine; empty when all is well."""
        limit = self.settings.stale_after.total_seconds()
        return {
            f"engine {number}": f"no progress for {engine.progress()['poll']:.0f} s"
            for number, engine in enumerate(self._engines)
            if engine.progress()["poll"] > limit
        }

    def unready(self) -> dict[str, str]:
        """What is not ready yet, or no longer; empty when work can be done."""
        if not self._wired:  # what is to become ready is not known yet
            return {"service": "starting"}
        limit = self.settings.stale_after.total_seconds()
        found = self.health()
        for number, engine in enumerate(self._engines):
            progress = engine.progress()
            if not progress.get("ready", 1.0):
                found[f"engine {number}"] = "has no partitions yet"
            elif progress["batch"] > limit:
                found[f"engine {number}"] = f"same batch for {progress['batch']:.0f} s"
        for number, door in enumerate(self._doors):
            if not door.started:
                found[f"door {number}"] = "not listening yet"
        found.update({name: "not ready" for name, check in self._ready.items() if not check()})
        return found

    async def _run(self, wire: Callable[[], Awaitable[None]], stop: asyncio.Event) -> int:
        code = 0
        asked = asyncio.create_task(stop.wait(), name="stop")
        wiring = asyncio.create_task(self._wire(wire), name="wiring")
        running = {asked, wiring}
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if wiring in done and wiring.exception() is not None:
                code = EXIT_CODE
                _report(wiring)
            elif wiring in done:
                tasks = self._start()
                self._wired = True
                log.info("service.started")
                done, _ = await asyncio.wait({asked, *tasks}, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {asked}:
                    code = EXIT_CODE
                    _report(task)
        finally:
            wiring.cancel()
            asked.cancel()
            log.info("service.stopping")
            try:
                async with asyncio.timeout(self.settings.stop_grace.total_seconds()):
                    await self._stop()
            except TimeoutError:
                log.warning("stop.overran", grace=self.settings.stop_grace.total_seconds())
                code = EXIT_CODE
        log.info("service.stopped", code=code)
        return code

    async def _wire(self, wire: Callable[[], Awaitable[None]]) -> None:
        await self._publisher.start()
        await wire()

    def _start(self) -> set[asyncio.Task[Any]]:
        for number, engine in enumerate(self._engines):
            self._started.append(asyncio.create_task(_run(engine.run), name=f"engine {number}"))
        for name, work in self._work.items():
            self._started.append(asyncio.create_task(_run(work), name=name))
        for number, door in enumerate(self._doors):
            self._started.append(asyncio.create_task(_run(door.serve), name=f"door {number}"))
        return set(self._started)

    async def _stop(self) -> None:
        """Doors, then engines (each finishes what it has in hand), then the rest."""
        for door in self._doors:
            door.should_exit = True
        doors = [task for task in self._started if task.get_name().startswith("door ")]
        if doors:
            await asyncio.wait(doors)
        await asyncio.gather(*(engine.stop() for engine in self._engines))
        for task in self._started:
            task.cancel()
        await asyncio.gather(*self._started, return_exceptions=True)
        for work in reversed(self._closing):
            await work()
        await self._reader.stop()
        await self._publisher.stop()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `run_service`."""
        yield


def run_service(name: str, settings: S, wire: Callable[[Runtime, S], Awaitable[None]]) -> None:
    """Run a service until SIGTERM or SIGINT, then end the process.

    The exit code is 0 after a clean stop, 70 after a bug or a stop that overran its grace; a
    supervisor starts the service again, and it continues from the log.
    """
    start_logs(name, log_format=settings.log_format, level=settings.log_level)
    telemetry = start_telemetry(name, otlp_endpoint=settings.otel_endpoint)
    # A full collection stops everything for as long as it takes to visit every alert held, which
    # is a large part of a second in a storm. Little here is cyclic, so it can be rare.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_service(name, settings, wire, telemetry))
        telemetry.stop()
        sys.stderr.flush()
        if code:
            # Not sys.exit: threads of libraries (Faust's consumer) must not keep a broken
            # process alive.
            os._exit(code)


async def _service(
    name: str,
    settings: S,
    wire: Callable[[Runtime, S], Awaitable[None]],
    telemetry: Telemetry,
) -> int:
    runtime = Runtime(name, settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    ops = _server(ops_application(runtime, telemetry), settings.ops_host, settings.ops_port)
    watching = asyncio.create_task(ops.serve(), name="ops")
    try:
        return await runtime._run(lambda: wire(runtime, settings), stop)  # noqa: SLF001 - one module, one concept
    finally:
        ops.should_exit = True
        await watching


def ops_application(runtime: Runtime, telemetry: Telemetry) -> Starlette:
    """`/healthz` (progress, not a live socket), `/readyz` and `/metrics`."""

    async def healthz(_request: Request) -> Response:
        return _verdict(runtime.health())

    async def readyz(_request: Request) -> Response:
        return _verdict(runtime.unready())

    async def metrics(_request: Request) -> Response:
        return Response(telemetry.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
        ]
    )


def _verdict(problems: dict[str, str]) -> Response:
    return JSONResponse({"problems": problems}, status_code=503 if problems else 200)


def _server(application: Any, host: str, port: int) -> _Server:  # noqa: ANN401 - an ASGI application has no useful type
    if port == 0:
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = probe.getsockname()[1]
        log.info("port.chosen", port=port)
    return _Server(
        uvicorn.Config(
            application,
            host=host,
            port=port,
            access_log=False,
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=5,
        )
    )


async def _run(work: Work) -> None:
    await work()


def _report(task: asyncio.Task[Any]) -> None:
    """Say why the service stops; a `HandlerCrashed` was logged where it was caught."""
    error = None if task.cancelled() else task.exception()
    if error is None:
        log.error("task.ended", task=task.get_name())
    elif not isinstance(error, HandlerCrashed):
        log.error("task.crashed", task=task.get_name(), exc_info=error)
