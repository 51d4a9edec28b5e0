"""The whole system on this machine, started and stopped as one thing."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import httpx

from tocsin_cli.stack import state
from tocsin_cli.stack.layout import Layout
from tocsin_cli.stack.problems import StackProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOCAL_PARTITIONS = 6
_STOP_LIMIT_SECONDS = 90.0

Health = Literal["ready", "not ready", "unhealthy", "unreachable", "restarting"]


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """How one service is, asked just now.

    Attributes:
        name: Of the service.
        health: `ready` if it is doing its job; `not ready` while it restores; `unhealthy` if it
            makes no progress; `unreachable` if it does not answer; `restarting` between runs.
        said: The address, pid, restarts and log.
    """

    name: str
    health: Health
    said: state.ServiceState


class Stack:
    """One broker, one Valkey and the five services, held by a supervisor process.

    The addresses are known only while it runs.
    """

    def __init__(
        self,
        root: Path,
        *,
        partitions: int = LOCAL_PARTITIONS,
        ephemeral: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """A stack that may or may not be running.

        Args:
            root: The repository.
            partitions: Of every keyed topic; an existing data folder keeps what it has.
            ephemeral: Its data is thrown away, and it ends when this process does, however that
                ends. Otherwise it is the one stack of this repository and outlives us.
            env: Added to the environment of every service.
        """
        self.root = root
        self._partitions = partitions
        self._ephemeral = ephemeral
        self._env = dict(env or {})
        self._layout = None if ephemeral else Layout.kept(root)
        self._supervisor: subprocess.Popen[str] | None = None

    @property
    def bootstrap(self) -> str:
        """`host:port` of Kafka."""
        return self._said().bootstrap

    @property
    def redis_url(self) -> str:
        """`redis://` URL of Valkey."""
        return self._said().redis_url

    @property
    def ingestion_url(self) -> str:
        """Where alerts and people's answers go."""
        return self._said().ingestion_url

    @property
    def webhook_token(self) -> str:
        """What ingestion asks senders of alerts to show, as a bearer token."""
        return self._said().webhook_token.get_secret_value()

    @property
    def api_token(self) -> str:
        """What ingestion asks people's tools to show, as a bearer token."""
        return self._said().api_token.get_secret_value()

    @property
    def ops_urls(self) -> dict[str, str]:
        """Where each service has `/healthz`, `/readyz` and `/metrics`, by service name."""
        return {name: service.ops_url for name, service in self._said().services.items()}

    @property
    def logs(self) -> Path:
        """The folder with a log for each process. Raises `StackProblem` before a first start."""
        return self._place().logs

    def start(self, progress: Callable[[str], None] = lambda _: None) -> None:
        """Return when every service is ready; at once if this repository's stack already runs.

        Args:
            progress: Told what is being done, a line at a time.

        Raises:
            StackProblem: Something is missing on this machine or did not start. Nothing is left
                running.
        """
        if self.running:
            said = self._maybe_said()
            if said is None or said.phase == "starting":
                raise StackProblem("someone else is starting or stopping it; try again soon")
            return
        command = [sys.executable, "-m", "tocsin_cli.stack.supervisor"]
        command += ["--root", str(self.root), "--partitions", str(self._partitions)]
        command += ["--env", json.dumps(self._env)]
        if self._ephemeral:
            folder = Path(tempfile.mkdtemp(prefix="tocsin-"))
            self._layout = Layout.passing(self.root, folder)
            command += ["--owner", str(os.getpid()), "--folder", str(folder)]
        self._supervisor = _launch(command, self._place().supervisor_log)
        try:
            self._follow(self._supervisor, progress)
        except KeyboardInterrupt:
            self._supervisor.terminate()
            self._supervisor.wait()
            raise

    def stop(self) -> None:
        """Return when nothing of it runs any more; at once if nothing did."""
        said = self._maybe_said()
        if said is not None:
            with suppress(ProcessLookupError):
                _end(said.supervisor)
        if self._supervisor is not None:
            self._supervisor.wait()

    @property
    def running(self) -> bool:
        """Whether its supervisor lives, ready or not."""
        if self._layout is None or not self._layout.lock.exists():
            return False
        with self._layout.lock.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def status(self) -> tuple[ServiceStatus, ...]:
        """How each service is, asked now; empty if the stack does not run."""
        said = self._maybe_said()
        if said is None:
            return ()
        return tuple(
            ServiceStatus(name, _health(service), service)
            for name, service in said.services.items()
        )

    def _place(self) -> Layout:
        if self._layout is None:
            raise StackProblem("the stack has not been started")
        return self._layout

    def _said(self) -> state.StackState:
        said = self._maybe_said()
        if said is None:
            raise StackProblem("the stack is not running; start it with `make up`")
        return said

    def _maybe_said(self) -> state.StackState | None:
        # A state file without a supervisor was left by a machine that lost power.
        return state.load(self._place().state) if self.running else None

    def _follow(self, supervisor: subprocess.Popen[str], progress: Callable[[str], None]) -> None:
        for line in supervisor.stdout or ():
            message = json.loads(line)
            if "progress" in message:
                progress(message["progress"])
                continue
            if supervisor.stdout is not None:
                supervisor.stdout.close()
            if "ready" in message:
                return
            supervisor.wait()
            raise StackProblem(message["failed"])
        supervisor.wait()
        raise StackProblem(f"the supervisor ended; see {self._place().supervisor_log}")


def _launch(command: list[str], log: Path) -> subprocess.Popen[str]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            start_new_session=True,
        )


def _end(pid: int) -> None:
    watched = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGTERM)
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        if not poll.poll(_STOP_LIMIT_SECONDS * 1000):
            os.kill(pid, signal.SIGKILL)  # the kernel then ends its children
            poll.poll()
    finally:
        os.close(watched)


def _health(service: state.ServiceState) -> Health:
    if service.pid is None:
        return "restarting"
    try:
        if httpx.get(f"{service.ops_url}/readyz", timeout=2).is_success:
            return "ready"
        healthy = httpx.get(f"{service.ops_url}/healthz", timeout=2).is_success
    except httpx.HTTPError:
        return "unreachable"
    return "not ready" if healthy else "unhealthy"
