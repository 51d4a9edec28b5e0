"""Command steps run what the operator allows, as it is written, and leave nothing running."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from remediation.adapters.command_runner import Limits, Program, Programs, SubprocessRunner
from remediation.domain.plan import Lost, Planned, Ran
from tocsin_policy import CommandCall
from tocsin_runtime.clock import SystemClock

ALLOWED = {
    name: Program(path)
    for name, path in {
        "echo": "/bin/echo",
        "env": "/usr/bin/env",
        "sh": "/bin/sh",
        "pwd": "/bin/pwd",
        "gone": "/no/such",
        "not-a-program": "/etc/hostname",
    }.items()
}
LONG = timedelta(seconds=20)
SHORT = timedelta(seconds=0.5)


def a_runner(limits: Limits | None = None, **programs: Program) -> SubprocessRunner:
    return SubprocessRunner(Programs({**ALLOWED, **programs}, limits), SystemClock())


async def ran(program: str, *args: str, timeout: timedelta = LONG) -> Ran | Lost:
    call = CommandCall.model_validate({"program": program, "args": args})
    return await a_runner().run(call, timeout)


def output(outcome: Ran | Lost | Planned) -> str:
    assert isinstance(outcome, Ran)
    return outcome.evidence.output


def is_running(pid: int) -> bool:
    """Whether it is there and no zombie that waits to be forgotten."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_arguments_reach_the_program_as_they_are() -> None:
    assert output(await ran("echo", "$HOME; true", "*", "`id`")) == "$HOME; true * `id`\n"


async def test_nothing_of_our_environment_reaches_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOCSIN_API_TOKEN", "a-secret-of-ours")
    told = output(await ran("env"))
    assert {line.partition("=")[0] for line in told.splitlines()} == {"PATH", "LANG", "HOME"}


async def test_a_program_gets_the_variables_and_the_directory_settings_name(
    tmp_path: Path,
) -> None:
    runner = a_runner(sh=Program("/bin/sh", {"KUBECONFIG": "/etc/kube"}, str(tmp_path)))
    call = CommandCall(program="sh", args=("-c", "echo $KUBECONFIG; pwd"))
    assert output(await runner.run(call, LONG)) == f"/etc/kube\n{tmp_path}\n"


async def test_a_program_without_a_directory_has_one_of_its_own_that_goes() -> None:
    place = output(await ran("pwd")).strip()
    assert "tocsin-step-" in place
    assert not os.access(place, os.F_OK)


@pytest.mark.parametrize(
    ("program", "reason"),
    [("rm", "program_not_allowed"), ("gone", "not_started"), ("not-a-program", "not_started")],
)
async def test_what_may_not_or_cannot_start_has_not_run(program: str, reason: str) -> None:
    outcome = await ran(program)
    assert isinstance(outcome, Ran)
    assert (outcome.succeeded, outcome.reason) == (False, reason)


async def test_a_file_that_is_no_program_after_all_has_not_run(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF and nothing more")
    broken.chmod(0o700)
    outcome = await a_runner(broken=Program(str(broken))).run(CommandCall(program="broken"), LONG)
    assert isinstance(outcome, Ran)
    assert (outcome.succeeded, outcome.reason) == (False, "not_started")


async def test_an_exit_code_is_a_failure() -> None:
    outcome = await ran("sh", "-c", "exit 3")
    assert isinstance(outcome, Ran)
    assert (outcome.succeeded, outcome.reason, outcome.evidence.exit_code) == (
        False,
        "exit_code",
        3,
    )


async def test_a_program_that_a_signal_ended_says_which() -> None:
    outcome = await ran("sh", "-c", "kill -TERM $$")
    assert isinstance(outcome, Ran)
    assert (outcome.reason, outcome.evidence.exit_code) == ("killed", -signal.SIGTERM)


async def test_a_program_that_overruns_is_stopped_with_its_children_and_its_outcome_unknown(
    tmp_path: Path,
) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 60 & echo $! $$ > {pids}; sleep 60"
    assert await ran("sh", "-c", script, timeout=SHORT) == Lost("timed_out")
    assert [pid for pid in map(int, pids.read_text().split()) if is_running(pid)] == []


async def test_what_a_program_leaves_in_the_background_ends_with_it(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    outcome = await ran("sh", "-c", f"sleep 60 & echo $! > {pids}; echo done")
    assert output(outcome) == "done\n"
    assert not is_running(int(pids.read_text()))


async def test_the_owner_that_dies_takes_the_program_along(tmp_path: Path) -> None:
    owner = tmp_path / "owner.py"
    pids = tmp_path / "pids"
    owner.write_text(
        "import asyncio\n"
        "from datetime import timedelta\n"
        "from remediation.adapters.command_runner import Program, Programs\n"
        f"args = ['-c', 'echo $$ > {pids}.new; mv {pids}.new {pids}; sleep 60']\n"
        "programs = Programs({'sh': Program('/bin/sh')})\n"
        "asyncio.run(programs.run('sh', args, timedelta(seconds=60)))\n"
    )

    process = await asyncio.create_subprocess_exec(sys.executable, str(owner))
    clock = SystemClock()
    while not pids.exists():
        assert process.returncode is None
        await clock.sleep(timedelta(milliseconds=10))
    pid = int(pids.read_text())
    process.kill()
    await process.wait()
    # The kernel tells the launcher of it; the test waits for that, up to pytest's own limit.
    while is_running(pid):
        await clock.sleep(timedelta(milliseconds=10))


async def test_a_program_has_no_more_memory_and_files_than_it_may() -> None:

    python = Program(sys.executable)
    runner = a_runner(Limits(memory=256 << 20, files=32), python=python)
    greedy = CommandCall(program="python", args=("-I", "-c", "x = bytearray(400 << 20)"))
    many = CommandCall(
        program="python", args=("-I", "-c", "f = [open('/dev/null') for _ in range(40)]")
    )
    assert "MemoryError" in output(await runner.run(greedy, LONG))
    assert "Too many open files" in output(await runner.run(many, LONG))


async def test_a_talkative_program_ends_and_the_start_of_what_it_said_is_kept() -> None:
    told = output(await ran("sh", "-c", "yes | head -c 3000000"))
    assert told.startswith("y\ny\n")
    assert told.endswith("… (cut)")
    assert len(told) < 20_000


async def test_a_plan_shows_the_argv_and_runs_nothing(tmp_path: Path) -> None:
    call = CommandCall(program="sh", args=("-c", f"touch {tmp_path}/done"))
    planned = await a_runner().plan(call, LONG)
    assert isinstance(planned, Planned)
    assert planned.targets == ("command:local/sh",)
    assert "/bin/sh" in planned.diff
    assert "touch" in planned.diff
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - no other way in a coroutine
