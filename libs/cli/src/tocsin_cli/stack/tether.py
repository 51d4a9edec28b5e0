"""Runs a command for as long as some other process lives: `python -m tocsin_cli.stack.tether`.

Tests share one broker among pytest-xdist's workers. None of them may own it, since the first to
finish would take it away; it is tied to the process that started them all, and its data with it.
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import signal
from pathlib import Path

from tocsin_cli.stack import processes


def main() -> None:
    """Start the command, wait until it or its owner ends, stop it, remove its data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--owner", type=int, required=True, help="process id to live as long as")
    parser.add_argument("--log", type=Path, required=True, help="file for the command's output")
    parser.add_argument("--remove", type=Path, help="folder removed at the end")
    parser.add_argument("command", nargs="+")
    wanted = parser.parse_args()

    asked, ask = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(ask, b"."))
    child = processes.start("tethered", wanted.command, log=wanted.log)
    poll = select.poll()
    poll.register(asked, select.POLLIN)
    poll.register(os.pidfd_open(child.process.pid), select.POLLIN)
    try:
        poll.register(os.pidfd_open(wanted.owner), select.POLLIN)
        poll.poll()
    except ProcessLookupError:  # the owner ended before we began
        pass
    finally:
        child.stop()
        if wanted.remove is not None:
            shutil.rmtree(wanted.remove, ignore_errors=True)


if __name__ == "__main__":
    main()
