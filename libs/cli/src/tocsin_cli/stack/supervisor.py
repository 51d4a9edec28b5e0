"""Holds a whole stack: starts it in order, starts again what ends, stops it in order.

Run as a process of its own by `Stack.start`. It tells its parent what it does in lines of JSON
on standard output until everything is ready, and after that only through the state file.
Every process it starts is ended by the kernel if the supervisor itself is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import secrets
import select
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from tocsin_cli.stack import kafka, processes, state, topics, valkey
from tocsin_cli.stack.layout import Layout
from tocsin_cli.stack.problems import StackProblem
from tocsin_cli.stack.services import SERVICES, Service, Surroundings, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

READY_LIMIT_SECONDS = 120.0
_LOOK_SECONDS = 0.2
_STARTS_BEFORE_READY = 3
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30.0
_STEADY_SECONDS = 60.0
"""A process that ran this long has recovered: its next restart is quick again."""

USUAL_DOOR_PORT = 8080
"""Where `make up` puts ingestion if nobody is there, so that senders need no new address."""


@dataclass(slots=True)
class _Held:
    """One process, running or about to be started again.

    Attributes:
        name: What people call it.
        log: Its output.
        launch: Starts it, on the same ports as before.
        ops_url: Of a service; empty for Kafka and Valkey.
        child: The process; None between two runs.
    """

    name: str
    log: Path
    launch: Callable[[], processes.Child]
    ops_url: str = ""
    child: processes.Child | None = None
    started: float = 0.0
    again_at: float = 0.0
    wait: float = _FIRST_WAIT_SECONDS
    restarts: int = 0

    def start(self) -> None:
        self.started = time.monotonic()
        self.child = self.launch()

    def ended(self) -> None:
        now = time.monotonic()
        if now - self.started > _STEADY_SECONDS:
            self.wait = _FIRST_WAIT_SECONDS
        self.again_at = now + self.wait
        self.wait = min(self.wait * 2, _LONGEST_WAIT_SECONDS)
        self.restarts += 1
        self.child = None


class Supervisor:
    """One stack and the process that holds it.

    Args:
        layout: Where it keeps things.
        partitions: Of every keyed topic.
        owner: A process id to live as long as; None to live until told to stop.
        variables: Added to the environment of every service.
    """

    def __init__(
        self, layout: Layout, partitions: int, owner: int | None, variables: Mapping[str, str]
    ) -> None:
        self._layout = layout
        self._partitions = partitions
        self._owner = owner
        self._variables = variables
        self._held: list[_Held] = []
        self._around: Surroundings | None = None
        self._stopping = False
        self._ready = False
        # A signal that arrives just before a poll must still end the poll.
        self._wake, signalled = os.pipe()
        os.set_blocking(signalled, False)
        signal.set_wakeup_fd(signalled)
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._asked_to_stop)

    def run(self) -> None:
        """Return when everything has been stopped again.

        Raises:
            StackProblem: Something could not be started; everything has been stopped.
        """
        try:
            self._start()
            _tell(ready=True)
            _let_go_of_parent()
            self._ready = True
            while not self._stopping:
                self._watch(None)
        except StackProblem as problem:
            if self._ready:
                raise
            _tell(failed=str(problem))
            sys.exit(1)
        finally:
            self._stop()

    def _asked_to_stop(self, *_: object) -> None:
        self._stopping = True

    def _start(self) -> None:
        shutil.rmtree(self._layout.logs, ignore_errors=True)
        broker = self._start_kafka()
        server = self._start_valkey()
        applied = asyncio.run(topics.apply_topics(broker.bootstrap, self._partitions))
        if applied.created:
            _progress(f"created {len(applied.created)} topics")
        for drift in applied.drifts:
            _progress(f"differs from the registry: {drift}")
        door_port, *ops_ports = self._ports()
        around = Surroundings(
            bootstrap=broker.bootstrap,
            redis_url=server.url,
            door_port=door_port,
            webhook_token=self._token("webhook"),
            api_token=self._token("api"),
        )
        services = [
            self._service(service, around, ops_port)
            for service, ops_port in zip(SERVICES, ops_ports, strict=True)
        ]
        _progress("starting " + ", ".join(service.name for service in services))
        for service in services:
            self._hold(service)
        self._around = around
        self._save("starting")
        self._wait_until_ready(services)
        self._save("running")

    def _start_kafka(self) -> kafka.Broker:
        installation = kafka.install(self._layout.root, _progress)
        _progress("starting Apache Kafka")
        log = self._layout.logs / "kafka.log"
        data = self._layout.data / "kafka"
        dies_by = signal.SIGTERM if self._owner is None else signal.SIGKILL
        first = kafka.start(installation, data, log=log, dies_by=dies_by)

        def again() -> processes.Child:
            ports = first.ports
            return kafka.start(installation, data, log=log, dies_by=dies_by, ports=ports).child

        self._held.append(_Held("kafka", log, again, child=first.child, started=time.monotonic()))
        return first

    def _start_valkey(self) -> valkey.Valkey:
        log = self._layout.logs / "valkey.log"
        first = valkey.start(log=log)

        def again() -> processes.Child:
            return valkey.start(log=log, port=first.port).child

        self._held.append(_Held("valkey", log, again, child=first.child, started=time.monotonic()))
        return first

    def _service(self, service: Service, around: Surroundings, ops_port: int) -> _Held:
        command = [sys.executable, "-m", service.module]
        variables = {**environment(service, around, ops_port), **self._variables}
        log = self._layout.logs / f"{service.name}.log"

        def launch() -> processes.Child:
            return processes.start(service.name, command, log=log, env=variables)

        return _Held(service.name, log, launch, ops_url=f"http://127.0.0.1:{ops_port}")

    def _hold(self, held: _Held) -> None:
        self._held.append(held)
        held.start()

    def _ports(self) -> tuple[int, ...]:
        found = processes.free_ports(1 + len(SERVICES))
        if self._owner is None and processes.is_free(USUAL_DOOR_PORT):
            return (USUAL_DOOR_PORT, *found[1:])
        return found

    def _token(self, whose: str) -> str:
        file = self._layout.data / f"{whose}-token"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(24))
        return file.read_text()

    def _wait_until_ready(self, services: list[_Held]) -> None:
        limit = time.monotonic() + READY_LIMIT_SECONDS
        waiting = list(services)
        while waiting:
            self._watch(_LOOK_SECONDS)
            if self._stopping:
                raise StackProblem("stopped while starting")
            for held in tuple(waiting):
                if held.restarts >= _STARTS_BEFORE_READY or time.monotonic() > limit:
                    words = processes.last_words(held.log)
                    raise StackProblem(
                        f"{held.name} did not become ready; {held.log} ends with:\n{words}"
                    )
                if held.child is not None and _is_ready(held.ops_url):
                    _progress(f"{held.name} is ready")
                    waiting.remove(held)

    def _watch(self, longest: float | None) -> None:
        """See what ended and start again what is due, once, waiting at most `longest` seconds."""
        running = [held.child.process.pid for held in self._held if held.child is not None]
        waits = [held.again_at - time.monotonic() for held in self._held if held.child is None]
        if longest is not None:
            waits.append(longest)
        if self._owner is not None:
            running.append(self._owner)
        _until_something_ends(running, self._wake, max(0.0, min(waits)) if waits else None)
        if self._owner is not None and not _lives(self._owner):
            self._stopping = True
        if self._stopping:
            return
        for held in self._held:
            if held.child is not None and not held.child.running:
                _note(f"{held.name} ended with code {held.child.process.returncode}")
                held.ended()
                self._save("running" if self._ready else "starting")
            if held.child is None and held.again_at <= time.monotonic():
                held.start()
                self._save("running" if self._ready else "starting")

    def _save(self, phase: state.Phase) -> None:
        around = self._around
        if around is None:  # Kafka ended before there was anything to say
            return
        said = state.StackState(
            phase=phase,
            supervisor=os.getpid(),
            bootstrap=around.bootstrap,
            redis_url=around.redis_url,
            ingestion_url=f"http://127.0.0.1:{around.door_port}",
            webhook_token=SecretStr(around.webhook_token),
            api_token=SecretStr(around.api_token),
            services={
                held.name: state.ServiceState(
                    pid=held.child.process.pid if held.child else None,
                    ops_url=held.ops_url,
                    restarts=held.restarts,
                    log=held.log,
                )
                for held in self._held
                if held.ops_url
            },
        )
        state.save(said, self._layout.state)

    def _stop(self) -> None:
        # Services together, since each may take seconds; then what they stand on.
        for held in self._held:
            if held.child is not None and held.ops_url:
                held.child.ask_to_stop()
        for held in reversed(self._held):
            if held.child is not None:
                held.child.stop()
        self._layout.state.unlink(missing_ok=True)


def _until_something_ends(pids: list[int], wake: int, seconds: float | None) -> None:
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    opened = []
    try:
        for pid in pids:
            try:
                opened.append(os.pidfd_open(pid))
            except ProcessLookupError:
                return
            poll.register(opened[-1], select.POLLIN)
        poll.poll(None if seconds is None else seconds * 1000)
    finally:
        for each in opened:
            os.close(each)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _is_ready(ops_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{ops_url}/readyz", timeout=2) as answer:  # noqa: S310 - our own loopback address
            return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's OK
    except (urllib.error.URLError, OSError):
        return False


def _tell(**message: object) -> None:
    print(json.dumps(message), flush=True)


def _progress(line: str) -> None:
    _tell(progress=line)


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _let_go_of_parent() -> None:
    # The pipe to the parent is closed from now on; what is said goes where errors go.
    os.dup2(2, 1)


def main() -> None:
    """Hold a stack, as the arguments say."""
    kafka.quiet_clients()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the repository")
    parser.add_argument("--partitions", type=int, required=True, help="of every keyed topic")
    parser.add_argument("--env", type=json.loads, default={}, help="JSON object, for every service")
    parser.add_argument("--owner", type=int, help="process id to live as long as")
    parser.add_argument(
        "--folder", type=Path, help="with --owner: state and data, removed at the end"
    )
    wanted = parser.parse_args()
    passing = wanted.folder is not None
    layout = Layout.passing(wanted.root, wanted.folder) if passing else Layout.kept(wanted.root)
    for folder in (layout.run, layout.data):
        folder.mkdir(parents=True, exist_ok=True)
    with layout.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _tell(failed="another stack of this repository is starting or running")
            sys.exit(1)
        try:
            Supervisor(layout, wanted.partitions, wanted.owner, wanted.env).run()
        finally:
            if passing:
                shutil.rmtree(layout.run, ignore_errors=True)


if __name__ == "__main__":
    main()
