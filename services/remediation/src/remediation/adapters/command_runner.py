"""Command steps: an allow-listed program, argv only, in a place and environment of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Mapping
from datetime import timedelta

from remediation.domain.plan import MOST_OUTPUT, Lost, Ran, evidence
from tocsin_policy import CommandCall
from tocsin_runtime.ports import Clock

_READ = 4 * MOST_OUTPUT
_PATH = "/usr/local/bin:/usr/bin:/bin"


class SubprocessRunner:
    """Runs programs the operator allows.

    Args:
        programs: Name the policy uses -> absolute path; only settings say what may run.
    """

    def __init__(self, programs: Mapping[str, str], clock: Clock) -> None:
        self._programs = programs
        self._clock = clock

    async def run(self, call: CommandCall, timeout: timedelta) -> Ran | Lost:
        """What the program showed; one that outlives `timeout` is killed with its children."""
        path = self._programs.get(call.program)
        if path is None:
            return Ran(
                succeeded=False,
                reason="program_not_allowed",
                evidence=evidence(f"no settings for program {call.program!r}", timedelta()),
            )
        started = self._clock.monotonic()
        with tempfile.TemporaryDirectory(prefix="tocsin-step-") as directory:
            try:
                process = await asyncio.create_subprocess_exec(
                    path,
                    *call.args,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    cwd=directory,
                    env={"PATH": _PATH, "LANG": "C.UTF-8", "HOME": directory},
                    start_new_session=True,
                )
            except OSError as error:
                return Ran(
                    succeeded=False,
                    reason="not_started",
                    evidence=evidence(str(error), timedelta()),
                )
            try:
                async with asyncio.timeout(timeout.total_seconds()):
                    output = await self._output(process)
                    code = await process.wait()
            except TimeoutError:
                await _kill(process)
                return Lost("timed_out")
            finally:
                if process.returncode is None:
                    await _kill(process)
        took = timedelta(seconds=self._clock.monotonic() - started)
        return Ran(
            succeeded=code == 0,
            reason="as_expected" if code == 0 else "exit_code",
            evidence=evidence(output.decode(errors="replace"), took, exit_code=code),
        )

    async def _output(self, process: asyncio.subprocess.Process) -> bytes:
        if process.stdout is None:
            return b""
        kept = bytearray()
        while chunk := await process.stdout.read(65_536):
            # The rest is read and dropped, so that a talkative program is not stopped by its pipe.
            kept += chunk[: max(0, _READ - len(kept))]
        return bytes(kept)


async def _kill(process: asyncio.subprocess.Process) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    await process.wait()
