"""Runs one program inside limits, and takes it along when its owner goes.

Started as a file by a Python of its own: `python -I -S launcher.py LIMITS -- PATH [ARG…]`, where
LIMITS is `seconds bytes files`. Its standard input is a pipe that its owner holds open: at its end,
whether the owner closed it or died, the program's whole process group is killed. File descriptor
`WORD` gets one word of how it ended: `exited N`, `killed N`, `not_started why`.

It knows only the standard library, and nothing of Tocsin: it starts in a few milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sys

LARGEST_FILE = 1 << 30
"""Bytes a program may write to one file."""
_NOT_STARTED = 127
_STEP = 0.02
"""Seconds between two looks at a system that has no pidfd."""


def main() -> None:
    """Run the program to its end, or to our owner's."""
    word = int(sys.argv[1])
    seconds, memory, files = (int(number) for number in sys.argv[2:5])
    command = sys.argv[6:]
    asked, answer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(asked)
        os.close(word)
        _become(command, answer, seconds, memory, files)
    os.close(answer)
    with contextlib.suppress(OSError):
        os.setpgid(child, child)  # whoever of the two comes first
    why = _read(asked)
    if why:
        os.waitpid(child, 0)
        os.write(word, b"not_started " + why)
        return
    status = _wait(child)
    # What it left behind in its group goes with it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    if os.WIFSIGNALED(status):
        os.write(word, b"killed %d" % os.WTERMSIG(status))
    else:
        os.write(word, b"exited %d" % os.WEXITSTATUS(status))


def _become(command: list[str], answer: int, seconds: int, memory: int, files: int) -> None:
    try:
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_CPU, seconds)
        _limit(resource.RLIMIT_FSIZE, LARGEST_FILE)
        _limit(resource.RLIMIT_NOFILE, files)
        _limit(resource.RLIMIT_AS, memory)
        # `answer` closes itself when this succeeds: pipes of Python are not inherited.
        os.execv(command[0], command)  # noqa: S606 - the path comes from settings
    except OSError as error:
        os.write(answer, str(error).encode())
    finally:
        os._exit(_NOT_STARTED)


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _read(pipe: int) -> bytes:
    with os.fdopen(pipe, "rb") as opened:
        return opened.read(1000)


def _wait(child: int) -> int:
    poll = select.poll()
    poll.register(0, select.POLLIN)
    wait: int | None = None
    if hasattr(os, "pidfd_open"):
        poll.register(os.pidfd_open(child), select.POLLIN)
    else:
        wait = int(_STEP * 1000)
    while True:
        ready = poll.poll(wait)
        if any(descriptor == 0 for descriptor, _ in ready):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status


if __name__ == "__main__":
    main()
