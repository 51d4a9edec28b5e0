"""Processes of this machine: start one, see it end, stop it, and never leave it behind."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_PR_SET_PDEATHSIG = 1
_STOP_LIMIT_SECONDS = 25.0  # a service gives itself 20


def free_ports(count: int) -> tuple[int, ...]:
    """Ports of the loopback interface that nobody listens on, all different.

    Another process may take one before it is used; whoever starts a server on it notices that
    the server exits, and tries again.
    """
    held = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return tuple(each.getsockname()[1] for each in held)
    finally:
        for each in held:
            each.close()


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def last_words(log: Path, lines: int = 15) -> str:
    """The end of a log, for a message about why its process ended."""
    if not log.exists():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


@dataclass(slots=True)
class Child:
    """A process that ends when we do.

    Attributes:
        name: What people call it.
        process: The process itself.
        log: Where its output goes.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def ended_within(self, seconds: float) -> bool:
        """Whether it ended, after waiting at most this long."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ask_to_stop(self) -> None:
        """Send SIGTERM and return at once."""
        if self.running:
            self.process.terminate()

    def stop(self) -> None:
        """Return when it has ended: asked at first, killed if it has not listened in 25 s."""
        if self.running:
            self.ask_to_stop()
            if not self.ended_within(_STOP_LIMIT_SECONDS):
                self.process.kill()
        self.process.wait()

    def last_words(self, lines: int = 15) -> str:
        """The end of its log, for a message about why it ended."""
        return last_words(self.log, lines)


def start(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    dies_by: signal.Signals = signal.SIGKILL,
) -> Child:
    """A process that the kernel ends when the calling thread's process ends, however that ends.

    It has a session of its own, so that Ctrl-C at the terminal reaches us first and we stop
    things in order.

    Args:
        name: What people call it.
        command: Program and arguments; no shell.
        log: File its output is appended to.
        env: Added to our own environment.
        dies_by: The signal the kernel sends when we are gone. SIGTERM for what must write its
            data first. Linux only; elsewhere a killed parent leaves its children.
    """
    return _start(name, command, log, env, _tied_to_parent(dies_by))


def start_free(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
) -> Child:
    """A process that goes on when we end; it is up to it to end in time."""
    return _start(name, command, log, env, None)


def _start(
    name: str,
    command: Sequence[str],
    log: Path,
    env: Mapping[str, str] | None,
    before: Callable[[], None] | None,
) -> Child:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            preexec_fn=before,
        )
    return Child(name, process, log)


def _tied_to_parent(dies_by: signal.Signals) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork: after it nothing may be loaded
    parent = os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(dies_by), 0, 0, 0)
        if os.getppid() != parent:  # it was already gone
            os._exit(1)

    return tie
