"""Command steps: an allow-listed program, argv only, in a place and environment of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

from remediation.adapters import launcher
from remediation.adapters.outcomes import LOOK_EVERY, Timer, failed, fingerprint, no_undo, until
from remediation.domain.plan import MOST_OUTPUT, Lost, Planned, Ran, evidence
from tocsin_policy import CommandCall
from tocsin_runtime.ports import Clock

_READ = 4 * MOST_OUTPUT
"""Bytes of output that are kept while a program runs; the rest is read and dropped."""
_PATH = "/usr/local/bin:/usr/bin:/bin"
_GRACE = timedelta(seconds=5)
"""Time the launcher has to kill a group and say so."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program the operator allows.

    Attributes:
        path: Absolute.
        environment: All it gets besides PATH, LANG and HOME.
        directory: Where it runs; a new and empty one, removed afterwards, when absent.
    """

    path: str
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    directory: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use.

    Attributes:
        memory: Bytes of address space of each of its processes.
        files: Files open at once, in each.
    """

    memory: int = 4 << 30
    files: int = 256


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended.

    Attributes:
        code: Its exit code; negative is the signal that ended it.
    """

    code: int
    output: str


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The program did not start."""

    reason: str
    detail: str


class Programs:
    """Starts programs the operator allows, and leaves none running.

    Args:
        programs: Name the policy uses -> program; only settings say what may run.
    """

    def __init__(self, programs: Mapping[str, Program], limits: Limits | None = None) -> None:
        self._programs = programs
        self._limits = limits or Limits()

    def find(self, name: str) -> Program | NotStarted:
        """The program behind a name, if it may run and is there."""
        program = self._programs.get(name)
        if program is None:
            return NotStarted("program_not_allowed", f"no settings for program {name!r}")
        if not os.access(program.path, os.X_OK):
            return NotStarted("not_started", f"{program.path} is no program")
        return program

    async def run(
        self,
        name: str,
        args: Sequence[str],
        timeout: timedelta,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> Ended | NotStarted | Lost:
        """How a run of a program ended; one that outlives `timeout` is killed with its children."""
        program = self.find(name)
        if isinstance(program, NotStarted):
            return program
        with contextlib.ExitStack() as stack:
            new = stack.enter_context(tempfile.TemporaryDirectory(prefix="tocsin-step-"))
            word_in, word_out = os.pipe()
            stack.callback(os.close, word_in)
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._launched(word_out, timeout),
                    program.path,
                    *args,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    cwd=program.directory or new,
                    env={
                        "PATH": _PATH,
                        "LANG": "C.UTF-8",
                        "HOME": new,
                        **program.environment,
                        **environment,
                    },
                    start_new_session=True,
                    pass_fds=(word_out,),
                )
            except (OSError, ValueError) as error:
                return NotStarted("not_started", str(error))
            finally:
                os.close(word_out)
            try:
                async with asyncio.timeout(timeout.total_seconds()):
                    output = await _output(process)
                    await process.wait()
            except TimeoutError:
                return Lost("timed_out")
            finally:
                await _end(process)
            word = os.read(word_in, 2000).decode(errors="replace")
        return _ended(word, output)

    def _launched(self, word: int, timeout: timedelta) -> tuple[str, ...]:
        seconds = int(timeout.total_seconds()) + 1
        limits = (word, seconds, self._limits.memory, self._limits.files)
        # -I and -S: nothing of an environment or a site folder changes what starts.
        return sys.executable, "-I", "-S", launcher.__file__, *map(str, limits), "--"


class SubprocessRunner:
    """Runs programs the operator allows. A `Runner`.

    Nobody can tell from its name what a program changes: what a command acts on, for all anybody
    knows, is everything that program acts on, so two runs of one program never overlap.
    """

    def __init__(
        self, programs: Programs, clock: Clock, *, look_every: timedelta = LOOK_EVERY
    ) -> None:
        self._programs = programs
        self._clock = clock
        self._look_every = look_every

    async def plan(self, call: CommandCall, timeout: timedelta) -> Planned | Ran:
        """The argv as it would be run; nothing is."""
        del timeout
        program = self._programs.find(call.program)
        if isinstance(program, NotStarted):
            return failed(program.reason, program.detail)
        argv = "\n".join((program.path, *(f"  {arg!r}" for arg in call.args)))
        place = program.directory or "a new, empty directory"
        return Planned(
            targets=(f"command:local/{call.program}",),
            state=f"runs in {place} with {', '.join(sorted(program.environment)) or 'nothing'} set",
            diff=argv,
            fingerprint=fingerprint(argv, place, _when_written(program.path)),
        )

    async def run(self, call: CommandCall, timeout: timedelta) -> Ran | Lost:
        """What the program showed; one that outlives `timeout` is killed with its children."""
        timer = Timer(self._clock)
        ended = await self._programs.run(call.program, call.args, timeout)
        match ended:
            case Lost():
                return ended
            case NotStarted(reason, detail):
                return failed(reason, detail)
            case Ended(code, output):
                reason = "as_expected" if code == 0 else "killed" if code < 0 else "exit_code"
                shown = evidence(output, timer.took(), exit_code=code)
                return Ran(succeeded=code == 0, reason=reason, evidence=shown, answer=output)

    async def verify(self, call: CommandCall, timeout: timedelta) -> Ran | Lost:
        """Run it until it exits with 0. That it only looks is the playbook's word."""
        return await until(
            lambda left: self.run(call, left), timeout, self._clock, self._look_every
        )

    async def undo(
        self, call: CommandCall, changed: Mapping[str, str], timeout: timedelta
    ) -> Ran | Lost:
        """Nothing: what a program did only another command, which the playbook names, undoes."""
        del call, changed, timeout
        return no_undo("only another command takes a command back")


async def _output(process: asyncio.subprocess.Process) -> str:
    if process.stdout is None:
        return ""
    kept = bytearray()
    while chunk := await process.stdout.read(65_536):
        # The rest is read and dropped, so that a talkative program is not stopped by its pipe.
        kept += chunk[: max(0, _READ - len(kept))]
    return bytes(kept).decode(errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Have the launcher kill the program's group, and end itself."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_GRACE.total_seconds()):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _ended(word: str, output: str) -> Ended | NotStarted | Lost:
    kind, _, rest = word.partition(" ")
    match kind:
        case "exited":
            return Ended(int(rest), output)
        case "killed":
            return Ended(-int(rest), output)
        case "not_started":
            return NotStarted("not_started", rest)
    # Somebody killed the launcher; what the program did until then nobody knows.
    return Lost("launcher_died")


def _when_written(path: str) -> str:
    try:
        return str(Path(path).stat().st_mtime_ns)
    except OSError:
        return ""
